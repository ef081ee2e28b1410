"""What programs are told of each error of a store: through the kernel, by the number that they get."""

import errno
import os
import threading

import pytest

from cftool.core import errors
from cftool.mount import device
from cftool.mount.binding import Place, bound
from cftool.testing.faulty import FaultyStore
from cftool.vfs import Vfs, VfsSettings
from cftool.vfs.listing import Listing
from cftool_providers.memory import MemoryStore
from tests.mount.mounted import PATIENCE, missing_fuse
from tests.wrap.caching.kit import cached, put

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))]

NUMBERS = {
    errors.NotFound: errno.ENOENT,
    errors.AlreadyExists: errno.EEXIST,
    errors.NotADirectory: errno.ENOTDIR,
    errors.IsADirectory: errno.EISDIR,
    errors.DirectoryNotEmpty: errno.ENOTEMPTY,
    errors.InvalidName: errno.EINVAL,
    errors.PermissionDenied: errno.EACCES,
    errors.LoginRequired: errno.EACCES,
    errors.ReadOnly: errno.EROFS,
    errors.Unsupported: errno.ENOTSUP,
    errors.QuotaExceeded: errno.ENOSPC,
    errors.TooLarge: errno.EFBIG,
    errors.PreconditionFailed: errno.ESTALE,
    errors.SourceChanged: errno.EBUSY,
    errors.IntegrityError: errno.EIO,
    errors.ProtocolError: errno.EIO,
    errors.ListingError: errno.EIO,
    errors.TemporaryError: errno.ETIMEDOUT,
    errors.RateLimited: errno.ETIMEDOUT,
    errors.ConnectionFailed: errno.ETIMEDOUT,
    errors.Interrupted: errno.EIO,
    errors.TLSFailed: errno.EIO,
    errors.StoreError: errno.EIO,
}


class Failing(FaultyStore):
    """What is asked for by the name of an error fails with it."""

    def _fail(self, path):
        kind = getattr(errors, path.rpartition("/")[2], None)
        if kind is not None:
            raise kind("on purpose")

    def scan(self, path):
        self._fail(path)
        return self.inner.scan(path)

    def read(self, path, **more):
        self._fail(path)
        return self.inner.read(path, **more)

    def write(self, path, source, **more):
        self._fail(path)
        return self.inner.write(path, source, **more)


@pytest.fixture
def memory():
    return MemoryStore()


@pytest.fixture
def mount(memory, tmp_path):
    """A mount in this process; changes wait for the remote."""
    place = tmp_path / "mnt"
    place.mkdir()
    store = cached(Failing(memory, {}), tmp_path / "cache")
    vfs = Vfs(store, VfsSettings(remote=True, through=True))
    binding = bound("kernel", vfs, Place(str(place), "errors"))
    loop = threading.Thread(target=binding.run)
    loop.start()
    try:
        assert binding.ready.wait(PATIENCE)
        yield place
    finally:
        device.unmount(str(place), lazy=True)
        loop.join(PATIENCE)
        binding.close()
        vfs.close()
        store.close()


def told(call):
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "nothing"


def named(numbers):
    return {kind.__name__: errno.errorcode[number] for kind, number in numbers.items()}


def test_a_listing(memory, mount):
    for kind in NUMBERS:
        memory.mkdir(kind.__name__)
    assert {kind.__name__: told(lambda kind=kind: os.listdir(mount / kind.__name__)) for kind in NUMBERS} == named(
        NUMBERS
    )


def test_a_read(memory, mount):
    for kind in NUMBERS:
        put(memory, kind.__name__, b"content")
    # What is gone or changed between two looks is looked at again, a few times.
    again = (errors.NotFound, errors.PreconditionFailed, errors.SourceChanged)
    expected = {**NUMBERS, **dict.fromkeys(again, errno.ETIMEDOUT)}
    assert {kind.__name__: told((mount / kind.__name__).read_bytes) for kind in NUMBERS} == named(expected)


def test_a_close_that_waits_for_the_upload(memory, mount):
    # That something else was there, while nothing is, may be another next time.
    expected = {**NUMBERS, errors.AlreadyExists: errno.ETIMEDOUT, errors.PreconditionFailed: errno.ETIMEDOUT}
    found = {}
    for kind in NUMBERS:
        fd = os.open(mount / kind.__name__, os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"content")
        found[kind.__name__] = told(lambda fd=fd: os.close(fd))
    assert found == named(expected)


def test_an_error_that_nobody_expects_where_it_is_answered_at_once(mount, monkeypatch):
    def wrong(*_arguments):
        raise ValueError("on purpose")

    os.listdir(mount)
    with monkeypatch.context() as patched:
        patched.setattr(Listing, "taken", wrong)
        assert told(lambda: os.stat(mount / "name")) == "EIO"
    assert told(lambda: os.stat(mount / "name")) == "ENOENT"  # the mount goes on
