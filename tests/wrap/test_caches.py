"""Where the caches of a place are, and bringing what one of a local directory holds to where it belongs."""

import os

from cftool import registry
from cftool.core.provider import Context
from cftool.core.sources import BytesSource
from cftool.wrap import caches
from cftool.wrap.caching import CacheSettings, CachingStore
from cftool.wrap.prefix import PrefixStore


def disk(root="/"):
    return registry.provider("local").open({"root": root}, Context(remote="local"))


def cache_of(place, state, name):
    return CachingStore(
        PrefixStore(disk(), str(place).strip("/")), os.path.join(state, "cache", name), CacheSettings(delay=3600)
    )


def test_only_what_is_pending_below_or_above_a_place_is_brought_there(tmp_path):
    state = str(tmp_path / "state")
    for name in ("pending", "clean", "elsewhere"):
        (tmp_path / name).mkdir()
        store = cache_of(tmp_path / name, state, name)
        store.write("d/file", BytesSource(name.encode()))
        if name == "clean":
            assert store.flush() == []
        store.close()
    os.mkdir(os.path.join(state, "cache", "half-made"))  # without a journal it holds nothing
    opened = []

    def tree():
        opened.append(1)
        return disk()

    caches.bring_local(state, str(tmp_path / "clean"), tree)
    assert opened == []
    caches.bring_local(state, str(tmp_path / "pending" / "d"), tree)
    assert (tmp_path / "pending/d/file").read_text() == "pending"
    assert not (tmp_path / "elsewhere/d").exists()
    caches.bring_local(state, str(tmp_path), tree)
    assert (tmp_path / "elsewhere/d/file").read_text() == "elsewhere"


def test_the_directory_of_a_local_cache_is_told_from_whose_it_is():
    identities = ["local", "local/home/me", "localhost/x", "s3:aws/bucket", None]
    assert [caches.local_root(identity) for identity in identities] == ["", "home/me", None, None, None]
