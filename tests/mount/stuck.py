"""A mount whose process cannot end when it is killed: a child process of test_killed.py.

Somebody reads a page, which is never answered, and another thread has the kernel take that page away: it waits for the
page, also after the death of all others that could answer. Arguments: mount point, cache directory, state directory.
"""

import struct
import sys
import threading

from cftool.core.sources import BytesSource
from cftool.mount import daemon, device
from cftool.mount import protocol as fuse
from cftool.mount.server import Server
from cftool.vfs import Attributes, Vfs, VfsSettings
from cftool.vfs.openfile import OpenFile
from cftool.wrap.caching import CacheSettings, CachingStore
from cftool_providers.memory import MemoryStore


def main(place: str, cache: str, state: str) -> None:
    memory = MemoryStore()
    memory.write("file", BytesSource(b"x" * 100_000))
    vfs = Vfs(CachingStore(memory, cache, CacheSettings()), VfsSettings(), attributes=Attributes(None))
    server = Server(vfs, device.mount(place, "stuck"), may_pass=False)

    def read(file: OpenFile, buffer: memoryview, offset: int) -> int:
        node = vfs.child(vfs.node(1), "file").id
        body = struct.pack("<Qqq", node, 0, 0)
        threading.Thread(target=server._notice, args=(fuse.NOTIFY_INVAL_INODE, body)).start()
        threading.Event().wait()
        return 0

    OpenFile.read_into = read  # type: ignore[method-assign]
    OpenFile.read_now = lambda *_: -1  # type: ignore[method-assign]
    daemon._remember(state, place, cache)
    threading.Thread(target=server.run).start()
    threading.Event().wait()


main(*sys.argv[1:])
