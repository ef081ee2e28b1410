"""AWS Signature Version 4 as S3 wants it, headers of one attempt and presigned URLs; in Google's words as well.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html,
https://docs.cloud.google.com/storage/docs/authentication/signatures. The canonical URI is the path exactly as it is
sent: no normalisation, no second encoding. Called once per attempt, so each carries a fresh date; the signing key and
the order of the headers are kept between calls. The clock is corrected by what `learn_date` learns. Thread-safe: what
is cached is replaced whole, and refreshing credentials holds a lock.
"""

import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Iterable

from cftool.core.dataclass import dataclass
from cftool.http.dates import parse_http_date
from cftool.http.types import Header, Request, Response, Stream
from cftool.http.urls import host_header, quote_query, split

UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
# Hashing costs about 0.7 s per GiB; above this the bodies carry a checksum of their own, which S3 verifies.
_HASH_LIMIT = 512 * 1024
_REFRESH_MARGIN = 300.0  # seconds before the credentials' end
_SKEW_STEP = 60.0  # seconds that a newly learnt skew must differ to be worth another attempt
_SKEW_ALLOWED = 840.0  # S3 refuses from 15 minutes on
_UNSIGNED_HEADERS = frozenset({"authorization", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"})
_SKEWED = (b"RequestTimeTooSkewed", b"RequestExpired", b"RequestInTheFuture")
_EXPIRED = (b"ExpiredToken", b"InvalidToken", b"TokenRefreshRequired", b"InvalidAccessKeyId", b"InvalidClientTokenId")


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """One set of keys; `expires` in seconds since the epoch, None for keys that last."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""
    expires: float | None = None

    def __repr__(self) -> str:
        return "Credentials(…)"


@dataclass(frozen=True, slots=True)
class _Key:
    """What lasts for a day: the derived key and the scope, and what they were derived from."""

    day: str
    region: str
    credentials: Credentials
    scope: str
    secret: bytes


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a set of header names is canonicalised: a format for the values, their order, and the signed names."""

    template: str
    order: tuple[int, ...]
    names: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a service names the parts of the scheme: in headers `x-<vendor>-…`, in queries `X-<Vendor>-…`."""

    algorithm: str  # before `-HMAC-SHA256`, and before the secret
    vendor: str
    service: str
    ending: str


AWS = Dialect("AWS4", "amz", "s3", "aws4_request")
GOOG = Dialect("GOOG4", "goog", "storage", "goog4_request")


class SigV4:
    """Signs requests; an `Auth`. `credentials` is called when none are there, near their end, and after a refusal."""

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        *,
        region: Callable[[], str] | str,
        service: str = "",
        dialect: Dialect = AWS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._load = credentials
        self._region = region
        self._service = service or dialect.service
        self._dialect = dialect
        self._algorithm = dialect.algorithm + "-HMAC-SHA256"
        prefix = f"x-{dialect.vendor}-"
        self._names = (prefix + "content-sha256", prefix + "date", prefix + "security-token")
        self._now = now
        self._skew = 0.0
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._key: _Key | None = None
        self._stamp: tuple[int, str] = (-1, "")
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._hosts: dict[tuple[str, str], str] = {}

    # ---- Auth

    def headers(self, request: Request) -> Iterable[Header]:
        """The four headers of SigV4 (three without a session token) for `request` and its own headers."""
        stamp, key = self._prepare()
        payload = request.payload_hash or _payload_hash(request)
        scheme, authority, target = split(request.url)
        added = [
            ("host", self._host(scheme, authority)),
            (self._names[0], payload),
            (self._names[1], stamp),
        ]
        if key.credentials.session_token:
            added.append((self._names[2], key.credentials.session_token))
        signed = [*request.headers, *added] if request.headers else added
        plan = self._plan(tuple([name for name, _ in signed]))
        values = [_trimmed(value) for _, value in signed]
        path, _, query = target.partition("?")
        canonical = (
            f"{request.method}\n{path}\n{_canonical_query(query)}\n"
            f"{plan.template % tuple([values[i] for i in plan.order])}\n{plan.names}\n{payload}"
        )
        signature = self._signature(key, stamp, canonical)
        credential = f"{key.credentials.access_key_id}/{key.scope}"
        del added[0]  # the transport sends Host by itself
        added.append(
            (
                "authorization",
                f"{self._algorithm} Credential={credential}, SignedHeaders={plan.names}, Signature={signature}",
            )
        )
        return added

    def rejected(self, response: Response | Stream) -> bool:
        """Learn the clock's skew, or drop the credentials, as the refusal says; True where either changed something."""
        body = response.body if isinstance(response, Response) else b""
        date = response.header("date")
        if any(code in body for code in _SKEWED):
            return date is not None and self.learn_date(date)
        if any(code in body for code in _EXPIRED):
            return self._refresh()
        if not body and date is not None:  # an answer to HEAD says nothing: only a clock far off explains itself
            server = parse_http_date(date)
            if server is not None and abs(server - self._now() - self._skew) > _SKEW_ALLOWED:
                return self.learn_date(date)
        return False

    # ---- besides

    def learn_date(self, header: str) -> bool:
        """Take the server's clock from a Date header; True where that moves ours by more than a minute."""
        server = parse_http_date(header)
        if server is None:
            return False
        skew = server - self._now()
        if abs(skew - self._skew) <= _SKEW_STEP:
            return False
        self._skew = skew
        return True

    def presign(self, method: str, url: str, expires_seconds: int) -> str:
        """`url` with the signature in its query, good for `expires_seconds` (S3: at most 7 days), host signed only."""
        stamp, key = self._prepare()
        scheme, authority, target = split(url)
        path, _, query = target.partition("?")
        prefix = f"X-{self._dialect.vendor.title()}-"
        pairs = [
            (prefix + "Algorithm", self._algorithm),
            (prefix + "Credential", f"{key.credentials.access_key_id}/{key.scope}"),
            (prefix + "Date", stamp),
            (prefix + "Expires", str(expires_seconds)),
            (prefix + "SignedHeaders", "host"),
        ]
        if key.credentials.session_token:
            pairs.append((prefix + "Security-Token", key.credentials.session_token))
        whole = f"{query}&{quote_query(pairs)}" if query else quote_query(pairs)
        canonical = (
            f"{method}\n{path}\n{_canonical_query(whole)}\nhost:{self._host(scheme, authority)}\n\nhost\n{UNSIGNED}"
        )
        return f"{scheme}://{authority}{path}?{whole}&{prefix}Signature={self._signature(key, stamp, canonical)}"

    # ---- parts

    def _prepare(self) -> tuple[str, _Key]:
        """The time stamp of now and the key that belongs to it."""
        second = int(self._now() + self._skew)
        known, stamp = self._stamp
        if second != known:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._stamp = (second, stamp)
        credentials = self._credentials
        if credentials is None or (credentials.expires is not None and self._near_end(credentials)):
            credentials = self._current()
        region = self._region if isinstance(self._region, str) else self._region()
        day = stamp[:8]
        key = self._key
        if key is None or key.day != day or key.region != region or key.credentials is not credentials:
            key = self._key = self._derive(day, region, credentials)
        return stamp, key

    def _near_end(self, credentials: Credentials) -> bool:
        return credentials.expires is not None and credentials.expires - self._now() < _REFRESH_MARGIN

    def _current(self) -> Credentials:
        """Load or refresh; where refreshing fails, the old ones serve as long as they last."""
        with self._lock:
            old = self._credentials
            if old is not None and not self._near_end(old):
                return old  # another thread was first
            try:
                fresh = self._load()
            except Exception:
                if old is not None and old.expires is not None and old.expires > self._now():
                    return old
                raise
            # Equal ones keep their identity, so that the derived key stays valid.
            self._credentials = old if old is not None and old == fresh else fresh
            return self._credentials

    def _refresh(self) -> bool:
        """Load anew after a refusal; True where they are others now."""
        with self._lock:
            old = self._credentials
            fresh = self._load()
            if old is not None and fresh == old:
                return False
            self._credentials = fresh
            return True

    def _derive(self, day: str, region: str, credentials: Credentials) -> _Key:
        ending = self._dialect.ending
        secret = (self._dialect.algorithm + credentials.secret_access_key).encode()
        for part in (day, region, self._service, ending):
            secret = hmac.digest(secret, part.encode(), "sha256")
        return _Key(day, region, credentials, f"{day}/{region}/{self._service}/{ending}", secret)

    def _host(self, scheme: str, authority: str) -> str:
        host = self._hosts.get((scheme, authority))
        if host is None:
            if len(self._hosts) > 1000:  # one per bucket in virtual-host style: bounded all the same
                self._hosts.clear()
            host = self._hosts[scheme, authority] = host_header(scheme, authority)
        return host

    def _plan(self, names: tuple[str, ...]) -> _Plan:
        plan = self._plans.get(names)
        if plan is None:
            if len(self._plans) > 1000:
                self._plans.clear()
            plan = self._plans[names] = _make_plan(names)
        return plan

    def _signature(self, key: _Key, stamp: str, canonical: str) -> str:
        digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
        text = f"{self._algorithm}\n{stamp}\n{key.scope}\n{digest}"
        return hmac.digest(key.secret, text.encode(), "sha256").hex()


def _make_plan(names: tuple[str, ...]) -> _Plan:
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        lower = name.lower()
        if lower not in _UNSIGNED_HEADERS:
            places.setdefault(lower, []).append(place)
    ordered = sorted(places)
    # A repeated header is one line, its values joined by commas.
    template = "".join(f"{name}:{','.join(['%s'] * len(places[name]))}\n" for name in ordered)
    return _Plan(template, tuple(place for name in ordered for place in places[name]), ";".join(ordered))


def _payload_hash(request: Request) -> str:
    body = request.body
    if not isinstance(body, bytes) or len(body) > _HASH_LIMIT:
        return UNSIGNED
    return hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256


def _trimmed(value: str) -> str:
    """Without blanks around, and with inner runs of white space as one blank."""
    if "  " in value or "\t" in value or value[:1] == " " or value[-1:] == " ":
        return " ".join(value.split())
    return value


def _canonical_query(query: str) -> str:
    """The pairs of an encoded query, sorted, each with an equals sign."""
    if not query:
        return ""
    if "&" not in query:
        return query if "=" in query else query + "="
    pairs = [pair.partition("=") for pair in query.split("&")]
    return "&".join([f"{name}={value}" for name, _, value in sorted(pairs)])
