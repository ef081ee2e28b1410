"""What others change at the remote, heard of by name: it is asked for again, and the kernel hears of it."""

import pytest

from cftool.core.sources import BytesSource
from cftool.vfs import Vfs, VfsSettings
from cftool.vfs.nodes import ROOT
from cftool.wrap.caching import CachingStore
from cftool_providers.memory import MemoryStore


@pytest.fixture
def inner():
    store = MemoryStore()
    for path in ("top/d/f", "top/d/e/g", "top/other/h", "beside/x"):
        store.write(path, BytesSource(b"one"))
    return store


@pytest.fixture
def vfs(inner, tmp_path):
    store = CachingStore(inner, str(tmp_path / "cache"))
    made = Vfs(store, VfsSettings(ttl=3600), root_path="top")
    yield made
    made.close()
    store.close()


def shown(vfs: Vfs, path: str) -> tuple[list[str], dict[str, int]]:
    """Names and sizes of a directory."""
    node = vfs.node(ROOT)
    for name in filter(None, path.split("/")):
        node = vfs.node(vfs.lookup(node.id, name).id)
    children = vfs.children(node)
    for child in children.values():
        child.lookups += 1
    return sorted(children), {name: child.size for name, child in children.items() if not child.is_dir}


@pytest.mark.parametrize("told", ["top/d/f", "top/d", "top", ""])
def test_what_is_told_is_asked_for_again_and_the_rest_is_not(vfs, inner, told):
    for path in ("", "d", "d/e", "other"):
        shown(vfs, path)
    heard: list[str] = []
    vfs.listing.on_stale = lambda node: heard.append(node.path)
    inner.write("top/d/f", BytesSource(b"three"))
    inner.write("top/other/i", BytesSource(b"i"))
    vfs.others_changed([told])
    assert shown(vfs, "d")[1] == {"f": 5}
    assert shown(vfs, "other")[0] == (["h"] if told.startswith("top/d") else ["h", "i"])
    assert "top/d/f" in heard
    assert ("top/other/h" in heard) == (not told.startswith("top/d"))


def test_what_is_beside_the_mount_or_not_known_changes_nothing_there(vfs, inner):
    shown(vfs, "d")
    heard: list[str] = []
    vfs.listing.on_stale = lambda node: heard.append(node.path)
    inner.write("top/d/new", BytesSource(b""))
    vfs.others_changed(["beside/x", "topless"])
    assert (shown(vfs, "d")[0], heard) == (["e", "f"], [])
    vfs.others_changed(["top/d/new"])
    assert shown(vfs, "d")[0] == ["e", "f", "new"]
