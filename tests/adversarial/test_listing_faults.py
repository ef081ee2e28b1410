"""Wrong answers to the listing of a source: `sync` onto a full local tree deletes nothing, changes nothing and fails.

All gates that a user can open are open: what holds the deletions back is that the listing is not believed. A mutation
that leaves the listing right is named in `HARMLESS`, and must then show all that is there.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cftool.testing import fake_dropbox, fake_gs, fake_s3, fake_sugarsync
from cftool.testing.fake_gdrive_files import ok
from cftool.testing.http_fake import Authority, FakeRequest, FakeResponse
from tests.adversarial.services import WIRED, Service, served, without_waiting
from tests.adversarial.shell import Ran, run
from tests.adversarial.test_names import home
from tests.adversarial.wrong_answers import GENERIC, WIRE, Mutation
from tests.providers.dropbox import test_listing as of_dropbox
from tests.providers.gdrive import test_listing as of_gdrive
from tests.providers.gs import mutations as of_gs
from tests.providers.s3 import mutations as of_s3
from tests.providers.sugarsync import test_listing as of_sugarsync
from tests.providers.webdav import mutations as of_webdav

__all__ = ["home"]

GATES = ("--force-delete", "--allow-empty-source", "--max-delete", "100%", "--retries", "0")
Install = Callable[[], object]
TREES = {
    "s3": ("a", "b", "c"),
    "gs": ("a", "b", "c"),
    "gs-xml": ("a", "b", "c"),
    "dropbox": ("a", "b", "c", "d"),
    "gdrive": tuple(f"f{number}" for number in range(10)),
    "webdav": ("a", "b", "sub/x"),
    "nextcloud": ("a", "b", "sub/x"),
    "sugarsync": ("one", "two", "three", "sub/x"),
}
# What leaves the listing right: JSON may come in UTF-16, which its first bytes give away.
_ANY = {"UTF-16 without a word of it", "UTF-16 without a word of it (second page)"}
HARMLESS: dict[str, set[str]] = {"gs": _ANY, "dropbox": _ANY, "gdrive": _ANY}


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with Authority() as ca:
        yield ca


def is_listing(service: Service, request: FakeRequest) -> bool:
    """Whether this asks for what is in the directory."""
    kind = service.kind
    if kind in {"s3", "gs", "gs-xml"}:
        return request.method == "GET" and request.params.get("prefix") == "d/"
    if kind in {"webdav", "nextcloud"}:
        return request.method == "PROPFIND" and request.headers["depth"] != "0" and request.path.endswith("/d/")
    if kind == "dropbox":
        return request.path.startswith("/2/files/list_folder")
    top = service.fake.folder("Top")
    return request.method == "GET" and request.path.endswith(f":{top}/contents")


class Faults:
    """The mutations of one service, and their installation."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.applied = 0

    def install(self, mutation: Mutation) -> None:
        """Every listing of the directory is answered so from now on."""
        if self.service.kind == "gdrive":
            self._spoil(lambda page: mutation(ok(page)))
            return

        def change(request: FakeRequest, answer: FakeResponse) -> FakeResponse:
            if not is_listing(self.service, request):
                return answer
            self.applied += 1
            return mutation(answer)

        self.service.change = change

    def _spoil(self, mutate: Callable[[dict[str, Any]], object]) -> None:
        handle = self.service.fake.find("d")[0].id

        def spoiled(query: str, page: dict[str, Any]) -> object:
            if f"'{handle}' in parents" not in query or "name =" in query:
                return page
            self.applied += 1
            return mutate(page)

        self.service.fake.spoil = spoiled

    def of_format(self) -> dict[str, Install]:
        """Those of the service's own format."""
        kind = self.service.kind
        tables = {"s3": of_s3.MUTATIONS, "gs": of_gs.JSON, "gs-xml": of_gs.XML, "webdav": of_webdav.MUTATIONS}
        if kind in tables:
            return {name: self._installed(mutation) for name, mutation in tables[kind].items()}
        if kind == "gdrive":
            return {name: lambda m=mutate: self._spoil(m) for name, mutate in of_gdrive.MUTATIONS.items()}
        if kind == "sugarsync":
            return {
                name: self._installed(lambda answer, m=mutate: m(None, answer))
                for name, mutate in of_sugarsync.MUTATIONS.items()
            }
        if kind == "dropbox":
            pages = {name: self._installed(_paged(mutate)) for name, mutate in of_dropbox.MUTATIONS.items()}
            return pages | {name: self._installed(lambda _, a=answer: a) for name, answer in of_dropbox.ANSWERS.items()}
        return {}

    def _installed(self, mutation: Mutation) -> Install:
        return lambda: self.install(mutation)


def _paged(mutate: Callable[[dict[str, Any]], object]) -> Mutation:
    def change(answer: FakeResponse) -> FakeResponse:
        page = json.loads(answer.body)
        mutate(page)
        return FakeResponse(200, of_dropbox.JSON, json.dumps(page).encode())

    return change


def tree(root: Path) -> dict[str, bytes]:
    """The files below, by path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def filled(service: Service) -> dict[str, bytes]:
    """The directory with its files in it."""
    if service.kind in {"s3", "gs", "gs-xml"}:
        service.fake.buckets["bucket"].clear()  # no mark of a directory
    for name in TREES[service.kind]:
        service.put(name, b"x" if service.kind == "sugarsync" else name.encode())
    return service.stored()


def restore(root: Path, files: dict[str, bytes]) -> None:
    """The tree as it was, its times too."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
            os.utime(path, ns=(10**18, 10**18))


def attempt(service: Service, faults: Faults, name: str, install: Install, local: Path) -> str | None:
    """What is wrong with the run under one mutation, or None."""
    before = tree(local)
    stored = service.stored()
    faults.applied = 0
    install()
    ran = run("sync", service.place, local, "--json", *GATES)
    after = tree(local)
    problem = None
    if not faults.applied:
        problem = "was never asked for"
    elif service.stored() != stored:
        problem = "changed the source"
    elif name in HARMLESS.get(service.kind, ()):
        if (ran.code, after) != (0, stored):
            problem = f"is not harmless: {ran}"
    elif after != before:
        problem = f"changed {set(before.items()) ^ set(after.items())}: {ran}"
    elif ran.code == 0 or ran.events[-1].get("deleted") != 0:
        problem = f"was taken for a success: {ran}"
    elif not ran.err.startswith("cftool: "):
        problem = f"told nothing: {ran}"
    restore(local, before)
    return problem


def judge(service: Service, home: Path, installs: dict[str, Install], faults: Faults) -> None:
    local = home / "local"
    stored = service.stored()
    first: Ran = run("sync", service.place, local, code=0)
    assert (first.code, tree(local)) == (0, stored)
    (local / "mine").write_bytes(b"kept")
    (local / "more").mkdir()
    (local / "more" / "mine").write_bytes(b"kept")
    wrong = {}
    for name, install in installs.items():
        problem = attempt(service, faults, name, install, local)
        if problem is not None:
            wrong[name] = problem
    assert not wrong, "\n".join(f"{name}: {problem}" for name, problem in wrong.items())


@pytest.mark.parametrize("kind", WIRED)
def test_no_wrong_answer_to_a_listing_deletes_anything(kind, home, monkeypatch, record_property):
    without_waiting(monkeypatch)
    with served(kind, home) as service:
        filled(service)
        faults = Faults(service)
        installs = {name: (lambda m=mutation: faults.install(m)) for name, mutation in GENERIC.items()}
        installs |= {f"{name} (format)": install for name, install in faults.of_format().items()}
        assert len(installs) >= 40
        judge(service, home, installs, faults)
    record_property("wrong answers", len(installs))


@pytest.mark.parametrize("kind", [kind for kind in WIRED if kind != "gdrive"])
def test_no_listing_that_is_cut_on_the_wire_deletes_anything(kind, home, authority, monkeypatch, record_property):
    without_waiting(monkeypatch)
    with served(kind, home, sockets=True, authority=authority) as service:
        filled(service)
        faults = Faults(service)
        installs = {name: (lambda m=mutation: faults.install(m)) for name, mutation in WIRE.items()}
        judge(service, home, installs, faults)
    record_property("wrong answers on the wire", len(installs))


# ---- several pages

PAGES = {
    "s3": fake_s3.Habits(page=2),
    "gs": fake_gs.Habits(page=2),
    "gs-xml": fake_gs.Habits(page=2),
    "dropbox": fake_dropbox.Habits(page=2),
    "sugarsync": fake_sugarsync.Habits(page=3),
}


class Paged(Faults):
    """Faults of the pages behind the first; `pages` are those of a listing without faults."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.pages: list[FakeResponse] = []

    def record(self) -> None:
        """Keep the pages of one listing."""

        def change(request: FakeRequest, answer: FakeResponse) -> FakeResponse:
            if is_listing(self.service, request):
                self.pages.append(answer)
            return answer

        self.service.change = change
        run("ls", "-R", self.service.place, code=0)
        self.service.change = lambda _, answer: answer
        assert len(self.pages) > 2

    def on_the_second(self, mutation: Mutation) -> Install:
        """The first page of each listing is right, the others are not."""

        def change(request: FakeRequest, answer: FakeResponse) -> FakeResponse:
            if not is_listing(self.service, request) or is_first(self.service, request):
                return answer
            self.applied += 1
            return mutation(answer)

        return lambda: setattr(self.service, "change", change)

    def other(self, first: int, later: int) -> Install:
        """The first page is that of one number, each later one that of another."""

        def change(request: FakeRequest, answer: FakeResponse) -> FakeResponse:
            if not is_listing(self.service, request):
                return answer
            self.applied += 1
            return self.pages[first if is_first(self.service, request) else later]

        return lambda: setattr(self.service, "change", change)

    def installs(self) -> dict[str, Install]:
        """All of them."""
        found = {f"{name} (second page)": self.on_the_second(mutation) for name, mutation in GENERIC.items()}
        return found | {
            "the first page again and again": self.other(0, 0),
            "the second page again and again": self.other(0, 1),
            "the pages exchanged": self.other(1, 0),
            "the second page first, and then for ever": self.other(1, 1),
        }


def is_first(service: Service, request: FakeRequest) -> bool:
    """Whether this asks for the first page."""
    if service.kind == "dropbox":
        return not request.path.endswith("/continue")
    names = {"continuation-token", "pageToken", "start-after"}
    return not names & request.params.keys() and request.params.get("start", "0") == "0"


@pytest.mark.parametrize("kind", PAGES)
def test_no_wrong_page_behind_a_right_one_deletes_anything(kind, home, monkeypatch, record_property):
    without_waiting(monkeypatch)
    with served(kind, home) as service:
        service.fake.habits = PAGES[kind]
        for number in range(7):
            service.put(f"f{number}", b"x")
        faults = Paged(service)
        faults.record()
        installs = faults.installs()
        judge(service, home, installs, faults)
    record_property("wrong pages", len(installs))
