"""What tests of random kills share: a child that is killed after a random time, and files that prove to be whole."""

import os
import signal
import time
import traceback
import warnings

from cftool.core import ops
from cftool.core.sources import BytesSource
from tests.trees import content


def version_of(name, version):
    """The content of one version: whole, or recognisably not."""
    size = 100 + 37 * version % 9_000
    return version.to_bytes(8, "big") + content(f"{name}/{version}", size - 8)


def write_version(store, names, version):
    """One version of each of these, and of `edited` as editors write: a new file that gets its name by a rename."""
    for name in names:
        store.write(name, BytesSource(version_of(name, version)))
    store.write("new", BytesSource(version_of("edited", version)))
    store.move("new", "edited")


def one_kill(write, first, seconds):
    """Let a child run `write(first, acknowledge)`, kill it; the last version acknowledged (0: none), the last begun."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            write(first, lambda version: os.write(writing, b"%d\n" % version))
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(1)
    os.close(writing)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child ended by itself: what it raised is above"
    with os.fdopen(reading, "rb") as pipe:
        lines = pipe.read().split()
    return int(lines[-1]) if lines else 0, first + len(lines)


def versions(store):
    """Of all files; each proven to be a whole one. `new` is one of `edited` that an editor had not renamed yet."""
    found = {}
    for entry in ops.walk_anyhow(store, ""):
        if not entry.is_dir:
            data = ops.read_bytes(store, entry.path)
            found[entry.path] = int.from_bytes(data[:8], "big")
            name = "edited" if entry.path == "new" else entry.path
            assert data == version_of(name, found[entry.path]), entry
    return found
