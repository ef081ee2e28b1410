"""`cftool config login` and `config wizard`: the browser's answer, the pasted one, the password, and refusals."""

import json
import os
import stat
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from cftool import registry
from cftool.cli.messages import Messages
from cftool.core.errors import LoginRequired
from cftool.core.provider import OAuthLogin, Option, PasswordLogin, Provider, Secret
from cftool.http.oauth import TokenFile, Tokens, open_token_client, refresh_grant, source_of
from cftool.testing.fake_oauth import FakeOAuth
from cftool.testing.http_fake import FakeResponse, FakeServer

OPTIONS = (
    Option("app_key", "Key of the application"),
    Option("app_secret", "Secret of the application", secret=True),
    Option("refresh_token", "From a login elsewhere", secret=True),
    Option("mode", "How", choices=("fast", "slow"), default="fast"),
    Option("region", "Where", required=True),
)


class Lab:
    """A provider `fake` whose login goes to a fake authorization server, and whose store asks for a token."""

    def __init__(self, monkeypatch):
        self.oauth = FakeOAuth(client_id="app")
        self.server = FakeServer(self.oauth.handle)
        self.login = OAuthLogin(
            "https://login.test/authorize", f"{self.server.url}/token", "app_key", "app_secret", scopes=("a", "b"),
            parameters=(("access_type", "offline"),), register="register one at https://login.test/apps",
        )  # fmt: skip
        self.provider = Provider("fake", "A fake", "https://login.test/docs", OPTIONS, self._open, self.login)
        names, provider = registry.names, registry.provider
        monkeypatch.setattr(registry, "names", lambda: sorted([*names(), "fake"]))
        monkeypatch.setattr(registry, "provider", lambda name: self.provider if name == "fake" else provider(name))

    def change(self, **fields):
        self.provider = replace(self.provider, login=replace(self.login, **fields))

    def _open(self, values, context):
        inner = registry.provider("memory").open({"space": None}, context)
        client = open_token_client(context)
        tokens = Tokens(
            refresh_grant(client, f"{self.server.url}/token", [("client_id", "app")]),
            file=TokenFile(context.state_dir, "fake", context.remote),
            client=values["app_key"] or "",
            refresh=values["refresh_token"],
            login=f"cftool config login {context.remote}",
        )
        scan, close = inner.scan, inner.close
        inner.scan = lambda path: (tokens.token(), scan(path))[1]
        inner.close = lambda: (client.close(), close())
        return inner


@pytest.fixture
def lab(monkeypatch):
    lab = Lab(monkeypatch)
    yield lab
    lab.server.close()


@pytest.fixture
def remote(run, lab):
    assert "cftool config login work is next" in run("config", "create", "work", "fake", "app_key=app", "region=x").err


@pytest.fixture
def type_in(monkeypatch):
    """What the user types, in lines."""
    opened = []

    def feed(*lines: object) -> None:
        read, write = os.pipe()
        os.write(write, "".join(f"{line}\n" for line in lines).encode())
        os.close(write)
        opened.append(os.fdopen(read, "r"))
        monkeypatch.setattr("sys.stdin", opened[-1])

    yield feed
    for file in opened:
        file.close()


@pytest.fixture
def browser(monkeypatch, lab):
    """A browser that agrees in another thread: `browser.answers` are the pages that it was shown."""

    class Browser:
        def __init__(self):
            self.answers = []
            self.also = []  # addresses that are fetched before the answer
            self.deny = False
            self.opened = ""

        def open(self, url):
            self.opened = url
            answer = lab.oauth.agree(url, deny=self.deny)
            root = answer.partition("?")[0]
            self.thread = threading.Thread(target=self._go, args=([root + more for more in self.also] + [answer],))
            self.thread.start()
            return True

        def _go(self, urls):
            for url in urls:
                try:
                    with urllib.request.urlopen(url, timeout=20) as page:
                        self.answers.append((page.status, page.read().decode()))
                except urllib.error.HTTPError as error:
                    with error:
                        self.answers.append((error.code, error.read().decode()))

    found = Browser()
    monkeypatch.setenv("BROWSER", "fake")
    monkeypatch.setattr("webbrowser.open", found.open)
    yield found
    if found.opened:
        found.thread.join(20)


def _files(here: Path) -> dict[str, str]:
    home = here.parent / "home"
    return {str(path.relative_to(home)): path.read_text() for path in home.rglob("*") if path.is_file()}


def test_the_browser_brings_the_code(run, remote, lab, browser, here):
    before = (here.parent / "home/XDG_CONFIG_HOME/cftool/config.toml").read_bytes()
    ran = run("config", "login", "work")
    assert ran.err.endswith("logged in to work; cftool config test work tries it\n")
    assert ran.out == b""
    browser.thread.join(20)
    ((status, page),) = browser.answers
    assert status == 200
    assert "You may close this window" in page
    assert "scope=a+b" in browser.opened
    assert "access_type=offline" in browser.opened
    # the tokens are in one file, the user's alone, and nowhere else
    assert (here.parent / "home/XDG_CONFIG_HOME/cftool/config.toml").read_bytes() == before
    ((name, text),) = [(name, text) for name, text in _files(here).items() if "s3cr3t" in text]
    assert name.startswith("XDG_STATE_HOME/cftool/tokens/fake-work-")
    assert stat.S_IMODE(os.stat(here.parent / "home" / name).st_mode) == 0o600
    assert json.loads(text)["refresh_token"] in lab.oauth.refresh
    run("config", "test", "work")
    assert lab.oauth.requests == {"authorization_code": 1}


def test_what_is_not_the_answer_is_ignored(run, remote, lab, browser):
    browser.also = ["favicon.ico", "?code=stolen", "?code=stolen&state=guessed", "?error=access_denied", "?state=%ff"]
    run("config", "login", "work:")
    browser.thread.join(20)
    assert [status for status, _ in browser.answers] == [404, 400, 400, 400, 400, 200]
    assert lab.oauth.requests == {"authorization_code": 1}


def test_a_page_under_another_name_gets_nothing(run, remote, lab, browser, monkeypatch):
    asked = []
    real = urllib.request.urlopen

    def elsewhere(url, timeout):
        if not asked:
            asked.append(url)
            with pytest.raises(urllib.error.HTTPError) as caught:
                real(urllib.request.Request(url, headers={"Host": "evil.test"}), timeout=timeout)
            caught.value.close()
            assert caught.value.code == 404
        return real(url, timeout=timeout)

    monkeypatch.setattr("urllib.request.urlopen", elsewhere)
    run("config", "login", "work")
    browser.thread.join(20)
    assert [status for status, _ in browser.answers] == [200]


def test_a_refusal_in_the_browser_is_told(run, remote, browser):
    browser.deny = True
    assert "the login was refused: access_denied" in run("config", "login", "work", code=4).err


def test_a_browser_that_never_answers_is_not_waited_for_for_ever(run, remote, monkeypatch, lab):
    monkeypatch.setenv("BROWSER", "fake")
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    monkeypatch.setattr("cftool.cli.cmd_config_login._PATIENCE", 0.01)
    ran = run("config", "login", "work", code=4)
    assert "no answer came from the browser" in ran.err
    assert "https://login.test/authorize?client_id=app" in ran.err


def test_registered_ports_are_used_under_the_name_localhost(run, remote, lab, browser):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        from cftool.http.authorize import free_port

        free = free_port()
        lab.change(ports=(taken.getsockname()[1], free))
        run("config", "login", "work")
        assert f"redirect_uri=http%3A%2F%2Flocalhost%3A{free}%2F" in browser.opened
        lab.change(ports=(taken.getsockname()[1],))
        assert "--no-browser" in run("config", "login", "work", code=2).err


def _paste(lab, monkeypatch, make):
    """Answer the question for the code with what `make` makes of the address that was shown."""
    shown = []

    def ask(session, question):
        return make(shown[-1] if shown else "")

    write = Messages.write

    def note(self, line):
        shown.extend(word for word in line.split() if word.startswith("https://login.test"))
        write(self, line)

    monkeypatch.setattr(Messages, "write", note)
    monkeypatch.setattr("cftool.cli.prompts.ask", ask)


@pytest.mark.parametrize("shows_code", [True, False], ids=["code", "address"])
def test_an_answer_is_pasted(run, remote, lab, browser, monkeypatch, shows_code):
    lab.change(shows_code=shows_code)
    _paste(lab, monkeypatch, lab.oauth.agree)
    run("config", "login", "work", "--no-browser")
    assert (browser.opened, lab.oauth.requests) == ("", {"authorization_code": 1})
    run("config", "test", "work")


def test_without_a_display_the_answer_is_pasted(run, remote, lab, monkeypatch):
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    _paste(lab, monkeypatch, lab.oauth.agree)
    run("config", "login", "work")


@pytest.mark.parametrize(
    ("pasted", "code", "said"),
    [
        (lambda url: "", 2, "nothing was entered"),
        (lambda url: "http://127.0.0.1:1/?code=x&state=other", 4, "not the answer to this login"),
        (lambda url: "http://127.0.0.1:1/?code=x", 4, "not the answer to this login"),
        (lambda url: "wrong", 4, "the code is unknown or was used"),
    ],
)
def test_what_was_pasted_wrongly_is_told(run, remote, lab, monkeypatch, pasted, code, said):
    _paste(lab, monkeypatch, pasted)
    assert said in run("config", "login", "work", "--no-browser", code=code).err


def test_a_line_is_read_from_the_terminal(run, remote, lab, type_in):
    type_in("wrong-code")
    assert "the code is unknown" in run("config", "login", "work", "--no-browser", code=4).err
    type_in()
    assert "the input ended" in run("config", "login", "work", "--no-browser", code=2).err


def test_an_interrupt_at_a_question_changes_nothing(run, remote, lab, monkeypatch, here):
    before = _files(here)

    def interrupt(session, question):
        raise KeyboardInterrupt

    monkeypatch.setattr("cftool.cli.prompts.ask", interrupt)
    assert run("config", "login", "work", "--no-browser", code=130).err.endswith("cftool: interrupted\n")
    run("config", "wizard", code=130)
    assert _files(here) == before


def test_a_login_without_an_application_tells_where_to_register_one(run, lab):
    run("config", "create", "bare", "fake", "region=x")
    assert "needs app_key: register one at https://login.test/apps" in run("config", "login", "bare", code=2).err
    assert "did you mean 'bare'?" in run("config", "login", "baer", code=2).err
    run("config", "create", "plain", "memory")
    assert "memory has no login" in run("config", "login", "plain", code=2).err


def test_a_service_that_gives_no_refresh_token_is_no_login(run, remote, lab, browser, monkeypatch):
    answer = FakeResponse(200, (), b'{"access_token": "a", "expires_in": 60}')
    lab.oauth.failures = [answer]
    assert "no refresh token" in run("config", "login", "work", code=1).err


def test_a_configured_refresh_token_that_was_revoked_is_mended_by_a_login(run, lab, browser):
    revoked = "refresh_token=revoked"
    run("config", "create", "old", "fake", "app_key=app", "region=x", revoked)
    assert "run cftool config login old" in run("config", "test", "old", code=4).err
    run("config", "login", "old")
    run("config", "test", "old")


def test_a_test_without_a_login_exits_with_4(run, remote, lab):
    assert "there is no login yet; run cftool config login work" in run("config", "test", "work", code=4).err


def test_user_and_password_are_traded_and_not_kept(run, lab, type_in, here):
    asked = []

    def trade(values, answers, context):
        asked.append((values["app_key"], values["mode"], answers["user"].reveal(), context.remote))
        if answers["password"].reveal() != "s3cr3t-password":
            raise LoginRequired("the password is wrong")
        return Secret(lab.oauth.grant())

    questions = (Option("user", "E-mail address"), Option("password", "Password", secret=True))
    lab.provider = replace(lab.provider, login=PasswordLogin(questions, trade))
    run("config", "create", "work", "fake", "app_key=app", "region=x")
    type_in("me@home.test", "s3cr3t-password")
    ran = run("config", "login", "work", "-vv")
    assert asked == [("app", "fast", "me@home.test", "work")]
    assert "E-mail address: " in ran.err
    told = "".join([*_files(here).values(), ran.err, ran.out.decode()])
    assert "s3cr3t-password" not in told
    assert "me@home.test" not in told
    run("config", "test", "work")
    type_in("me@home.test", "wrong")
    assert "the password is wrong" in run("config", "login", "work", code=4).err
    run("config", "test", "work")  # the login of before is still there


def test_the_wizard_asks_what_the_provider_declares(run, lab, browser, type_in, monkeypatch, here):
    number = registry.names().index("fake") + 1
    monkeypatch.setenv("APP_SECRET", "hush")
    lab.oauth.client_secret = "hush"
    type_in("bad name", "work", "fkae", number, "", "eu", "app", '{ env = "APP_SECRET" }', "sideways", "slow", "")
    ran = run("config", "wizard")
    for said in (
        "letters, digits", "did you mean 'fake'?", f"{number}  fake", "fake needs it", "did you mean", "fast, slow",
        "logged in to work",
    ):  # fmt: skip
        assert said in ran.err, said
    shown = run("config", "show", "work").lines
    assert shown[:-1] == [
        "[remotes.work]", 'type = "fake"', 'region = "eu"', 'app_key = "app"', 'app_secret = { env = "APP_SECRET" }',
        'mode = "slow"',
    ]  # fmt: skip
    assert ran.lines[0] == "list:   0 entries"


def test_the_wizard_of_a_provider_without_login(run, type_in, here):
    type_in("scratch", "memory", *[""] * 10)
    assert run("config", "wizard").lines[0] == "list:   0 entries"
    assert "there is a remote scratch already" in run("config", "wizard", "scratch", code=2).err


def test_the_wizard_logs_in_without_a_browser(run, lab, browser, type_in, monkeypatch):
    answers = ["work", "fake", "eu", "app", "", ""]
    type_in("", "", "")  # secrets
    _paste(lab, monkeypatch, lambda url: lab.oauth.agree(url) if "/authorize" in url else answers.pop(0))
    run("config", "wizard", "--no-browser")
    assert (browser.opened, answers, lab.oauth.requests) == ("", [], {"authorization_code": 1})


def test_a_wizard_whose_input_ends_writes_nothing(run, lab, type_in, here):
    type_in("work", "fake", "eu")
    assert "nothing was changed" in run("config", "wizard", code=2).err
    assert _files(here) == {}
    type_in(*["bad name"] * 12)
    assert "no answer that can be used" in run("config", "wizard", code=2).err


def test_a_login_as_json(run, remote, browser):
    ran = run("config", "login", "work", "--json")
    assert ran.events == [{"v": 1, "event": "login", "name": "work", "ok": True}]


def test_nothing_secret_is_told(run, remote, lab, browser, here):
    ran = run("config", "login", "work", "-vv", "--log-file", here / "log")
    told = ran.err + ran.out.decode() + (here / "log").read_text()
    assert "s3cr3t" not in told
    assert source_of("app", None) not in told
    assert "code_verifier" not in told
