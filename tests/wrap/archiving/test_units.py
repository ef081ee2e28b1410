"""What is decoded strictly, sources of unknown size, and the index where it is damaged under way."""

import io
import json
import os
import sqlite3

import pytest

from cftool.core.errors import IntegrityError, ProtocolError, SourceChanged, StoreError
from cftool.core.sources import BytesSource
from cftool.wrap.archiving import manifest, names, tar
from cftool.wrap.archiving.index import Index
from cftool.wrap.archiving.manifest import Manifest, Record
from cftool.wrap.archiving.small import Begun, Small, take

STEM = f"{7:010x}-{'a' * 16}"
PACK = names.PackName(f"{STEM}-a00.tar", STEM, 0xA00)
FILE = Record(f"{STEM}.0", "f", False, size=5, modified_ns=1, version="v", hashes={"md5": "0" * 32}, host="here")


def document(**changes):
    """A manifest of one file, with other fields; None: without that one."""
    found = json.loads(manifest.encode(Manifest(1, "here", (FILE,)), STEM))
    found |= changes
    return json.dumps({name: value for name, value in found.items() if value is not None}).encode()


def entry(**changes):
    [found] = json.loads(document())["entries"]
    found |= changes
    return document(entries=[{name: value for name, value in found.items() if value is not None}])


def test_what_is_written_is_read():
    assert manifest.decode(document(), PACK, 512).entries == (FILE._replace(container=PACK.name),)
    assert manifest.decode(entry(), PACK, 512).entries[0].path == "f"
    timeless = Manifest(1, "here", (FILE._replace(modified_ns=None),))
    assert manifest.decode(manifest.encode(timeless, STEM), PACK, 512).entries[0].modified_ns is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "no JSON"),
        (b"[]", "no object"),
        (document(format=2), "update cftool"),
        (document(format=True), "another type"),
        (document(made_ns=-1), "negative made_ns"),
        (document(made_ns=1 << 63), "out of range"),
        (document(made_ns=None), "has no made_ns"),
        (document(more=1), "fields that this version"),
        (document(dead=[["x", 1]]), "an id that is none"),
        (document(dead=[[f"{STEM}.1", True]]), "an end of a record"),
        (document(dead=[[f"{STEM}.1"]]), "an end of a record"),
        (document(replaces=["x"]), "names a pack that is none"),
        (document(requires=[1]), "names a pack that is none"),
        (document(entries=[{}]), "has no path"),
        (entry(path=""), "a path that no file can have"),
        (entry(path="a/../b"), "a path that no file can have"),
        (entry(path=".cftool-archive/x"), "a path that no file can have"),
        (entry(kind="link"), "of a kind that"),
        (entry(id="x"), "an id that is none"),
        (entry(bases=[1]), "an id that is none"),
        (entry(size=4_000), "bytes that cannot be there"),
        (entry(**{"in": "x"}), "bytes that cannot be there"),
        (entry(hashes={"md5": "z" * 32}), "a hash that is none"),
        (entry(hashes={"md5": 5}), "a hash that is none"),
        (entry(mode=5), "fields that this version"),
    ],
)
def test_a_manifest_that_does_not_fit_exactly_is_refused(data, why):
    with pytest.raises(ProtocolError, match=why):
        manifest.decode(data, PACK, 512)


def test_two_records_of_one_id_are_refused():
    [found] = json.loads(document())["entries"]
    twin = {**found, "id": f"{STEM}.0"}
    with pytest.raises(ProtocolError, match="one id"):
        manifest.decode(document(entries=[found, twin]), PACK, 512)


def test_the_end_of_a_pack_is_exactly_what_is_written():
    end = tar.tail(document(), 5_000_000_000)
    assert tar.manifest_of(end) == document()
    damaged = [end[:-512], end[512:], bytes(len(end)), end[:-1] + b"x", end[:124] + b"99999999999\0" + end[136:]]
    damaged += [end[:100] + b"1" + end[101:], end + bytes(512), b""]
    for each in damaged:
        with pytest.raises(IntegrityError):
            tar.manifest_of(each)


class Stream:
    """A source that does not know its size."""

    size = None
    local_path = None

    def __init__(self, data, *, size=None):
        self.data = data
        self.size = size
        self.checked = 0

    def open(self):
        return io.BytesIO(self.data)

    def load(self):
        return self.data

    def check(self):
        self.checked += 1


def test_a_stream_is_small_where_it_ends_soon_enough():
    source = Stream(b"12345")
    taken = take("f", source, 5)
    assert isinstance(taken, Small)
    assert (taken.data, source.checked) == (b"12345", 1)


def test_a_stream_that_goes_on_is_read_from_where_it_was_left_and_then_anew():
    source = Stream(b"1234567890")
    taken = take("f", source, 4)
    assert isinstance(taken, Begun)
    assert taken.size is None
    with taken.open() as reader:
        assert reader.readable()
        source.data = b"abc"
        assert reader.read() == b"1234567890"
    assert taken.load() == b"abc"
    assert source.checked == 1


def test_a_source_of_another_size_than_it_said_is_refused():
    with pytest.raises(SourceChanged, match="5 bytes, not 3"):
        take("f", Stream(b"12345", size=3), 100)
    assert take("f", BytesSource(b"12345"), 4).size == 5


@pytest.fixture
def index(cache_directory):
    index = Index(cache_directory)
    yield index
    index.close()


def test_dropping_what_is_not_known_changes_nothing(index):
    index.add(PACK, 5_000, 1, manifest.placed(Manifest(1, "here", (FILE,)), PACK.name))
    index.add(PACK, 5_000, 1, manifest.placed(Manifest(1, "here", (FILE,)), PACK.name))
    index.drop(["unknown"])
    assert [node.path for node in index.below("")] == ["f"]
    index.drop([PACK.name])
    assert list(index.below("")) == []


def test_a_database_that_cannot_be_used_is_an_error_of_the_store(index, cache_directory):
    path = os.path.join(cache_directory, "index.sqlite")
    assert index.packs() == []
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE packs")
    for act in (index.packs, lambda: index.drop(["x"])):
        with pytest.raises(StoreError):
            act()
    index.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 0")
        db.execute("CREATE VIEW packs AS SELECT 1")
    with pytest.raises(StoreError):
        index.packs()
    with sqlite3.connect(path) as db:
        db.execute("DROP VIEW packs")
    assert index.packs() == []


def test_an_index_of_another_version_is_built_anew(index, cache_directory):
    index.add(PACK, 5_000, 1, manifest.placed(Manifest(1, "here", (FILE,)), PACK.name))
    index.close()
    with sqlite3.connect(os.path.join(cache_directory, "index.sqlite")) as db:
        db.execute("PRAGMA user_version = 1")
    assert index.packs() == []


def test_a_place_for_the_index_that_cannot_be_made_is_told_with_what_helps(tmp_path):
    (tmp_path / "file").touch()
    index = Index(str(tmp_path / "file" / "archive"))
    with pytest.raises(StoreError) as caught:
        index.packs()
    assert "XDG_STATE_HOME names another place" in caught.value.message
