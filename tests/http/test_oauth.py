"""Access tokens are refreshed once, early, by one process at a time; what is damaged or revoked asks for a login."""

import json
import logging
import math
import os
import stat
import subprocess
import sys
import textwrap
import threading
import traceback
from pathlib import Path

import pytest

from cftool.core.errors import LoginRequired, ProtocolError, StoreError, TemporaryError
from cftool.core.provider import Context, Secret
from cftool.http.oauth import Token, TokenFile, Tokens, decode_token, open_token_client, refresh_grant, source_of
from cftool.http.open import open_client
from cftool.http.types import Request, Response, Verdict
from cftool.testing.clock import FakeClock
from cftool.testing.fake_oauth import FakeOAuth
from cftool.testing.http_fake import FakeResponse, FakeServer

LOGIN = "cftool config login work"


class Lab:
    def __init__(self, tmp_path, **habits):
        self.oauth = FakeOAuth(**habits)
        self.state = str(tmp_path / "state")
        self.clock = FakeClock()
        self.server = FakeServer(self._handle)
        self.context = Context(remote="work", env={}, state_dir=self.state)
        self.client = open_token_client(self.context)
        self.file = TokenFile(self.state, "fake", "work")

    def _handle(self, request):
        if request.path != "/data":
            return self.oauth.handle(request)
        return FakeResponse(200 if self.oauth.knows(request) else 401)

    def tokens(self, refresh: str | None = None, *, file: bool = True) -> Tokens:
        grant = refresh_grant(self.client, f"{self.server.url}/token", [("client_id", "client")], wall=self.clock)
        return Tokens(
            grant,
            file=self.file if file else None,
            client="client",
            refresh=None if refresh is None else Secret(refresh),
            login=LOGIN,
            wall=self.clock,
        )

    def login(self) -> None:
        self.file.save(source_of("client", None), Token(Secret(""), 0.0, Secret(self.oauth.grant())))

    @property
    def refreshed(self) -> int:
        return self.oauth.requests["refresh_token"]

    def close(self):
        self.client.close()
        self.server.close()


@pytest.fixture
def new_lab(tmp_path):
    labs = []

    def make(**habits) -> Lab:
        labs.append(Lab(tmp_path, **habits))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()


def test_a_token_is_used_until_a_minute_before_its_end(new_lab):
    lab = new_lab()
    tokens = lab.tokens(lab.oauth.grant())
    first = tokens.token()
    lab.clock.advance(3539)
    assert (tokens.token(), lab.refreshed) == (first, 1)
    lab.clock.advance(2)
    assert tokens.token() != first
    assert lab.refreshed == 2


def test_a_token_without_an_end_is_kept(new_lab):
    lab = new_lab(life=None)
    tokens = lab.tokens(lab.oauth.grant())
    assert tokens.token().expires == math.inf
    lab.clock.advance(10**9)
    tokens.token()
    assert lab.tokens(lab.oauth.grant()).token().expires == math.inf
    assert lab.refreshed == 2  # another configured refresh token begins anew


def test_the_next_process_takes_the_token_of_the_file(new_lab):
    lab = new_lab()
    refresh = lab.oauth.grant()
    first = lab.tokens(refresh).token()
    assert lab.tokens(refresh).token().access == first.access
    assert lab.refreshed == 1


def test_without_a_state_directory_all_is_in_memory(new_lab):
    lab = new_lab(rotate=True)
    tokens = lab.tokens(lab.oauth.grant(), file=False)
    tokens.token()
    lab.clock.advance(3600)
    tokens.token()
    assert lab.refreshed == 2
    assert not os.path.exists(lab.file.path)


def test_the_file_is_the_users_alone(new_lab):
    lab = new_lab()
    lab.tokens(lab.oauth.grant()).token()
    assert stat.S_IMODE(os.stat(lab.file.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(lab.file.path)).st_mode) == 0o700


def test_remotes_of_like_names_have_files_of_their_own(new_lab):
    lab = new_lab()
    paths = {TokenFile(lab.state, "p", name).path for name in ("a/b", "a_b", "a b", "b")}
    paths |= {TokenFile(lab.state, "p-a", "b").path, TokenFile(lab.state, "p", "a-b").path}
    assert len(paths) == 6


def test_a_rotated_token_is_on_disk_before_it_is_used(new_lab):
    lab = new_lab(rotate=True)
    lab.login()
    tokens = lab.tokens()
    for round_ in range(1, 4):
        access = tokens.token().access
        saved = json.loads(Path(lab.file.path).read_bytes())
        assert (saved["access_token"], {saved["refresh_token"]}) == (access.reveal(), lab.oauth.refresh)
        assert lab.refreshed == round_
        lab.clock.advance(3600)


def test_what_another_process_saved_is_newer_than_what_is_in_memory(new_lab):
    lab = new_lab(rotate=True)
    lab.login()
    old, other = lab.tokens(), lab.tokens()
    old.token()
    lab.clock.advance(3600)
    other.token()  # uses up the refresh token that `old` remembers
    lab.clock.advance(3600)
    old.token()
    assert lab.refreshed == 3


def test_a_token_that_could_not_be_saved_is_not_lost(new_lab, monkeypatch):
    lab = new_lab(rotate=True)
    lab.login()
    tokens = lab.tokens()
    save = TokenFile.save

    def full(self, source, token):
        raise StoreError("no space left on device")

    monkeypatch.setattr(TokenFile, "save", full)
    with pytest.raises(StoreError, match="no space"):
        tokens.token()
    monkeypatch.setattr(TokenFile, "save", save)
    tokens.token()
    assert lab.refreshed == 1
    lab.clock.advance(3600)
    tokens.token()
    assert lab.refreshed == 2


def _data_client(lab: Lab, tokens: Tokens):
    def classify(status, headers, body):
        return Verdict.AUTH if status == 401 else Verdict.ANSWER

    return open_client(lab.context, auth=tokens, classify=classify)


def test_a_refused_token_is_refreshed_once_for_all_requests(new_lab):
    lab = new_lab()
    tokens = lab.tokens(lab.oauth.grant())
    client = _data_client(lab, tokens)
    assert client.send(Request("GET", f"{lab.server.url}/data")).status == 200
    lab.oauth.access.clear()
    waiting = iter([Request("GET", f"{lab.server.url}/data", tag=number) for number in range(40)])
    done = list(client.send_many(lambda: next(waiting, None)))
    assert [completion.response.status for completion in done] == [200] * 40
    assert lab.refreshed == 2
    client.close()


def test_a_saved_token_that_is_refused_is_refreshed_at_once(new_lab):
    lab = new_lab()
    refresh = lab.oauth.grant()
    lab.tokens(refresh).token()
    lab.oauth.access.clear()
    client = _data_client(lab, lab.tokens(refresh))
    assert client.send(Request("GET", f"{lab.server.url}/data")).status == 200
    assert lab.refreshed == 2
    client.close()


def test_a_service_that_takes_no_token_is_not_asked_for_ever(new_lab):
    lab = new_lab()
    client = _data_client(lab, lab.tokens(lab.oauth.grant()))
    lab.oauth.knows = lambda request: False
    assert client.send(Request("GET", f"{lab.server.url}/data")).status == 401
    assert client.requests[""] == 3
    assert lab.refreshed == 3
    client.close()


def test_threads_refresh_once(new_lab):
    lab = new_lab(rotate=True)
    lab.login()
    tokens = lab.tokens()
    found = []
    threads = [threading.Thread(target=lambda: found.append(tokens.token())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(set(found)), lab.refreshed) == (1, 1)


_CHILD = """
    import sys
    from cftool.core.provider import Context
    from cftool.http.oauth import TokenFile, Tokens, open_token_client, refresh_grant

    url, state = sys.argv[1:]
    client = open_token_client(Context(remote="work", env={}, state_dir=state))
    grant = refresh_grant(client, url, [("client_id", "client")])
    tokens = Tokens(grant, file=TokenFile(state, "fake", "work"), client="client")
    print("ready", flush=True)
    sys.stdin.readline()
    print(tokens.token().access.reveal(), flush=True)
"""


def test_processes_that_refresh_at_once_use_one_token(new_lab):
    lab = new_lab(rotate=True)
    lab.login()
    command = [sys.executable, "-c", textwrap.dedent(_CHILD), f"{lab.server.url}/token", lab.state]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 4
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    said = [child.communicate(timeout=60) for child in children]
    assert {out for out, _ in said} == {f"{token}\n" for token in lab.oauth.access}, said
    assert (lab.refreshed, len(lab.oauth.refresh)) == (1, 1)


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\xff\xfe", b"[1]", b"null", b'"x"', b"[" * 60_000, b'{"source": 1}', b"\0" * 100_000],
    ids=lambda damage: repr(damage[:12]),
)
def test_a_damaged_file_is_told_and_made_anew(new_lab, caplog, damage):
    lab = new_lab()
    refresh = lab.oauth.grant()
    tokens = lab.tokens(refresh)
    tokens.token()
    with open(lab.file.path, "wb") as file:
        file.write(damage)
    lab.tokens(refresh).token()
    assert lab.refreshed == 2
    assert damage == b'{"source": 1}' or "cannot be read" in caplog.text


def test_a_damaged_file_of_a_login_asks_for_a_login(new_lab):
    lab = new_lab()
    lab.login()
    with open(lab.file.path, "wb") as file:
        file.write(b"{")
    with pytest.raises(LoginRequired, match=f"there is no login yet; run {LOGIN}"):
        lab.tokens().token()
    assert lab.refreshed == 0


def test_fields_of_the_wrong_kind_are_no_token(new_lab):
    lab = new_lab()
    lab.login()
    saved = json.loads(Path(lab.file.path).read_bytes())
    for wrong in ({"expires": "soon"}, {"expires": [1]}):
        with open(lab.file.path, "w") as file:
            json.dump({**saved, **wrong}, file)
        assert lab.file.load(source_of("client", None)) is None


def test_a_revoked_login_says_what_to_run(new_lab):
    lab = new_lab()
    lab.login()
    lab.oauth.revoke()
    with pytest.raises(LoginRequired) as caught:
        lab.tokens().token()
    expected = f"the login is not valid any more: the refresh token is revoked; run {LOGIN}"
    assert caught.value.message == expected


def test_a_login_service_that_fails_for_a_while_is_asked_again(new_lab):
    lab = new_lab()
    lab.oauth.failures = [FakeResponse(500), FakeResponse(503, (("Retry-After", "0"),)), FakeResponse(429)]
    lab.tokens(lab.oauth.grant()).token()
    assert lab.refreshed == 4


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Response(200, {}, b"<html>"), ProtocolError),
        (Response(200, {}, b"[]"), ProtocolError),
        (Response(200, {}, b"{}"), ProtocolError),
        (Response(200, {}, b'{"access_token": ""}'), ProtocolError),
        (Response(200, {}, b'{"access_token": "a", "expires_in": "soon"}'), ProtocolError),
        (Response(200, {}, b"[" * 60_000), ProtocolError),
        (Response(502, {}, b"<html>"), TemporaryError),
        (Response(503, {}, b'{"error": "temporarily_unavailable"}'), TemporaryError),
        (Response(429, {}, b'{"error": "slow_down"}'), TemporaryError),
        (Response(400, {}, b'{"error": "invalid_grant"}'), LoginRequired),
        (Response(401, {}, b'{"error": "invalid_client"}'), LoginRequired),
        (Response(200, {}, b'{"error": "invalid_grant"}'), LoginRequired),
    ],
)
def test_what_is_no_token_is_the_error_that_it_is(answer, kind):
    with pytest.raises(kind) as caught:
        decode_token(answer, 0.0)
    assert type(caught.value) is kind


def test_nothing_secret_is_told(new_lab, caplog):
    lab = new_lab()
    caplog.set_level(logging.DEBUG)
    refresh = lab.oauth.grant()
    tokens = lab.tokens(refresh)
    told = [repr(tokens.token()), str(tokens), repr(lab.file)]
    lab.oauth.revoke()
    lab.clock.advance(3600)
    try:
        tokens.token()
    except LoginRequired:
        told.append(traceback.format_exc())
    answer = {"error": "invalid_grant", "error_description": f"refresh_token={refresh} is unknown"}
    try:
        decode_token(Response(400, {}, json.dumps(answer).encode()), 0.0)
    except LoginRequired:
        told.append(traceback.format_exc())
    assert "s3cr3t" not in "\n".join([*told, caplog.text])
    assert "/token" in caplog.text


def test_a_logout_forgets(new_lab):
    lab = new_lab()
    lab.login()
    lab.file.remove()
    lab.file.remove()
    with pytest.raises(LoginRequired):
        lab.tokens().token()


def test_a_login_that_needs_a_token_has_room_of_its_own(new_lab):
    """The remote's only connection is taken by the request that waits for the token."""
    lab = new_lab()
    context = Context(remote="work", env={}, state_dir=lab.state, connections=1)
    client = open_client(context, auth=lab.tokens(lab.oauth.grant()), classify=lambda *answer: Verdict.ANSWER)
    assert client.send(Request("GET", f"{lab.server.url}/data")).status == 200
    client.close()
