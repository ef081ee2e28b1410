"""A fake authorization server (RFC 6749, 7636): one stateful `handle(request) -> response`, strict about what it gets.

`agree(url)` is the user who opens the address and agrees: it gives the address that the browser is sent to, or the
code where no redirect was asked for. With `rotate` each refresh token is good once, and a second use of it revokes all.
"""

import base64
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from cftool.testing.http_fake import FakeRequest, FakeResponse


@dataclass
class FakeOAuth:
    """See the module. `life`: seconds of an access token, None: it does not end. `failures` are answered first."""

    client_id: str = "client"
    client_secret: str | None = None
    path: str = "/token"
    rotate: bool = False
    life: int | None = 3600
    failures: list[FakeResponse] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    refresh: set[str] = field(default_factory=set)  # tokens that are good
    access: set[str] = field(default_factory=set)
    _codes: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # code: challenge, redirect
    _used: set[str] = field(default_factory=set)
    _count: int = 0

    def agree(self, url: str, *, deny: bool = False) -> str:
        """The user's browser: where it ends up."""
        asked = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
        assert asked["client_id"] == self.client_id, asked
        assert asked["response_type"] == "code", asked
        assert asked["code_challenge_method"] == "S256", asked
        assert len(asked["code_challenge"]) == 43, asked
        assert len(asked["state"]) >= 22, "the state must not be guessed"
        redirect = asked.get("redirect_uri")
        code = self._new("code")
        self._codes[code] = (asked["code_challenge"], redirect)
        if redirect is None:
            return code
        answer = {"error": "access_denied"} if deny else {"code": code}
        return f"{redirect}?{urlencode({**answer, 'state': asked['state']})}"

    def grant(self) -> str:
        """A refresh token, as if somebody had logged in."""
        token = self._new("refresh")
        self.refresh.add(token)
        return token

    def revoke(self) -> None:
        """The user withdrew the permission."""
        self.refresh.clear()
        self.access.clear()

    def knows(self, request: FakeRequest) -> bool:
        """Whether a request of the service bears a good access token."""
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        return scheme == "Bearer" and token in self.access

    def handle(self, request: FakeRequest) -> FakeResponse:
        """The token endpoint."""
        if request.method != "POST" or request.path != self.path or request.query:
            return _json(404, {"error": "not_found"})
        if request.header("content-type") != "application/x-www-form-urlencoded":
            return _json(400, {"error": "invalid_request", "error_description": "not a form"})
        fields = dict(parse_qsl(request.body.decode("ascii"), strict_parsing=True))
        kind = fields.pop("grant_type", "")
        self.requests[kind] += 1
        if self.failures:
            return self.failures.pop(0)
        if fields.pop("client_id", None) != self.client_id or fields.pop("client_secret", None) != self.client_secret:
            return _json(401, {"error": "invalid_client"})
        if kind == "authorization_code":
            return self._code(fields)
        if kind == "refresh_token":
            return self._refresh(fields)
        return _json(400, {"error": "unsupported_grant_type"})

    def _code(self, fields: dict[str, str]) -> FakeResponse:
        known = self._codes.pop(fields.get("code", ""), None)
        if known is None:
            return _invalid("the code is unknown or was used")
        digest = hashlib.sha256(fields.get("code_verifier", "").encode("ascii")).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != known[0]:
            return _invalid("the verifier is wrong")
        if fields.get("redirect_uri") != known[1]:
            return _invalid("the redirect is another")
        return self._tokens(self.grant())

    def _refresh(self, fields: dict[str, str]) -> FakeResponse:
        token = fields.get("refresh_token", "")
        if token in self._used:
            self.revoke()  # RFC 9700 section 4.14.2
            return _invalid("the refresh token was used before; all are revoked")
        if token not in self.refresh:
            return _invalid("the refresh token is revoked")
        if not self.rotate:
            return self._tokens(None)
        self.refresh.discard(token)
        self._used.add(token)
        return self._tokens(self.grant())

    def _tokens(self, refresh: str | None) -> FakeResponse:
        access = self._new("access")
        self.access.add(access)
        answer: dict[str, object] = {"access_token": access, "token_type": "bearer"}
        if self.life is not None:
            answer["expires_in"] = self.life
        if refresh is not None:
            answer["refresh_token"] = refresh
        return _json(200, answer)

    def _new(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-s3cr3t-{self._count}"


def _json(status: int, answer: dict[str, object]) -> FakeResponse:
    return FakeResponse(status, (("Content-Type", "application/json"),), json.dumps(answer).encode())


def _invalid(why: str) -> FakeResponse:
    return _json(400, {"error": "invalid_grant", "error_description": why})
