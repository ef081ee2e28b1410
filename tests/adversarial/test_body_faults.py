"""Bodies that are not what they should be: cut, short, flipped, padded, reset; to `cp`, `cp -r` and `cat`, and upwards.

Whatever the service sends: exit 0 means that the right bytes are there, and what is there after a failure is what was
there before. Where a service tells no hash, bytes that are flipped cannot be seen; a wrong length can, everywhere.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cftool.disk.temps import is_temp
from cftool.testing.http_fake import Authority, FakeRequest, FakeResponse, Fault, Wire
from tests import trees
from tests.adversarial.services import WIRED, Service, served, without_waiting
from tests.adversarial.shell import Ran, run
from tests.adversarial.test_names import home

__all__ = ["home"]

UNHASHED = {"webdav", "sugarsync"}
# Counts what it gets against the announced length, and keeps our checksum without a look: what is sent wrong as a whole
# it cannot know, and that takes `--verify readback`.
TRUSTED = {"nextcloud"}
# Small, so that each way in which a file comes is taken: in one piece, in memory, and in ranges.
FLAT = (("cftool.http.downloads", "SMALL"), ("cftool.http.ranged", "RANGE"))
LIMITS = {
    "s3": FLAT,
    "gs": FLAT,
    "dropbox": (("cftool_providers.dropbox._download", "SMALL"),),
    "gdrive": (("cftool_providers.gdrive._download", "SMALL"), ("cftool_providers.gdrive._download", "PIECE")),
    "webdav": (("cftool_providers.webdav._download", "SMALL"), ("cftool_providers.webdav._download", "RANGE")),
    "sugarsync": (("cftool_providers.sugarsync._many", "_SMALL"), ("cftool_providers.sugarsync._many", "_PART")),
}
LIMIT = 40_000
FILES = {name: trees.content(name, size) for name, size in (("empty", 0), ("small", 900), ("large", 100_000))}

Mutation = Callable[[FakeResponse], FakeResponse]
Command = Callable[..., tuple[Ran, dict[str, bytes | None]]]


def _wire(wire: Wire, share: float = 0.5, data: bytes = b"") -> Mutation:
    return lambda answer: replace(
        answer, fault=Fault(wire, at=min(int(len(answer.body) * share), len(answer.body) - 1), data=data)
    )


def _body(change: Callable[[bytes], bytes], *, length: bool = True) -> Mutation:
    """Another body; `length`: under its own length, else under that of the right one."""

    def mutate(answer: FakeResponse) -> FakeResponse:
        body = change(answer.body)
        told = len(body) if length else len(answer.body)
        headers = [(name, value) for name, value in answer.headers if name.lower() != "content-length"]
        return replace(answer, headers=(*headers, ("Content-Length", str(told))), body=body, close=not length)

    return mutate


def _status(status: int, body: bytes | None = None) -> Mutation:
    return lambda answer: replace(answer, status=status, body=answer.body if body is None else body)


def _moved(answer: FakeResponse) -> FakeResponse:
    """A part that says to be another one."""
    headers = [(n, v) for n, v in answer.headers if n.lower() != "content-range"]
    return replace(answer, status=206, headers=(*headers, ("Content-Range", f"bytes 7-{len(answer.body) + 6}/200000")))


HTML = b"<html><body>Please sign in</body></html>"
# Of the right length: only a hash tells.
SAME_LENGTH: dict[str, Mutation] = {
    "the first byte flipped": _wire(Wire.FLIP, 0),
    "a byte in the middle flipped": _wire(Wire.FLIP),
    "the last byte flipped": _wire(Wire.FLIP, 1),
    "zeros": _body(lambda body: bytes(len(body))),
    "two halves exchanged": _body(lambda body: body[len(body) // 2 :] + body[: len(body) // 2]),
    "another file": _body(lambda body: trees.content("another", len(body))),
    "a page of zeros in the middle": _body(
        lambda body: body[: len(body) // 3] + bytes(50) + body[len(body) // 3 + 50 :]
    ),
}
OTHERS: dict[str, Mutation] = {
    "cut at once": _wire(Wire.SHORT_BODY, 0),
    "cut in the middle": _wire(Wire.SHORT_BODY),
    "cut before the last byte": _wire(Wire.SHORT_BODY, 1),
    "reset in the middle": _wire(Wire.RESET_BODY),
    "reset before the last byte": _wire(Wire.RESET_BODY, 1),
    "reset before any answer": _wire(Wire.RESET),
    "closed before any answer": _wire(Wire.CLOSE),
    "short": _body(lambda body: body[: len(body) // 2]),
    "one byte short": _body(lambda body: body[:-1]),
    "one byte short, in front": _body(lambda body: body[1:]),
    "nothing": _body(lambda _: b""),
    "a web page": _body(lambda _: HTML),
    "a chunk that is cut": _wire(Wire.CHUNKED_CUT),
    "no length, and closed in the middle": _wire(Wire.CLOSE_DELIMITED),
    "padded": _body(lambda body: body + b"more"),
    "one byte too many": _body(lambda body: body + b"\0"),
    "twice": _body(lambda body: body + body),
    "a length that is one too long": _body(lambda body: body[:-1], length=False),
    "a length that is one too short": lambda answer: replace(
        _body(lambda body: body[:-1])(answer), body=answer.body, close=True
    ),
    "no content": _status(204, b""),
    "a part of another place": _moved,
    "not found": _status(404, b""),
    "a server error": _status(500, b""),
}
FAULTS = SAME_LENGTH | OTHERS


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with Authority() as ca:
        yield ca


def is_body(service: Service, request: FakeRequest) -> bool:
    """Whether this asks for the content of a file."""
    kind = service.kind
    if kind == "dropbox":
        return request.path == "/2/files/download"
    if request.method != "GET":
        return False
    if kind in {"gs", "gdrive"}:
        return "alt=media" in request.query
    if kind == "sugarsync":
        return request.path.endswith("/data")
    if kind in {"s3", "gs-xml"}:
        return request.path.startswith("/bucket/d/")
    return "/d/" in request.path


@dataclass
class Bad:
    """Answers downloads wrongly, the first `times` of them."""

    service: Service
    mutation: Mutation
    times: int
    applied: int = 0

    def __call__(self, request: FakeRequest, answer: FakeResponse) -> FakeResponse:
        if is_body(self.service, request) and answer.status in {200, 206} and answer.body and self.applied < self.times:
            self.applied += 1
            return self.mutation(answer)
        return answer


def cp(service: Service, there: Path, *flags: str) -> tuple[Ran, dict[str, bytes | None]]:
    ran = run("cp", f"{service.place}/large", there / "large", *flags)
    return ran, {"large": content(there / "large")}


def cp_small(service: Service, there: Path, *flags: str) -> tuple[Ran, dict[str, bytes | None]]:
    ran = run("cp", f"{service.place}/small", there / "small", *flags)
    return ran, {"small": content(there / "small")}


def cp_tree(service: Service, there: Path, *flags: str) -> tuple[Ran, dict[str, bytes | None]]:
    ran = run("cp", "-r", service.place, there, *flags)
    return ran, {name: content(there / name) for name in FILES}


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


# Of a tree the first download fails and is repeated, of one file each one does.
RUNS = ((cp, 10**6), (cp_small, 10**6), (cp_tree, 1))
KEPT = {name: b"the file of before " + name.encode() for name in FILES}


def problem(service: Service, name: str, command: Command, times: int, there: Path) -> str | None:
    """What is wrong with one run, or None."""
    for file, data in KEPT.items():
        (there / file).write_bytes(data)
    service.change = bad = Bad(service, FAULTS[name], times)
    ran, found = command(service, there, "--retries", "0" if times > 1 else "1")
    names = sorted(path.name for path in there.iterdir() if not is_temp(path.name))
    unseen = name in SAME_LENGTH and service.kind in UNHASHED
    wrong = [file for file, data in found.items() if data not in {FILES[file], KEPT[file]}]
    stale = [file for file, data in found.items() if data != FILES[file]]
    if not bad.applied:
        return "was never sent"
    if names != sorted(FILES):
        return f"left {names}: {ran}"
    if wrong and not unseen:
        return f"left wrong bytes in {wrong}: {ran}"
    if ran.code == 0 and stale and not unseen:
        return f"said that all is well, but {stale} is not there: {ran}"
    if command is not cp:
        return None
    service.change = lambda _, answer: answer
    again, found = command(service, there, "--retries", "2")  # what a broken run left behind may be wrong
    if again.code != 0 or (any(data != FILES[file] for file, data in found.items()) and not unseen):
        return f"is not mended by a run without it: {again}"
    return None


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("kind", WIRED)
def test_no_wrong_body_is_taken_for_a_file(kind, part, home, authority, monkeypatch, record_property):
    without_waiting(monkeypatch)
    for module, limit in LIMITS[{"gs-xml": "gs", "nextcloud": "webdav"}.get(kind, kind)]:
        monkeypatch.setattr(importlib.import_module(module), limit, LIMIT)
    there = home / "there"
    there.mkdir()
    wrong = {}
    runs = 0
    with served(kind, home, sockets=True, authority=authority) as service:
        for name, data in FILES.items():
            service.put(name, data)
        for name in list(FAULTS)[part::3]:
            for command, times in RUNS:
                runs += 1
                found = problem(service, name, command, times, there)
                if found is not None:
                    wrong[f"{name}, {command.__name__}"] = found
            runs += 1
            found = shown(service, name)
            if found is not None:
                wrong[f"{name}, cat"] = found
    assert not wrong, "\n".join(f"{name}: {found}" for name, found in wrong.items())
    record_property("bad downloads", runs)


def shown(service: Service, name: str) -> str | None:
    """What is wrong with `cat` under one mutation, or None. It has shown bytes before it can know, but says so."""
    service.change = bad = Bad(service, FAULTS[name], 10**6)
    ran = run("cat", f"{service.place}/large")
    if not bad.applied:
        return "was never sent"
    if ran.code == 0 and ran.out != FILES["large"] and not (name in SAME_LENGTH and service.kind in UNHASHED):
        return f"was taken for a success: {len(ran.out)} bytes, {ran.err}"
    return None


# ---- on the way up

UPWARD: dict[str, Callable[[bytes], bytes]] = {
    "the first byte flipped": lambda body: bytes([body[0] ^ 1]) + body[1:],
    "the last byte flipped": lambda body: body[:-1] + bytes([body[-1] ^ 1]),
    "zeros": lambda body: bytes(len(body)),
    "cut": lambda body: body[: len(body) // 2],
    "one byte short": lambda body: body[:-1],
    "nothing": lambda _: b"",
    "padded": lambda body: body + b"more",
}


@pytest.mark.parametrize("verify", ["auto", "readback"])
@pytest.mark.parametrize("kind", WIRED)
def test_no_upload_that_arrives_wrong_is_taken_for_the_file(kind, verify, home, monkeypatch, record_property):
    """The content is found in what is sent, and is another when it arrives."""
    without_waiting(monkeypatch)
    data = trees.content("up", 5_000)
    (home / "source").mkdir()
    (home / "source" / "up").write_bytes(data)
    wrong = {}
    for name, change in UPWARD.items():
        with served(kind, home) as service:
            service.put("up", b"the file of before")
            applied = []

            def spoiled(request: FakeRequest) -> FakeRequest:
                if data not in request.body:
                    return request
                applied.append(request.method)  # noqa: B023
                body = request.body.replace(data, change(data))  # noqa: B023
                return replace(request, body=body)

            service.before = spoiled
            ran = run("cp", "-r", home / "source", service.place, "--retries", "1", "--verify", verify)
            found = service.stored().get("up")
            unseen = verify == "auto" and (kind in TRUSTED or (kind in UNHASHED and len(change(data)) == len(data)))
            if not applied:
                wrong[name] = "was never sent"
            elif ran.code == 0 and found != data and not unseen:
                wrong[name] = f"was taken for a success: {ran}"
    assert not wrong, "\n".join(f"{name}: {found}" for name, found in wrong.items())
    record_property("bad uploads", len(UPWARD))
