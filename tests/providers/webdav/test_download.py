"""read and read_many: whole files, ranges, versions; what breaks off, or is another file or none, is refused."""

from dataclasses import replace

import pytest

from cftool.core.errors import (
    IntegrityError,
    IsADirectory,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    StoreError,
)
from cftool.core.types import ReadItem
from cftool.disk.root import Root
from cftool.disk.writer import LocalTarget
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from cftool.testing.targets import MemoryTarget
from cftool_providers.webdav import _download

HTML = FakeResponse(200, (("Content-Type", "text/html"),), b"<html>Welcome to the WiFi, please accept our terms</html>")
DATA = bytes(range(256)) * 40


def ready(lab, **habits):
    lab.fake.put("d/f", DATA)
    store = lab.open()
    store._api.ready()
    lab.forget()
    return store


def fetch(store, *paths, entries=None):
    targets = {path: MemoryTarget() for path in paths}
    entries = entries or {path: store.stat(path) for path in paths}
    results = list(store.read_many(ReadItem(entries[path], targets[path]) for path in paths))
    return {result.path: result.error for result in results}, {path: target.data for path, target in targets.items()}


class TestRead:
    @pytest.mark.parametrize("ranges", [True, False])
    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, None), (0, 10), (5, 10), (100, None), (len(DATA) - 1, None), (5, 10**9), (7, 7), (10**9, None)],
    )
    def test_gives_what_was_asked_for_whether_or_not_the_server_knows_ranges(self, new_lab, ranges, start, end):
        store = ready(new_lab(ranges=ranges))
        with store.read("d/f", start=start, end=end) as download:
            assert b"".join(download) == DATA[start:end]
            assert download.entry.size == len(DATA)

    def test_is_one_request_of_a_known_version(self, lab):
        store = ready(lab)
        version = store.stat("d/f").version
        lab.forget()
        assert store.read("d/f", if_version=version).read() == DATA
        assert lab.fake.requests == {"GET": 1}

    def test_of_an_unknown_one_its_length_is_looked_up(self, lab):
        store = ready(lab)
        assert store.read("d/f").read() == DATA
        assert lab.fake.requests == {"GET": 1, "PROPFIND": 1}
        lab.fake.rule("GET", act=lambda _, answer: replace(answer, body=DATA[:-1]))
        with pytest.raises(IntegrityError, match="the file has"):
            store.read("d/f")

    def test_the_entry_is_what_stat_says(self, new_lab):
        for vendor in ("plain", "nextcloud", "apache"):
            store = ready(new_lab(vendor=vendor, state_dir=None))
            with store.read("d/f") as download:
                assert download.entry == store.stat("d/f")

    def test_of_another_version_nothing_comes(self, lab):
        store = ready(lab)
        version = store.stat("d/f").version
        assert store.read("d/f", if_version=version).read() == DATA
        lab.fake.put("d/f", DATA[::-1])
        with pytest.raises(PreconditionFailed):
            store.read("d/f", if_version=version)

    @pytest.mark.parametrize("get_etags", [True, False])
    def test_of_a_directory_or_nothing_it_says_so(self, new_lab, get_etags):
        lab = new_lab(get_etags=get_etags)
        store = ready(lab)
        for path in ("", "d"):
            with pytest.raises(IsADirectory):
                store.read(path)
        for path in ("nothing", "d/nothing", "d/f/below"):
            with pytest.raises(NotFound):
                store.read(path)

    @pytest.mark.parametrize(
        "fault",
        [
            Fault(Wire.SHORT_BODY, at=500), Fault(Wire.RESET_BODY, at=500), Fault(Wire.CHUNKED_CUT, at=500),
            Fault(Wire.CLOSE_DELIMITED, at=500),
        ],
    )  # fmt: skip
    def test_what_breaks_off_is_an_error(self, new_lab, fault):
        lab = new_lab()
        store = ready(lab)
        lab.fake.rule("GET", times=99, act=lambda request, answer: replace(answer, fault=fault))
        with pytest.raises(StoreError), store.read("d/f") as download:
            b"".join(download)

    def test_a_page_of_somebody_else_is_no_content(self, lab):
        store = ready(lab)
        lab.fake.rule("GET", times=9, instead=HTML)
        with pytest.raises(StoreError):
            store.read("d/f").read()

    @pytest.mark.parametrize(
        "content_range", ["bytes 6-10/10240", "bytes 5-10", "bytes x-y/z", "chars 5-9/10240", None]
    )
    def test_another_range_than_was_asked_for_is_refused(self, lab, content_range):
        store = ready(lab)

        def other(request, answer):
            headers = tuple((n, v) for n, v in answer.headers if n != "Content-Range")
            more = () if content_range is None else (("Content-Range", content_range),)
            return replace(answer, headers=headers + more)

        lab.fake.rule("GET", times=9, act=other)
        with pytest.raises(StoreError):
            store.read("d/f", start=5, end=10)

    def test_a_refusal_is_told(self, lab):
        store = ready(lab)
        lab.fake.rule("GET", times=9, instead=FakeResponse(403))
        with pytest.raises(PermissionDenied):
            store.read("d/f")


class TestReadMany:
    @pytest.mark.parametrize("get_etags", [True, False])
    def test_small_files_arrive_and_are_published_once(self, new_lab, get_etags):
        lab = new_lab(get_etags=get_etags)
        store = ready(lab)
        for number in range(50):
            lab.fake.put(f"d/{number}", b"%d" % number)
        lab.forget()
        names = [f"d/{number}" for number in range(50)]
        entries = {entry.path: entry for entry in store.scan("d")}
        lab.forget()
        errors, found = fetch(store, *names, entries=entries)
        assert (errors, found) == (dict.fromkeys(names), {f"d/{n}": b"%d" % n for n in range(50)})
        assert lab.fake.requests == ({"GET": 50} if get_etags else {"GET": 50, "PROPFIND": 50})

    @pytest.mark.parametrize("get_etags", [True, False])
    @pytest.mark.parametrize("change", ["content", "gone", "directory", "page", "short", "long"])
    @pytest.mark.parametrize("large", [False, True])
    def test_nothing_is_published_of_what_is_not_the_file_listed(self, new_lab, monkeypatch, get_etags, change, large):
        if large:
            monkeypatch.setattr(_download, "SMALL", 100)
        lab = new_lab(get_etags=get_etags)
        store = ready(lab)
        entry = store.stat("d/f")
        if change == "content":
            lab.fake.put("d/f", DATA[::-1])
        elif change == "gone":
            del lab.fake.nodes["d/f"]
        elif change == "directory":
            del lab.fake.nodes["d/f"]
            lab.fake.put("d/f/inside")
        elif change == "page":
            lab.fake.rule("GET", times=99, instead=HTML)
        elif change == "short":
            lab.fake.rule("GET", times=99, act=lambda r, a: replace(a, body=a.body[:-1]))
        else:
            lab.fake.rule("GET", times=99, act=lambda r, a: replace(a, body=a.body + b"!"))
        errors, found = fetch(store, "d/f", entries={"d/f": entry})
        assert isinstance(errors["d/f"], StoreError)
        assert found["d/f"] is None

    @pytest.mark.parametrize("ranges", [True, False])
    @pytest.mark.parametrize("get_etags", [True, False])
    def test_large_files_come_in_ranges_where_their_version_can_be_told(self, new_lab, monkeypatch, ranges, get_etags):
        monkeypatch.setattr(_download, "SMALL", 100)
        monkeypatch.setattr(_download, "RANGE", 3000)
        lab = new_lab(ranges=ranges, get_etags=get_etags)
        store = ready(lab)
        assert fetch(store, "d/f") == ({"d/f": None}, {"d/f": DATA})

    def test_a_large_one_goes_on_where_an_earlier_run_stopped(self, new_lab, monkeypatch, tmp_path):
        monkeypatch.setattr(_download, "SMALL", 100)
        monkeypatch.setattr(_download, "RANGE", 1000)
        monkeypatch.setattr(_download, "STREAMS", 1)
        lab = new_lab()
        store = ready(lab)
        root = Root(str(tmp_path / "target"), create=True)

        def target():
            return LocalTarget(root, "f", origin="dav")

        entry = store.stat("d/f")
        lab.fake.rule("GET", skip=4, times=99, instead=FakeResponse(403))
        [result] = store.read_many([ReadItem(entry, target())])
        assert isinstance(result.error, PermissionDenied)
        assert not (tmp_path / "target/f").exists()
        lab.fake._rules.clear()
        lab.forget()
        [result] = lab.open().read_many([ReadItem(entry, target())])
        assert result.error is None
        root.flush()
        assert (tmp_path / "target/f").read_bytes() == DATA
        assert lab.fake.requests["GET"] == 7

    def test_a_checksum_that_does_not_match_is_refused(self, new_lab):
        lab = new_lab(vendor="nextcloud")
        store = ready(lab)
        lab.fake.nodes["d/f"].checksums = "SHA1:" + "0" * 40
        errors, found = fetch(store, "d/f")
        assert isinstance(errors["d/f"], IntegrityError)
        assert found == {"d/f": None}

    def test_one_that_fails_does_not_stop_the_others(self, lab):
        store = ready(lab)
        lab.fake.put("d/g", b"g")
        entries = {path: store.stat(path) for path in ("d/f", "d/g")}
        del lab.fake.nodes["d/f"]
        errors, found = fetch(store, "d/f", "d/g", entries=entries)
        assert isinstance(errors["d/f"], NotFound)
        assert (errors["d/g"], found["d/g"]) == (None, b"g")
