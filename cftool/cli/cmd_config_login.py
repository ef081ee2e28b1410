"""`cftool config login`: get a refresh token, by the browser (OAuth 2 with PKCE) or for user and password.

What comes of it is in the remote's file of the state directory, 0600, and nowhere else: not in the configuration, not
in an argument, a message or a log.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from cftool.cli import prompts
from cftool.cli.session import Session
from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError, ProtocolError
from cftool.core.paths import printable
from cftool.core.provider import Context, OAuthLogin, PasswordLogin, Provider, Secret

if TYPE_CHECKING:
    from cftool.http.oauth import Token

_PATIENCE = 600.0  # seconds for the user in the browser

Value = str | int | float | bool | Secret | None


@dataclass(frozen=True, slots=True)
class _Remote:
    """A remote to log in to, with its options as they are configured, defaults filled in."""

    name: str
    provider: Provider
    values: Mapping[str, Value]
    context: Context

    def text(self, option: str) -> str:
        value = self.values.get(option)
        return value.reveal() if isinstance(value, Secret) else str(value or "")


def login(
    session: Session,
    name: Annotated[str, Argument(metavar="NAME")],
    no_browser: Annotated[bool, Option("--no-browser", help="Open nothing here; paste the code instead.")] = False,
) -> None:
    """Log in to the remote NAME.

    The browser opens the service's own page, and its answer comes back to this machine. With --no-browser, or where
    there is none (over ssh), open the address anywhere and paste the code, or the address that the browser ends at.
    """
    remote = _remote(session, name.removesuffix(":"))
    how = remote.provider.login
    if how is None:
        raise ConfigError(f"{remote.provider.name} has no login: its options hold the credentials")
    if isinstance(how, OAuthLogin):
        token = _oauth(session, remote, how, browser=not no_browser)
        client = remote.text(how.client_id)
    else:
        token = _password(session, remote, how)
        client = remote.text(how.client_id or remote.provider.options[0].name)
    _save(remote, client, token)
    if session.out.json:
        session.out.event("login", {"name": remote.name, "ok": True})
    session.messages.info(f"logged in to {remote.name}; cftool config test {remote.name} tries it")


def _remote(session: Session, name: str) -> _Remote:
    from cftool import registry
    from cftool.config import dirs, suggest, values
    from cftool.config.file import RemoteConfig

    known = session.config.known(registry.installed())
    if name not in known:
        raise ConfigError(suggest.unknown("remote", name, known))
    remote = session.config.remote(name) or RemoteConfig(name, name)
    provider = registry.provider_of(remote)
    settings = values.settings(provider, remote, values.Layers(session.env), session.config)
    found = {
        key: (option.default if (value := settings.values.get(key)) is None else value)
        for key, option in values.options_of(provider).items()
    }
    context = Context(
        remote=remote.name,
        env=session.env,
        state_dir=dirs.state_dir(session.env),
        requests=session.requests,
        cancelled=session.interrupts.stopping,
    )
    return _Remote(remote.name, provider, found, context)


def _oauth(session: Session, remote: _Remote, how: OAuthLogin, *, browser: bool) -> "Token":
    from cftool.http import authorize
    from cftool.http.oauth import open_token_client

    client_id = remote.text(how.client_id)
    if not client_id:
        raise ConfigError(f"{remote.name} needs {how.client_id}: {how.register}".rstrip(": "))
    secret = remote.text(how.client_secret) if how.client_secret else ""
    if browser and _has_browser(session.env):
        with authorize.Loopback(how.ports) as loopback:
            attempt = authorize.Attempt(how, client_id, loopback.redirect)
            _open_browser(session, attempt.url)
            code = loopback.wait(attempt, _PATIENCE)
    else:
        redirect = None
        if not how.shows_code:
            redirect = (
                f"http://localhost:{how.ports[0]}/" if how.ports else f"http://127.0.0.1:{authorize.free_port()}/"
            )
        attempt = authorize.Attempt(how, client_id, redirect)
        session.messages.write(f"Open this address in a browser, on any machine:\n\n{attempt.url}\n")
        if redirect is not None:
            session.messages.write(
                f"When you have agreed, it goes to an address that begins with {redirect} and shows an error."
            )
        what = "code" if redirect is None else "whole address"
        code = attempt.pasted(prompts.ask(session, f"Paste the {what} here: "))
    client = open_token_client(remote.context)
    try:
        token = authorize.exchange(client, attempt, code, Secret(secret) if secret else None)
    finally:
        client.close()
    if token.refresh is None and token.expires != float("inf"):
        raise ProtocolError("the login service gave no refresh token, so that the login would last for hours only")
    return token


def _has_browser(env: Mapping[str, str]) -> bool:
    """Whether a window can open: a browser in the terminal would take the terminal away from us."""
    import sys

    return any(env.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")) or sys.platform == "darwin"


def _open_browser(session: Session, url: str) -> None:
    import webbrowser

    session.messages.write(f"Log in in the browser. If none opens, go to this address on this machine:\n\n{url}\n")
    try:
        webbrowser.open(url)
    except (webbrowser.Error, OSError) as error:
        session.messages.warn(f"no browser can be opened ({printable(str(error))}); --no-browser does without")


def _password(session: Session, remote: _Remote, how: PasswordLogin) -> "Token":
    from cftool.http.oauth import Token

    answers: dict[str, Secret] = {}
    for option in how.ask:
        question = f"{option.help or option.name}: "
        answer = prompts.ask_secret(session, question) if option.secret else prompts.ask(session, question)
        if not answer:
            raise ConfigError(f"{option.name}: nothing was entered")
        answers[option.name] = Secret(answer)
    # Without an access token yet: the first use gets one.
    return Token(Secret(""), 0.0, how.trade(remote.values, answers, remote.context))


def _save(remote: _Remote, client: str, token: "Token") -> None:
    from cftool.http.oauth import TokenFile, source_of

    configured = remote.values.get("refresh_token")
    assert remote.context.state_dir is not None
    file = TokenFile(remote.context.state_dir, remote.provider.name, remote.name)
    with file.lock():
        file.save(source_of(client, configured if isinstance(configured, Secret) else None), token)
