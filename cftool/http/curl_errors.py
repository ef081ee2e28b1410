"""libcurl's result codes as cftool's errors, in words that name the host and what to do. No pycurl here.

https://curl.se/libcurl/c/libcurl-errors.html. Whether a request may have reached the server decides about repeating
one that is not idempotent: `sent` is False only for codes that precede the first byte of it.
"""

from cftool.core.errors import ConnectionFailed, LoginRequired, PermissionDenied, ProtocolError, StoreError, TLSFailed
from cftool.core.paths import printable

TIMED_OUT = 28
ABORTED = 42
_WORDS = {
    5: "the name of the proxy does not resolve",
    6: "the name does not resolve",
    7: "the connection was refused or there is no route",
    16: "the connection broke (HTTP/2 framing)",
    18: "the connection ended in the middle of the answer",
    35: "the TLS handshake failed",
    45: "no local address could be used",
    52: "the server closed the connection without an answer",
    55: "the connection broke while the request was sent",
    56: "the connection broke while the answer was received",
    65: "the connection broke and the request could not be rewound",
    92: "the connection broke (HTTP/2 stream)",
    97: "the proxy failed",
}
_BEFORE_SENDING = frozenset({5, 6, 7, 35, 45, 97})
# Unverified certificate, engine and file problems: the same at every attempt.
_TLS = frozenset({51, 53, 54, 58, 59, 60, 66, 77, 80, 82, 83, 90, 91, 96, 98})
_PROTOCOL = frozenset({1, 3, 8, 27, 43, 61, 63, 88, 100})


def failure(
    code: int, text: str, *, place: str, began: bool, connect_code: int, trust: str, proxy: str = ""
) -> StoreError:
    """The error of one attempt to `place` ("host:port"). `began`: the connection stood and sending had begun.

    `trust` tells which CA bundle was used and who named it. `proxy`: the URL of the one in between, empty for none.
    """
    text = printable(text)
    if connect_code >= 400 and code not in {TIMED_OUT, *_TLS}:
        return _proxy_refusal(connect_code, place)
    if code in _TLS:
        return TLSFailed(f"the TLS certificate of {place} was not accepted: {text}; trusted is {trust}")
    if code in _PROTOCOL or "too large" in text.lower():  # libcurl's bound of a header block has no code of its own
        return ProtocolError(f"{place} does not answer as HTTP demands: {text or code}")
    if code == TIMED_OUT:
        words = "no answer in time" if began else "no connection in time"
    else:
        words = _WORDS.get(code, text or f"libcurl error {code}")
    if proxy and (code in _BEFORE_SENDING or not began):  # who forgot the variable looks for the fault at the service
        words += f", by way of the proxy {printable(proxy.rpartition('://')[2].rpartition('@')[2])}"
    error = ConnectionFailed(f"{place}: {words}" + (f" ({tls_words(text)})" if code in {35, 97} and text else ""))
    error.sent = code not in _BEFORE_SENDING and began
    return error


def tls_words(text: str) -> str:
    """What a TLS library says, but for the one that many meet: a server without TLS."""
    plain = "version number" in text.lower().replace("_", " ")
    return "no TLS is spoken there; does the address begin with http://?" if plain else text


def _proxy_refusal(status: int, place: str) -> StoreError:
    if status == 407:
        return LoginRequired(f"the proxy on the way to {place} wants a user name and password (407)")
    if status < 500:
        return PermissionDenied(f"the proxy refuses a connection to {place} ({status})")
    error = ConnectionFailed(f"{place}: the proxy could not connect ({status})")
    error.sent = False
    return error
