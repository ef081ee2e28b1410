"""What requests, urllib3 and http.client raise, as cftool's errors: the twin of `curl_errors`.

The libraries wrap each other's errors; the words come from the innermost. Whether a request may have reached the server
decides about repeating one that is not idempotent: `sent` is False only for what precedes the first byte of it.
"""

import http.client
import socket
from collections.abc import Iterator

import requests
import urllib3

from cftool.core.errors import (
    ConnectionFailed,
    LoginRequired,
    PermissionDenied,
    ProtocolError,
    StoreError,
    TLSFailed,
    Unsupported,
)
from cftool.core.paths import printable
from cftool.http.curl_errors import tls_words

NETWORK = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


def failure(error: Exception, place: str, *, trust: str) -> StoreError:
    """The error of one attempt to `place` ("host:port"). `trust`: which CA bundle was used and who named it."""
    chain = list(_causes(error))
    if found := next((cause for cause in chain if isinstance(cause, StoreError)), None):
        return found
    text = printable(str(chain[-1]))
    if _is(chain, requests.exceptions.SSLError, urllib3.exceptions.SSLError):
        if "certificate" in str(error).lower():
            return TLSFailed(f"the TLS certificate of {place} was not accepted: {text}; trusted is {trust}")
        early = "handshake" in text.lower() or "version number" in text.lower().replace("_", " ")
        failed = f"the TLS {'handshake' if early else 'connection'} failed ({tls_words(text)})"
        return broken(f"{place}: {failed}", sent=not early)
    if refusal := _tunnel_refusal(chain, place):
        return refusal
    if _is(chain, requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema):
        return Unsupported(f"the proxy for {place} cannot be used: {text}")
    return _connection_error(chain, place, text)


def broken(message: str, *, sent: bool) -> ConnectionFailed:
    """A connection that failed; `sent`: the request may have reached the server."""
    error = ConnectionFailed(message)
    error.sent = sent
    return error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that it wraps, outermost first; libraries wrap in args, `reason` and `__cause__`."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        inner = [*found.args, getattr(found, "reason", None), found.__cause__, found.__context__]
        waiting += [item for item in inner if isinstance(item, BaseException)]


def _is(chain: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in chain)


def _tunnel_refusal(chain: list[BaseException], place: str) -> StoreError | None:
    """The proxy answered CONNECT with an error; http.client has the status in a text only."""
    text = next((str(cause) for cause in chain if str(cause).startswith("Tunnel connection failed:")), "")
    if not text:
        return None
    status = text.partition(":")[2].split()[0]
    if status == "407":
        return LoginRequired(f"the proxy on the way to {place} wants a user name and password (407)")
    if status.startswith("4"):
        return PermissionDenied(f"the proxy refuses a connection to {place} ({status})")
    return broken(f"{place}: the proxy could not connect ({status})", sent=False)


def _connection_error(chain: list[BaseException], place: str, text: str) -> StoreError:
    exceptions = urllib3.exceptions
    if _is(chain, exceptions.NameResolutionError, socket.gaierror):
        return broken(f"{place}: the name does not resolve", sent=False)
    if _is(chain, exceptions.NewConnectionError, ConnectionRefusedError):
        return broken(f"{place}: the connection was refused or there is no route", sent=False)
    if _is(chain, requests.exceptions.ConnectTimeout, exceptions.ConnectTimeoutError):
        return broken(f"{place}: no connection in time", sent=False)
    if _is(chain, requests.exceptions.ReadTimeout, exceptions.ReadTimeoutError, TimeoutError):
        return broken(f"{place}: no answer in time", sent=True)
    # RemoteDisconnected is a BadStatusLine as well as a reset.
    if _is(chain, http.client.RemoteDisconnected):
        return broken(f"{place}: the server closed the connection without an answer", sent=True)
    if _is(chain, http.client.BadStatusLine, http.client.LineTooLong, exceptions.InvalidHeader):
        return ProtocolError(f"{place} does not answer as HTTP demands: {text}")
    if _is(chain, http.client.HTTPException) and not _is(chain, http.client.IncompleteRead):
        return ProtocolError(f"{place} does not answer as HTTP demands: {text}")
    if _is(chain, exceptions.IncompleteRead, http.client.IncompleteRead, exceptions.InvalidChunkLength):
        return broken(f"{place}: the connection ended in the middle of the answer", sent=True)
    return broken(f"{place}: the connection broke ({text})", sent=True)
