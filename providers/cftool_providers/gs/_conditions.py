"""Whether a server refuses what a generation condition forbids: known of Google's own, found out of any other.

Emulators and gateways may take the parameter and ignore it; then a condition would be a lie. So there the capability
counts only where this endpoint was seen to answer 412 to a write that had to be refused.
"""

import logging
import os
import threading

from cftool.core import hashing
from cftool.core.errors import StoreError
from cftool.core.types import Cap
from cftool_providers.gs._api import NewObject
from cftool_providers.gs._service import Service

log = logging.getLogger("cftool.gs")

BOTH = Cap.IF_VERSION | Cap.IF_ABSENT
_NAMES = {"absent": Cap.IF_ABSENT, "version": Cap.IF_VERSION}
_PROBE = b"probe"


class Conditions:
    """What is known. Thread-safe."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._known: Cap | None = BOTH if service.settings.own_service else None

    def seen(self) -> Cap:
        """What the service is known to obey, without asking it."""
        known = self._known if self._known is not None else self._remembered()
        return known or Cap.NONE

    def of(self, bucket: str) -> Cap:
        """The same; asks where that is not known. Raises StoreError where it cannot be asked."""
        with self._lock:
            if self._known is None:
                self._known = self._remembered()
            if self._known is None:
                self._known = self._probe(bucket)
                text = ",".join(name for name, cap in _NAMES.items() if cap in self._known)
                self._service.memory.set(self._key(), text or "none")
            return self._known

    def _key(self) -> str:
        api = "json" if self._service.json is not None else "xml"
        return f"{self._service.settings.identity}:{api}:conditions"

    def _remembered(self) -> Cap | None:
        text = self._service.memory.get(self._key())
        if not text:
            return None
        caps = Cap.NONE
        for name in text.split(","):
            caps |= _NAMES.get(name, Cap.NONE)
        return caps

    def _probe(self, bucket: str) -> Cap:
        """Write a small object of a unique name, then twice what must be refused; remove it."""
        service, key = self._service, f".cftool-probe-{os.urandom(8).hex()}"
        digest = ("md5", hashing.digest("md5", _PROBE))

        def put(generation: str | None) -> int:
            new = NewObject(bucket, key, generation=generation)
            response = service.send(service.api.put(new, _PROBE, digest, None))
            if service.ensure_bucket(bucket, response):
                response = service.send(service.api.put(new, _PROBE, digest, None))
            if response.status >= 300 and response.status not in {400, 409, 412, 501}:
                raise service.error(response, new.path)
            return response.status

        caps = Cap.NONE
        try:
            put(None)
            if put("0") == 412:
                caps |= Cap.IF_ABSENT
            if put("1") == 412:
                caps |= Cap.IF_VERSION
        finally:
            try:
                service.send(service.api.delete(bucket, key))
            except StoreError as error:
                log.warning("the probe object %s/%s could not be removed: %s", bucket, key, error.message)
        log.debug("%s obeys %s", service.host, caps)
        return caps
