"""Takes secrets out of text that is about to be logged or shown: one place, used by every message of this package.

A pattern here is a last line of defence: nothing in this package formats a header that holds a secret. Over-redaction
is accepted, a leak is not.
"""

import re
from functools import cache

from cftool.core.paths import printable

_HIDDEN = "***"
_HEADERS = (
    "authorization|proxy-authorization|www-authenticate|cookie|set-cookie|x-amz-security-token"
    "|x-amz-server-side-encryption-customer-key|x-goog-[a-z-]*token|x-api-key|x-auth-token|dropbox-api-[a-z-]*member"
)
_NAMES = (
    r"x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig|awsaccesskeyid|googleaccessid"
    r"|(?:access|refresh|id|auth|session|security|bearer|api|csrf|upload)[-_]?tokens?|token|oauth[-_]?token"
    r"|(?:client|app|consumer)[-_]?secret|(?:aws[-_]?)?secret(?:[-_]?access)?(?:[-_]?key)?|private[-_]?access[-_]?key"
    r"|upload_id|password|passwd|pwd|passphrase|api[-_]?key|credential|assertion|code[-_]?verifier|code"
)
_RULES = (
    # a header at the beginning of a line, or in a repr of headers: to the end of the line
    (rf"(?im)\b({_HEADERS})(['\"]?\s*[:=,]\s*)[^\r\n]+", rf"\1\2{_HIDDEN}"),
    # user:password@ in a URL
    (r"(?i)\b([a-z][a-z0-9+.-]*://)[^/?#\s@]*@", rf"\1{_HIDDEN}@"),
    # a scheme of Authorization wherever it stands; not the host that gives Google's tokens
    (
        r"(?i)\b(bearer|basic|oauth(?!2\.googleapis\.com\b)|aws4-hmac-sha256|aws [a-z0-9]+:)\s*[a-z0-9._~+/=:-]{6,}",
        rf"\1 {_HIDDEN}",
    ),
    # <SecretAccessKey>…</SecretAccessKey>
    (rf"(?i)(<({_NAMES})>)[^<]*", rf"\1{_HIDDEN}"),
    # name=value, "name": "value", name: value
    (rf"(?i)\b({_NAMES})(['\"]?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s&,;\"'<>]+)", rf"\1\2{_HIDDEN}"),
)


@cache
def _rules() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Compiled at the first need: most runs have nothing to hide."""
    return tuple((re.compile(pattern), replacement) for pattern, replacement in _RULES)


def redact(text: str) -> str:
    """`text` without what looks like a credential."""
    for pattern, replacement in _rules():
        text = pattern.sub(replacement, text)
    return text


def safe_url(url: str) -> str:
    """`url` for a log or a message: no user name, no signature or token in the query, no control characters."""
    return printable(redact(url))
