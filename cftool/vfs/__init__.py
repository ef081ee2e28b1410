"""A file system over a CachingStore: nodes, handles and their semantics. No FUSE in it; `mount` is one user of it."""

from cftool.vfs.attributes import Attributes
from cftool.vfs.tree import VfsSettings
from cftool.vfs.vfs import Vfs

__all__ = ["Attributes", "Vfs", "VfsSettings"]
