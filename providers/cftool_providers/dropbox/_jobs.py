"""Batches that the service may finish later: launch, then ask until it is done. For delete, copy, move and commits.

An entry that is refused because the account has too many writes at once is sent again after a pause that every worker
of the remote keeps (`patience`); the number of rounds is bounded.
"""

from collections.abc import Callable, Iterator
from typing import Any

from cftool.core.errors import Interrupted, ProtocolError, RateLimited, TemporaryError
from cftool_providers.dropbox import _errors
from cftool_providers.dropbox._api import Service

_FIRST = 0.05  # seconds to the first look at a job; then longer by half each time
_LONGEST = 3.0
_TOTAL = 600.0  # seconds for one job
_ROUNDS = 8  # of a batch whose entries are refused for now


def run(service: Service, route: str, check: str, arg: object, *, count: int, idempotent: bool) -> list[Any]:
    """The `entries` of the finished batch, exactly `count`. Raises StoreError."""
    found = service.call(route, arg, idempotent=idempotent)
    if found.get(".tag") == "async_job_id":
        found = _finished(service, check, found.get("async_job_id"))
    if found.get(".tag", "complete") == "failed":
        raise _errors.of(found.get("failed"), None)
    entries = found.get("entries")
    if found.get(".tag", "complete") != "complete" or not isinstance(entries, list) or len(entries) != count:
        raise ProtocolError(f"Dropbox answered a batch of {count} with something else than {count} results")
    return entries


def _finished(service: Service, check: str, job: object) -> dict[str, Any]:
    if not isinstance(job, str) or not job:
        raise ProtocolError("Dropbox began a job and did not name it")
    delay, waited = _FIRST, 0.0
    while True:
        service.client.wait(delay)
        waited += delay
        found = service.call(check, {"async_job_id": job})
        if found.get(".tag") != "in_progress":
            return found
        if waited > _TOTAL:
            raise TemporaryError(f"Dropbox has not finished a job after {waited:.0f} s; it may still do so")
        delay = min(delay * 1.5, _LONGEST)


def outcome(found: object) -> tuple[bool, Any]:
    """One entry of a batch: whether it succeeded, and its value. Raises ProtocolError."""
    if isinstance(found, dict):
        tag = found.get(".tag")
        if tag == "success":
            return True, found
        if tag == "failure":
            return False, found.get("failure")
    raise ProtocolError("Dropbox answered an entry of a batch with neither success nor failure")


def busy(found: object) -> bool:
    """Whether an entry was refused only for now."""
    return _errors.BUSY in _errors.tags(found)


def patience(service: Service) -> Iterator[Callable[[], None]]:
    """Rounds of a batch: each gives what to call where entries were refused for now. Raises RateLimited at the end."""
    delay = 0.5
    for number in range(_ROUNDS):

        def pause(last: bool = number == _ROUNDS - 1, seconds: float = delay) -> None:
            if last:
                raise RateLimited(f"{service.name}: too many writes at once in this account, {_ROUNDS} times")
            client = service.client
            now = client.clock.monotonic()
            client.pacer.slow_down(now)
            client.pacer.hold(now + seconds * (0.5 + client.clock.random()))

        yield pause
        delay = min(delay * 2, 16.0)


def interrupted_by(error: Exception) -> bool:
    """Whether what was asked for may have been done although no answer said so."""
    return isinstance(error, TemporaryError) and not isinstance(error, RateLimited)


def ends_all(error: Exception) -> bool:
    """Whether it is no item's failure: the run is to end."""
    return isinstance(error, Interrupted)
