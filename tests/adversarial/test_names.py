"""Names that break programs, to every provider and back, through the command: kept exactly, or refused by name.

Each provider gets the whole corpus in one copy. What a service tells is hostile where no disk could have such a name:
that never leaves the destination. No name reaches a terminal, standard error or a log as it is; `--json` and `-0` give
it exactly.
"""

import json
import os
import unicodedata
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest

from cftool.core.paths import printable
from cftool.testing.http_fake import FakeRequest, FakeResponse
from tests import sizes
from tests.adversarial.corpus import CORPUS, content, generated, on_disk
from tests.adversarial.services import KINDS, WIRED, Service, served
from tests.adversarial.shell import Ran, on_terminal, run

# The least that each keeps of the corpus: a provider that refuses everything would pass the rest.
KEPT = {
    "local": 660,
    "memory": 660,
    "s3": 615,
    "gs": 600,
    "gs-xml": 520,
    "dropbox": 485,
    "gdrive": 615,
    "webdav": 615,
    "nextcloud": 615,
    "sugarsync": 470,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state and a configuration of its own."""
    for name in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / "home" / name.lower()))
    return tmp_path


def write(root: Path, names: list[str]) -> dict[str, bytes]:
    """Files of these names; what they hold, by name."""
    root.mkdir()
    lead = os.fsencode(root) + b"/"
    for name in names:
        fd = os.open(lead + os.fsencode(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(fd, content(name))
        os.close(fd)
    return {name: content(name) for name in names}


def read(root: Path) -> dict[str, bytes]:
    """The files of a directory, by name."""
    lead = os.fsencode(root) + b"/"
    return {os.fsdecode(name): Path(os.fsdecode(lead + name)).read_bytes() for name in os.listdir(lead)}


def raw(text: bytes) -> list[str]:
    """Lines with a character that can drive a terminal, or that is no character. The end of a line is none of them."""
    bad = {"Cc", "Cf", "Zl", "Zp", "Cs"}
    lines = text.decode("utf-8").split("\n")  # raises for bytes that are no UTF-8
    return [ascii(line) for line in lines if any(unicodedata.category(char) in bad for char in line)]


def named(ran: Ran) -> set[str]:
    """What the run's errors name, exactly in the JSON lines and escaped on standard error."""
    paths = {event["path"] for event in ran.of("error")}
    lines = ran.err.split("\n")
    unsaid = [path for path in paths if not any(line.startswith(f"cftool: {printable(path)}") for line in lines)]
    assert unsaid == []
    return paths


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_is_kept_exactly_or_refused_by_name(kind, home, record_property):
    names = [name for name in CORPUS if on_disk(name)]
    wanted = write(home / "source", names)
    with served(kind, home) as service:
        kept = there_and_back(service, home, wanted)
        shown(service, kept)
    assert len(kept) >= KEPT[kind]
    record_property("names", len(names))
    record_property("names kept", len(kept))
    record_property("names refused", len(names) - len(kept))


def there_and_back(service: Service, home: Path, wanted: dict[str, bytes]) -> dict[str, bytes]:
    """Copy up and down, then sync both ways; what was kept."""
    log = home / "log"
    up = run("cp", "-r", home / "source", service.place, "--json", "-v", "--log-file", log)
    refused = named(up)
    kept = service.stored()
    assert kept == {name: data for name, data in wanted.items() if name not in refused}
    assert up.code == (1 if refused else 0), up
    assert {event["path"] for event in up.of("copy")} == kept.keys()

    talkative = run("cp", "-r", service.place, home / "back", "-vv", "--log-file", log, "--log-format", "json", code=0)
    assert read(home / "back") == kept
    assert talkative.out == b""
    assert raw(up.err.encode()) == raw(talkative.err.encode()) == raw(log.read_bytes()) == []

    again = run("sync", service.place, home / "back", "--json", code=0)
    assert (again.events[-1]["copied"], again.events[-1]["deleted"]) == (0, 0)
    upward = run("sync", home / "source", service.place, "--json")
    assert (upward.events[-1]["copied"], upward.events[-1]["deleted"]) == (0, 0), upward
    assert (named(upward), upward.code) == (refused, up.code)
    assert (service.stored(), read(home / "back")) == (kept, kept)
    return kept


def shown(service: Service, kept: dict[str, bytes]) -> None:
    """Listings: exact for programs, escaped for people; and each name works as an argument."""
    lines = run("ls", "--json", service.place, code=0).out
    assert lines.isascii()
    assert {json.loads(line)["path"] for line in lines.splitlines()} == kept.keys()
    exact = run("ls", "-0", service.place, code=0).out
    assert set(exact.split(b"\0")) == {b"", *map(os.fsencode, kept)}
    for words in (["ls"], ["ls", "-l"], ["tree"], ["hash", "md5"]):
        seen = on_terminal(*words, service.place).out
        assert raw(seen) == [], words
        if words == ["ls"]:
            assert sorted(seen.decode().splitlines()) == sorted(map(printable, kept))
    addressed = list(kept)[::8]
    got = run("cat", *(f"{service.place}/{name}" for name in addressed), code=0)
    assert got.out == b"".join(kept[name] for name in addressed)


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_no_name_drives_the_terminal_of_a_copy(kind, home, monkeypatch):
    """Progress and messages share the terminal with the names; the only escapes are those of the progress display."""
    monkeypatch.setenv("NO_COLOR", "1")
    names = [name for name in CORPUS if on_disk(name)]
    write(home / "source", names)
    (home / "source/big").write_bytes(b"x" * 3_000_000)
    with served(kind, home) as service:
        seen = on_terminal("cp", "-r", home / "source", service.place, "-v").out
    own = (b"\x1b[?25l", b"\x1b[?25h", b"\x1b[2K", b"\x1b[1A", b"\r")
    for sequence in own:
        seen = seen.replace(sequence, b"")
    assert raw(seen) == []
    assert b"\\x1b]0;title\\x07" in seen


# ---- what only services can say

HOSTILE = (
    *("..", ".", "../x", "../../x", "../../../../../../tmp/x", "/abs", "/", "//", "a/../../x", "a/..", "a/.", "a/./b"),
    *("a//b", "sub/../..", "./x", "..//x", "\0", "nul\0byte", "..\0", ""),
)


def tell(service: Service, name: str) -> None:
    """Have the service's listings name a file so."""
    if service.kind in {"s3", "gs", "gs-xml"}:
        service.put(name, b"evil")
        return
    service.put("zzmark", b"evil")
    if service.kind == "gdrive":
        service.fake.find("d/zzmark")[0].name = name
        return
    before, after = {
        "dropbox": ('"name": "zzmark"', f'"name": {json.dumps(name)}'),
        "webdav": ("zzmark</d:href>", f"{quote(name)}</d:href>"),
        "nextcloud": ("zzmark</d:href>", f"{quote(name)}</d:href>"),
        "sugarsync": ("zzmark</displayName>", f"{escape(name)}</displayName>"),
    }[service.kind]

    def change(_request: FakeRequest, answer: FakeResponse) -> FakeResponse:
        return replace(answer, body=answer.body.replace(before.encode(), after.encode()))

    service.change = change


def snapshot(root: Path, *, but: Path) -> dict[str, bytes]:
    """Every file below, except below `but`."""
    return {
        str(path): path.read_bytes() if path.is_file() else b""
        for path in sorted(root.rglob("*"))
        if path != but and but not in path.parents
    }


@pytest.mark.parametrize("kind", WIRED)
def test_a_hostile_name_of_a_service_never_leaves_the_destination(kind, home, record_property):
    for number, name in enumerate(HOSTILE):
        around = home / f"around{number}"
        destination = around / "deep" / "destination"
        destination.mkdir(parents=True)
        for canary in (around / "x", around / "deep" / "x", around / "abs", destination / "mine"):
            canary.write_bytes(b"canary")
        before = snapshot(around, but=destination)
        with served(kind, around) as service:
            service.put("good", b"good")
            tell(service, name)
            for words in (["cp", "-r"], ["sync", "--force-delete"]):
                ran = run(*words, service.place, destination, "--json")
                refused_by_name(service, name, ran, destination)
                assert snapshot(around, but=destination) == before, (name, ran)
            on_terminal("ls", "-R", service.place)
    record_property("hostile names", len(HOSTILE))


def refused_by_name(service: Service, name: str, ran: Ran, destination: Path) -> None:
    """The name, or the listing that holds it, is an error that says so; nothing was deleted."""
    there = {path.name for path in destination.rglob("*")} - {"mine"}
    if service.kind == "gdrive":  # such names are legal there, and show in other characters, as its docstring says
        assert (ran.code, len(there)) == (0, 2), ran
        return
    assert (destination / "mine").read_bytes() == b"canary", ran
    assert ran.code == 1, (name, ran)
    errors = ran.of("error")
    assert errors != []
    if there:  # the others were copied: then it is named itself
        assert (there, {event["path"] for event in errors}) == ({"good"}, {name})
    else:
        told = [escape_in(service.kind, name) in event["message"].replace("\\", "") for event in errors]
        assert all(told) or (service.kind in {"gs-xml", "sugarsync"} and "\0" in name), (name, ran)


def escape_in(kind: str, name: str) -> str:
    """The name as the message of a refused listing has it, backslashes aside."""
    return quote(name) if kind in {"webdav", "nextcloud"} else repr(name)[1:-1].replace("\\", "")


@pytest.mark.parametrize("kind", WIRED)
def test_what_no_disk_can_hold_is_refused_by_name_and_the_rest_is_copied(kind, home):
    """Names of 256 bytes and more: services have them."""
    odd = [name for name in CORPUS if not on_disk(name)]
    with served(kind, home) as service:
        for name in odd:
            if encodes(name):
                service.put(name, content(name))
        service.put("good", b"good")
        stored = service.stored()
        ran = run("cp", "-r", service.place, home / "back", "--json", "-v", "--log-file", home / "log", code=1)
        assert (read(home / "back"), named(ran)) == ({"good": b"good"}, stored.keys() - {"good"})
        listed = run("ls", "--json", service.place, code=0)
        assert {event["path"] for event in listed.events} == stored.keys()
        assert raw(ran.err.encode()) == raw((home / "log").read_bytes()) == []
        assert raw(on_terminal("ls", service.place).out) == []


@pytest.mark.parametrize("kind", ["gs", "dropbox", "gdrive"])
def test_half_a_character_is_refused_by_name(kind, home):
    """JSON can say what no text and no path can hold; a listing with it is refused, and nothing is shown as it is."""
    for name in (name for name in CORPUS if not on_disk(name) and not encodes(name)):
        with served(kind, home) as service:
            service.put("good", b"good")
            service.put("zzmark", b"x")
            if kind == "gdrive":
                service.fake.find("d/zzmark")[0].name = name
            mark, said = b'zzmark"', json.dumps(name)[1:].encode()
            service.change = lambda _, answer: replace(answer, body=answer.body.replace(mark, said))  # noqa: B023
            ran = run("cp", "-r", service.place, home / "back", "--json", code=1)
            assert ("Unicode" in ran.err, raw(ran.err.encode())) == (True, []), ran
            assert raw(on_terminal("ls", service.place, code=1).out) == []


def encodes(name: str) -> bool:
    """Whether it has bytes in UTF-8."""
    return not any("\ud800" <= char <= "\udfff" for char in name)


@pytest.mark.skipif(not sizes.FULL, reason="part of `make long`")
@pytest.mark.parametrize("kind", KINDS)
def test_generated_names_are_kept_exactly_or_refused_by_name(kind, home, record_property):
    names = generated(10_000, sizes.SEED)
    wanted = write(home / "source", names)
    with served(kind, home) as service:
        kept = there_and_back(service, home, wanted)
        assert {event["path"] for event in run("ls", "--json", service.place, code=0).events} == kept.keys()
    record_property("names", len(names))
    record_property("names kept", len(kept))
    record_property("names refused", len(names) - len(kept))
