"""What tests of the file system without FUSE share: it is opened, files are made, and what a store has is read."""

import os

from cftool.vfs import Attributes, Vfs, VfsSettings
from cftool.vfs.nodes import ROOT
from tests.wrap.caching.kit import cached, get


class Opener:
    """Opens the file system over `memory`, also again after `close`; with the same cache and attributes."""

    def __init__(self, memory, directory):
        self._memory = memory
        self._directory = directory
        self.left = []

    def __call__(self, inner=None, **settings):
        attributes = Attributes(str(self._directory / "attributes.sqlite"))
        store = cached(self._memory if inner is None else inner, self._directory / "cache")
        self.left.append(Vfs(store, VfsSettings(**settings), attributes=attributes))
        return self.left[-1]

    def close(self, vfs, **how):
        self.left.remove(vfs)
        vfs.close(**how)
        vfs.store.close()


def begun(vfs, name, data, *, parent=ROOT, flags=os.O_RDWR, mode=0o644):
    _, handle = vfs.create(parent, name, mode, flags)
    vfs.write(handle, data, 0)
    return handle


def made(vfs, name, data, *, parent=ROOT, mode=0o644):
    handle = begun(vfs, name, data, parent=parent, mode=mode)
    vfs.flush(handle)
    vfs.release(handle)
    return vfs.child(vfs.node(parent), name).id


def contents(store):
    """Of a store without directories: what each file has."""
    return {entry.path: get(store, entry.path) for entry in store.walk("")}
