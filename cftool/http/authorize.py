"""The authorization code flow of OAuth 2 with PKCE, for native applications (RFC 6749, 7636, 8252). For `config login`.

`Attempt` is one try: its state and verifier are random and used once. The code comes to a `Loopback` on 127.0.0.1, or
the user pastes it (`pasted`). What does not bear the attempt's state is not its answer and changes nothing: anybody on
this machine can send requests to the port. Talks to nobody but in `exchange`; asks and prints nothing.
"""

import base64
import hashlib
import http.server
import queue
import secrets
import socket
from collections.abc import Mapping
from dataclasses import field
from typing import Self
from urllib.parse import parse_qsl, urlencode

from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError, LoginRequired
from cftool.core.paths import printable
from cftool.core.provider import OAuthLogin, Secret
from cftool.http.client import Client
from cftool.http.oauth import Token, request_token
from cftool.http.redact import redact

_SLOW = 10.0  # seconds for a browser to send its request
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>cftool</title>'
    "<p style='font: 1.2em sans-serif; margin: 3em'>{}</p></html>"
)


def _random() -> str:
    return secrets.token_urlsafe(48)  # 64 characters of 43 to 128 (RFC 7636 section 4.1)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One login. `redirect` is where the code comes; None where the service shows it to the user."""

    login: OAuthLogin
    client_id: str
    redirect: str | None
    state: str = field(default_factory=_random, repr=False)
    verifier: str = field(default_factory=_random, repr=False)

    @property
    def url(self) -> str:
        """What the user opens in a browser."""
        digest = hashlib.sha256(self.verifier.encode("ascii")).digest()
        pairs = [
            ("client_id", self.client_id),
            ("response_type", "code"),
            ("state", self.state),
            ("code_challenge", base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")),
            ("code_challenge_method", "S256"),
            *self.login.parameters,
        ]
        if self.redirect is not None:
            pairs.append(("redirect_uri", self.redirect))
        if self.login.scopes:
            pairs.append(("scope", " ".join(self.login.scopes)))
        joint = "&" if "?" in self.login.authorize_url else "?"
        return f"{self.login.authorize_url}{joint}{urlencode(pairs)}"

    def owns(self, answer: Mapping[str, str]) -> bool:
        """Whether the answer bears this attempt's state."""
        given = answer.get("state", "").encode("utf-8", "surrogateescape")
        return secrets.compare_digest(given, self.state.encode("ascii"))

    def code(self, answer: Mapping[str, str]) -> str | None:
        """The code in a redirect's query; None where it is not the answer to this attempt. Raises LoginRequired."""
        if not self.owns(answer):
            return None
        if "error" in answer:
            said = redact(answer.get("error_description") or answer["error"])
            raise LoginRequired(f"the login was refused: {printable(said)[:200]}")
        return answer.get("code") or None

    def pasted(self, text: str) -> str:
        """The code in what the user pasted: the code alone, or the address that the browser was sent to."""
        text = "".join(text.split())
        if "://" not in text and "code=" not in text:
            if not text:
                raise ConfigError("nothing was entered")
            return text
        query = text.partition("?")[2].partition("#")[0] if "?" in text else text
        code = self.code(dict(parse_qsl(query, keep_blank_values=True)))
        if code is None:
            raise LoginRequired("the address that was pasted is not the answer to this login; begin again")
        return code


def exchange(client: Client, attempt: Attempt, code: str, client_secret: Secret | None) -> Token:
    """Trade the code for tokens. Raises LoginRequired, TemporaryError, ProtocolError."""
    fields = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", attempt.client_id),
        ("code_verifier", attempt.verifier),
    ]
    if attempt.redirect is not None:
        fields.append(("redirect_uri", attempt.redirect))
    if client_secret is not None:
        fields.append(("client_secret", client_secret.reveal()))
    return request_token(client, attempt.login.token_url, fields)


class Loopback:
    """Waits on 127.0.0.1 for the browser to bring the answer; a context manager."""

    def __init__(self, ports: tuple[int, ...] = ()) -> None:
        self._answers: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        self._attempt: Attempt | None = None
        self._server = self._listen(ports)
        self.port: int = self._server.server_address[1]
        # The name where a service compares with what was registered, the address where any port will do.
        self.redirect = f"http://{'localhost' if ports else '127.0.0.1'}:{self.port}/"

    def _listen(self, ports: tuple[int, ...]) -> http.server.ThreadingHTTPServer:
        for port in ports or (0,):
            try:
                return _Server(("127.0.0.1", port), self)
            except OSError:
                continue
        wanted = ", ".join(map(str, ports))
        raise ConfigError(f"the port {wanted} for the browser's answer is taken on this machine; use --no-browser")

    def wait(self, attempt: Attempt, timeout: float) -> str:
        """The code. Raises LoginRequired where the user refused, or nothing came within `timeout` seconds."""
        self._attempt = attempt
        import threading

        thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="cftool-login", daemon=True)
        thread.start()
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise LoginRequired(f"no answer came from the browser within {timeout:.0f} s; begin again") from None
        finally:
            self._server.shutdown()
            thread.join()
        code = attempt.code(answer)
        if code is None:
            raise LoginRequired("the login service sent no code; begin again")
        return code

    def belongs(self, answer: Mapping[str, str]) -> bool:
        """Whether it is the answer to the attempt that is waited for."""
        attempt = self._attempt
        return attempt is not None and attempt.owns(answer)

    def take(self, answer: dict[str, str]) -> None:
        """Let `wait` have it."""
        self._answers.put(answer)

    def close(self) -> None:
        """Free the port. Idempotent."""
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Server(http.server.ThreadingHTTPServer):
    """A thread for each connection: browsers open some in advance and send nothing on them."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], loopback: Loopback) -> None:
        self.loopback = loopback
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away is no matter, and a traceback of ours would show the query."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = _SLOW
    server_version = "cftool"
    sys_version = ""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        answer = dict(parse_qsl(query, keep_blank_values=True))
        host = (self.headers.get("Host") or "").lower()
        port = self.server.server_address[1]
        # Another name for this address is a page of somebody else's that has its name resolved to us.
        if host not in {f"127.0.0.1:{port}", f"localhost:{port}"} or path != "/":
            self._page(404, "There is nothing here.")
        elif self.server.loopback.belongs(answer):
            self._page(200, "cftool has the answer. You may close this window and go back to the terminal.")
            self.server.loopback.take(answer)
        else:
            self._page(400, "This is not the answer to the login that cftool waits for. Begin again.")

    def _page(self, status: int, text: str) -> None:
        body = _PAGE.format(text).encode()
        self.send_response(status)
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
            ("Connection", "close"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Nothing: the request line holds the code."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now: for the redirect of a login whose answer is pasted."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
