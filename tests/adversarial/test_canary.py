"""A canary in every secret option of every provider: it is in no argv, output, log, state or cache, whatever happens.

Commands run as child processes, good ones and failing ones, at their most talkative; meanwhile the argv of all their
descendants is read again and again. Allowed is the configuration file, and of an OAuth refresh token the token file.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cftool import registry
from cftool.testing.fake_s3 import ACCESS_KEY, FakeS3
from cftool.testing.fake_sugarsync import BASE, FakeSugarSync
from cftool.testing.http_fake import Authority, FakeProxy, FakeRequest, FakeResponse, FakeServer, Fault, Wire
from tests.servers import tool

SUGAR_HOST = "api.sugarsync.com"
PROVIDERS = sorted(name for name in registry.names() if any(o.secret for o in registry.provider(name).options))


@dataclass
class Lab:
    """One remote `work`, whose secrets are canaries, and a service for it (or none that answers)."""

    provider: str
    home: Path
    env: dict[str, str]
    options: dict[str, object] = field(default_factory=dict)
    place: str = "work:"
    canaries: dict[str, str] = field(default_factory=dict)
    argv: list[bytes] = field(default_factory=list)
    said: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)
    fake: object = None
    answer: Callable[[FakeRequest], FakeResponse] | None = None

    def canary(self, option: str) -> str:
        made = f"canary-{option.replace('_', '-')}-7f3a9c"
        if self.provider == "sugarsync" and option == "refresh_token":
            made = f"{BASE}/app-authorization/{made}"
        return self.canaries.setdefault(option, made)

    def write_config(self) -> None:
        lines = ["[remotes.work]", f'type = "{self.provider}"']
        for option in registry.provider(self.provider).options:
            if option.secret:
                lines.append(f"{option.name} = {json.dumps(self.canary(option.name))}")
            elif option.name in self.options:
                lines.append(f"{option.name} = {json.dumps(self.options[option.name])}")
            elif option.required:
                value = "https://service.test/x" if "url" in option.name else (option.choices or ("x",))[0]
                lines.append(f"{option.name} = {json.dumps(value)}")
        config = self.home / "config/cftool/config.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text("\n".join(lines) + "\n")
        config.chmod(0o600)

    def run(self, *words: object, stop_after: float | None = None) -> int:
        """Run a command; everything it says is kept, and the argv of what it starts."""
        args = tuple(map(str, words))
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), **self.env}
        for name in ("CONFIG", "STATE", "CACHE"):
            environment[f"XDG_{name}_HOME"] = str(self.home / name.lower())
        process = subprocess.Popen(
            [tool("cftool"), *args],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(process.pid, ended))
        watcher.start()
        if stop_after is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(stop_after)
            process.send_signal(signal.SIGINT)
        try:
            out, _ = process.communicate(timeout=120)
        finally:
            ended.set()
            watcher.join()
        self.said.append((args, out))
        return process.returncode

    def _watch(self, process: int, ended: threading.Event) -> None:
        while not ended.wait(0.002):
            todo = [process]
            while todo:
                pid = todo.pop()
                with contextlib.suppress(OSError):
                    self.argv.append(Path(f"/proc/{pid}/cmdline").read_bytes())
                    for task in os.listdir(f"/proc/{pid}/task"):
                        todo += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())

    def leaks(self) -> list[str]:
        """Where a canary was seen that may not be there."""
        found = []
        for option, canary in self.canaries.items():
            tail = canary.rpartition("/")[2].encode()
            found += [f"{option} in argv" for argv in self.argv if tail in argv]
            found += [f"{option} in what {' '.join(args)} said: {out!r}" for args, out in self.said if tail in out]
            for directory, _, names in os.walk(self.home):
                for name in names:
                    path = Path(directory, name)
                    if tail in path.read_bytes() and not self._may(option, path):
                        found.append(f"{option} in {path}")
        return found

    def _may(self, option: str, path: Path) -> bool:
        relative = path.relative_to(self.home).parts
        if path.stat().st_mode & 0o077:
            return False
        return relative[0] == "config" or (option == "refresh_token" and relative[:3] == ("state", "cftool", "tokens"))


@pytest.fixture(scope="module")
def authority():
    with Authority() as ca:
        yield ca


@pytest.fixture
def lab(request, tmp_path, authority):
    provider = request.param
    home = tmp_path / "home"
    home.mkdir()
    with contextlib.ExitStack() as stack:
        lab = Lab(provider, home, {})
        if provider == "s3":
            lab.fake = fake = FakeS3()
            fake.keys[ACCESS_KEY] = lab.canary("secret_access_key")
            fake.token = lab.canary("session_token")
            fake.make("bucket", ["there"])
            server = stack.enter_context(FakeServer(lambda request: lab.answer(request)))
            lab.options = {"endpoint_url": server.url, "access_key_id": ACCESS_KEY, "region": "us-east-1"}
            lab.place = "work:bucket/x"
        elif provider == "sugarsync":
            lab.fake = fake = FakeSugarSync()
            fake.refresh_tokens.add(lab.canary("refresh_token"))
            fake.keys = ("FAKEKEYID", lab.canary("private_access_key"))
            server = stack.enter_context(
                FakeServer(lambda request: lab.answer(request), tls=authority, hosts=(SUGAR_HOST,))
            )
            proxy = stack.enter_context(FakeProxy(resolve={f"{SUGAR_HOST}:443": ("127.0.0.1", server.port)}))
            lab.env = {"HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": authority.bundle}
            lab.options = {"app_id": "/sc/10061/3_21053", "access_key_id": "FAKEKEYID"}
            lab.place = "work:Top/x"
        else:
            proxy = stack.enter_context(FakeProxy(refuse=403))
            lab.env = {"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url}
        if lab.fake is not None:
            lab.answer = lab.fake.handle
        lab.write_config()
        yield lab


def commands(lab, tmp_path):
    """Good and bad ones; each with all that it can say."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for name in ("one", "sub/two"):
        (source / name).write_bytes(name.encode())
    place = lab.place
    yield ("cp", "-r", source, place)
    yield ("sync", source, place)
    yield ("check", source, place)
    yield ("ls", "-R", "-l", place)
    yield ("cat", f"{place}/one")
    yield ("stat", f"{place}/one")
    yield ("sync", place, tmp_path / "copy")
    yield ("du", place)
    yield ("rm", f"{place}/one")
    yield ("mkdir", f"{place}/new")
    yield ("cleanup", place)
    yield ("config", "test", place)
    yield ("config", "show")
    yield ("config", "list")
    # What fails.
    yield ("cat", f"{place}/nothing")
    yield ("ls", "work,nonsense=1:x")
    yield ("cp", source / "one", "work:")
    yield ("sync", tmp_path / "nowhere", place)


@pytest.mark.parametrize("lab", PROVIDERS, indirect=True)
def test_no_command_tells_a_secret(lab, tmp_path, record_property):
    codes = set()
    for number, words in enumerate(commands(lab, tmp_path)):
        codes.add(lab.run(*words, "-vv", "--log-file", lab.home / "log.text"))
        if number % 3 == 0:
            form = ("--log-file", lab.home / "log.json", "--log-format", "json")
            codes.add(lab.run(*words, "--json", "-vv", *form))
    assert lab.leaks() == []
    assert [out for _, out in lab.said if b"Traceback" in out] == []
    assert len(lab.argv) > 20
    assert (lab.home / "log.text").stat().st_size > 0
    if lab.fake is not None:
        assert 0 in codes
    record_property("commands", len(lab.said))
    record_property("looks at argv", len(lab.argv))


@pytest.mark.parametrize("lab", ["s3", "sugarsync"], indirect=True)
def test_no_failure_of_the_service_tells_a_secret(lab, tmp_path):
    """Pages that echo the request, resets, nonsense, a login that is refused, Ctrl-C."""
    (tmp_path / "file").write_bytes(b"x")

    def echo(request):
        text = "".join(f"{name}: {value}\n" for name, value in request.headers.items())
        text += request.body[:2000].decode("utf-8", "replace") + request.url
        return FakeResponse(400, (("Content-Type", "text/html"),), f"<html><h3>{text}</h3></html>".encode())

    def reset(_request):
        return FakeResponse(200, fault=Fault(Wire.RESET))

    def nonsense(_request):
        return FakeResponse(200, (("Content-Type", "application/xml"),), b"<nonsense/>")

    def refused(_request):
        return FakeResponse(403 if lab.provider == "s3" else 401, (), b"")

    for answer in (echo, nonsense, refused):
        lab.answer = answer
        lab.run("cp", tmp_path / "file", f"{lab.place}/file", "-vv", "--json")
        lab.run("ls", lab.place, "-vv", "--log-file", lab.home / "log.text")
    lab.answer = reset
    lab.run("ls", lab.place, "-vv", stop_after=1.0)
    assert lab.leaks() == []
    assert [out for _, out in lab.said if b"Traceback" in out] == []


@pytest.mark.parametrize("lab", ["s3"], indirect=True)
def test_a_secret_that_a_command_gives_is_in_nobodys_argv(lab):
    canary = lab.canary("secret_access_key")
    hidden = lab.home.parent / "vault"
    hidden.write_text(canary)
    config = lab.home / "config/cftool/config.toml"
    said = json.dumps(canary)
    config.write_text(config.read_text().replace(said, f'{{ command = "sleep 0.05; cat {hidden}" }}'))
    assert lab.run("ls", "work:bucket", "-vv") == 0
    assert any(b"cat" in argv for argv in lab.argv)
    assert lab.leaks() == []
    assert canary.encode() not in config.read_bytes()
