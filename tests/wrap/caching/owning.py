"""A process that owns a cache over a local directory: python -m tests.wrap.caching.owning ROOT CACHE [own]

Reads commands from standard input, one a line: write PATH TEXT, move SRC DST, crash, end. Answers each with a line.
"""

import os
import sys

from cftool import registry
from cftool.core.provider import Context
from cftool.core.sources import BytesSource
from cftool.wrap.caching import CacheSettings, CachingStore
from cftool.wrap.caching.owner import Owner


def remote(root):
    return registry.provider("local").open({"root": root}, Context(remote="local"))


def main(root, cache):
    store = CachingStore(remote(root), cache, CacheSettings(delay=3600))
    owner = Owner(store)
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "write":
            store.write(words[1], BytesSource(words[2].encode()))
        elif words[0] == "move":
            store.move(words[1], words[2])
        elif words[0] == "crash":
            os._exit(1)
        print("done", flush=True)
    owner.close()
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
