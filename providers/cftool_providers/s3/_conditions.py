"""Whether a bucket's server refuses what a condition forbids: found out once with a probe object, then remembered.

Services of this protocol accept If-Match and If-None-Match and may ignore them; then a condition would be a lie. So a
capability counts only where this very endpoint and bucket was seen to answer 412 to a write that had to be refused.
"""

import logging
import os
import threading

from cftool.core.errors import StoreError
from cftool.core.types import Cap
from cftool.http.types import Header
from cftool_providers.s3._service import Service

log = logging.getLogger("cftool.s3")

_CAPS = {"absent": Cap.IF_ABSENT, "version": Cap.IF_VERSION}


class Conditions:
    """What was seen. Thread-safe."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._known: dict[str, Cap] = {}

    def seen(self) -> Cap:
        """What some bucket of this endpoint was seen to obey: the same server stands behind the others."""
        caps = Cap.NONE
        for known in [self._remembered(""), *self._known.values()]:
            caps |= known or Cap.NONE
        return caps

    def of(self, bucket: str) -> Cap:
        """What the bucket obeys; asks it where that is not known. Raises StoreError where it cannot be asked."""
        with self._lock:
            known = self._known.get(bucket)
            if known is None:
                known = self._remembered(bucket)
                if known is None:
                    known = self._probe(bucket)
                    text = ",".join(name for name, cap in _CAPS.items() if cap in known)
                    self._service.memory.set(self._key(bucket), text or "none")
                    if known:
                        self._service.memory.set(self._key(""), text)
                self._known[bucket] = known
            return known

    def _key(self, bucket: str) -> str:
        return f"{self._service.settings.identity}/{bucket}:conditions"

    def _remembered(self, bucket: str) -> Cap | None:
        text = self._service.memory.get(self._key(bucket))
        if not text:
            return None
        caps = Cap.NONE
        for name in text.split(","):
            caps |= _CAPS.get(name, Cap.NONE)
        return caps

    def _probe(self, bucket: str) -> Cap:
        """Write a small object of a unique name, then twice what must be refused; remove it."""
        key = f".cftool-probe-{os.urandom(8).hex()}"
        service = self._service

        def put(*headers: Header) -> int:
            response = service.send("PUT", "PutObject", bucket, key, headers=headers, body=b"probe")
            if response.status >= 300 and response.status not in {409, 412, 501, 400}:
                if service.ensure_bucket(bucket, response):
                    response = service.send("PUT", "PutObject", bucket, key, headers=headers, body=b"probe")
                if response.status >= 300:
                    raise service.error(response, bucket, f"{bucket}/{key}")
            return response.status

        caps = Cap.NONE
        try:
            put()
            if put(("if-none-match", "*")) == 412:
                caps |= Cap.IF_ABSENT
            if put(("if-match", '"00000000000000000000000000000000"')) == 412:
                caps |= Cap.IF_VERSION
        finally:
            try:
                service.send("DELETE", "DeleteObject", bucket, key)
            except StoreError as error:
                log.warning("the probe object %s/%s could not be removed: %s", bucket, key, error.message)
        log.debug("%s/%s obeys %s", service.host(bucket), bucket, caps)
        return caps
