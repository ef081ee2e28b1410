"""What was learnt about an endpoint once, kept in the state directory: the `Memory` of core.provider, over one file.

A lost or damaged file costs a probe and nothing else, so that no error leaves this module, and nothing is quarantined.
Keys carry the endpoint; they are the provider's own.
"""

import logging
import os
from threading import Lock

from cftool.core.errors import StoreError

_log = logging.getLogger("cftool.config")
_LARGEST = 1 << 20


class FileMemory:
    """A map of texts in `<state_dir>/learnt/<provider>.json`. Of two writers at once the later one may win whole."""

    def __init__(self, state_dir: str, provider: str) -> None:
        self._path = os.path.join(state_dir, "learnt", f"{provider}.json")
        self._lock = Lock()
        self._known: dict[str, str] | None = None

    def get(self, key: str) -> str | None:
        """The remembered text, or None."""
        with self._lock:
            if self._known is None:
                self._known = self._read()
            return self._known.get(key)

    def set(self, key: str, value: str) -> None:
        """Remember, in this process at least."""
        import json

        from cftool.disk.atomic import write_file

        with self._lock:
            self._known = {**self._read(), **(self._known or {}), key: value}
            data = json.dumps(self._known, indent=1, sort_keys=True).encode()
            try:
                os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
                write_file(self._path, data, 0o600)
            except (OSError, StoreError) as error:
                _log.info("cannot remember %s: %s", key, error)

    def _read(self) -> dict[str, str]:
        import json

        try:
            with open(self._path, "rb") as file:
                found = json.loads(file.read(_LARGEST))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {key: value for key, value in found.items() if isinstance(value, str)}
