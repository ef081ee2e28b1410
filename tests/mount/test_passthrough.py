"""Files that the kernel reads by itself: seen by stopping the process of the mount; what happens when they change."""

import ctypes
import mmap
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Cftool
from tests.mount.mounted import Mount, missing_fuse, mounted

SIZE = 3_000_000
READS = "import os, sys; print(os.pread(int(sys.argv[1]), 5, int(sys.argv[2])).decode(), flush=True)"
WRITES_ON = "import os, sys; print(os.write(int(sys.argv[1]), b'y' * 200_000), flush=True)"
WRITES = "import os, sys; fd = os.open(sys.argv[1], os.O_WRONLY); os.setresuid(1000, 1000, 1000); os.write(fd, b'y')"


def _missing() -> str | None:
    release = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))
    return missing_fuse() or ("the kernel is older than 6.9" if release < (6, 9) else None)


pytestmark = [pytest.mark.real, pytest.mark.skipif(_missing() is not None, reason=str(_missing()))]


@pytest.fixture(params=["by the kernel", "--no-passthrough"])
def mount(request, tmp_path):
    (tmp_path / "remote").mkdir()
    (tmp_path / "remote" / "f").write_bytes(b"x" * SIZE)
    env = Cftool(tmp_path / "home").environment()
    flags = ("--cache", "1h", "--allow-other", *([request.param] if request.param.startswith("-") else []))
    with mounted(str(tmp_path / "remote"), tmp_path / "mnt", env, *flags) as found:
        yield found


def _while_stopped(mount: Mount, program: str, fd: int, *arguments: object, patience: float = 30) -> str:
    """What a program prints while the process of the mount stands still; nothing where it has to wait for it."""
    [pid] = mount.pids()
    os.kill(pid, signal.SIGSTOP)
    while not _stands_still(pid):  # each thread stops when it is its turn to run
        os.sched_yield()
    try:
        running = subprocess.Popen(
            [sys.executable, "-c", program, str(fd), *map(str, arguments)], pass_fds=[fd], stdout=subprocess.PIPE
        )
        assert running.stdout is not None
        ready, _, _ = select.select([running.stdout], [], [], patience)
        return running.stdout.readline().decode().strip() if ready else ""
    finally:
        os.kill(pid, signal.SIGCONT)
        running.communicate()  # its end closes the file, which the mount is told of


def _stands_still(pid: int) -> bool:
    states = [
        task.joinpath("stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()
    ]
    return set(states) == {"T"}


@pytest.mark.parametrize("mount", ["by the kernel"], indirect=True)
def test_the_kernel_reads_a_cached_file_without_asking(mount):
    fd = os.open(mount.place / "f", os.O_RDONLY)
    try:
        assert _while_stopped(mount, READS, fd, SIZE - 5) == "xxxxx"
    finally:
        os.close(fd)


@pytest.mark.parametrize("mount", ["--no-passthrough"], indirect=True)
def test_an_option_keeps_the_kernel_from_it(mount):
    fd = os.open(mount.place / "f", os.O_RDONLY)
    try:
        assert _while_stopped(mount, READS, fd, SIZE - 5, patience=3) == ""
    finally:
        os.close(fd)


def test_readers_see_what_a_later_writer_writes_and_cuts(mount, tmp_path):
    file = mount.place / "f"
    reader = os.open(file, os.O_RDONLY)
    assert os.pread(reader, 5, 0) == b"xxxxx"
    writer = os.open(file, os.O_RDWR)
    os.pwrite(writer, b"HELLO", 0)
    os.pwrite(writer, b"END", SIZE)
    assert (os.pread(reader, 5, 0), os.fstat(reader).st_size, file.stat().st_size) == (b"HELLO", SIZE + 3, SIZE + 3)
    assert os.getxattr(file, "user.cftool.state") == b"dirty"
    os.ftruncate(writer, 10)
    os.close(writer)
    with file.open("ab") as more:
        more.write(b"more")
    assert (os.pread(reader, 20, 0), file.stat().st_size) == (b"HELLOxxxxxmore", 14)
    os.truncate(file, 13)
    os.close(reader)
    mount.umount()
    assert (tmp_path / "remote" / "f").read_bytes() == b"HELLOxxxxxmor"


def test_an_older_content_is_never_shown_again_from_the_kernels_memory(mount):
    file = mount.place / "f"
    assert file.read_bytes() == b"x" * SIZE
    reader = os.open(file, os.O_RDONLY)
    with file.open("r+b") as writer:
        writer.write(b"new")
    os.close(reader)
    assert file.read_bytes() == b"new" + b"x" * (SIZE - 3)  # not uploaded yet: no file for the kernel alone
    assert mount.command("cache", "flush").returncode == 0
    assert file.read_bytes() == b"new" + b"x" * (SIZE - 3)


def test_a_crash_while_the_cached_file_is_written_to_leaves_the_old_version(mount, tmp_path):
    file = mount.place / "f"
    reader, writer = os.open(file, os.O_RDONLY), os.open(file, os.O_RDWR)
    os.pwrite(writer, b"torn", 0)
    mount.kill()
    for fd in (reader, writer):
        with pytest.raises(OSError, match=r"not connected|abort"):
            os.close(fd)
    mount.mount()
    assert file.read_bytes() == b"x" * SIZE


def test_a_removed_file_that_the_kernel_reads_goes_on(mount):
    file: Path = mount.place / "f"
    reader, writer = os.open(file, os.O_RDONLY), os.open(file, os.O_RDWR)
    file.unlink()
    os.pwrite(writer, b"after", 0)
    assert os.pread(reader, 6, 0) == b"afterx"
    os.close(reader)
    os.close(writer)
    assert not file.exists()
    mount.umount()


def test_who_may_not_keep_them_loses_set_id_bits_by_writing(mount):
    file = mount.place / "f"
    os.chmod(file, 0o6775)
    os.chmod(mount.place, 0o777)
    os.chown(file, 1000, 1000)
    assert file.stat().st_mode & 0o7777 == 0o775
    os.chmod(file, 0o6777)
    done = subprocess.run([sys.executable, "-c", WRITES, str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert file.stat().st_mode & 0o7777 == 0o777


# ---- new files, which the kernel writes


def _much_room(mount: Mount) -> bool:
    status = os.statvfs(mount.env["XDG_STATE_HOME"])
    return status.f_bavail * status.f_frsize > 3 << 30


@pytest.mark.parametrize("mount", ["by the kernel"], indirect=True)
def test_the_kernel_writes_a_new_file_without_asking(mount, tmp_path):
    if not _much_room(mount):
        pytest.skip("the disk has too little room for writes that are not seen")
    fd = os.open(mount.place / "new", os.O_WRONLY | os.O_CREAT)
    assert os.write(fd, b"y") == 1  # before the first one the kernel asks what rights the file lends
    assert _while_stopped(mount, WRITES_ON, fd) == "200000"
    assert (mount.place / "new").stat().st_size == 200_001
    os.close(fd)
    (mount.place / "small").write_bytes(b"small")
    assert (mount.place / "small").read_bytes() == b"small"
    assert (mount.place / "new").read_bytes() == b"y" * 200_001
    mount.umount()
    assert (tmp_path / "remote" / "new").read_bytes() == b"y" * 200_001
    assert (tmp_path / "remote" / "small").read_bytes() == b"small"


@pytest.mark.parametrize("mount", ["--no-passthrough"], indirect=True)
def test_an_option_keeps_the_kernel_from_writing(mount):
    fd = os.open(mount.place / "new", os.O_WRONLY | os.O_CREAT)
    assert os.write(fd, b"y") == 1
    assert _while_stopped(mount, WRITES_ON, fd, patience=3) == ""
    os.close(fd)
    assert (mount.place / "new").stat().st_size == 200_001


def test_new_file_is_there_after_a_crash_as_it_was_synced_and_not_where_it_was_not(mount):
    synced = os.open(mount.place / "synced", os.O_RDWR | os.O_CREAT)
    os.write(synced, b"small and synced")
    os.fsync(synced)
    large = os.open(mount.place / "large", os.O_WRONLY | os.O_CREAT)
    os.write(large, b"l" * 100_000)
    os.fsync(large)
    never = os.open(mount.place / "never", os.O_WRONLY | os.O_CREAT)
    os.write(never, b"n" * 100_000)
    mount.kill()
    for fd in (synced, large, never):
        with pytest.raises(OSError, match=r"not connected|abort"):
            os.close(fd)
    mount.mount()
    assert (mount.place / "synced").read_bytes() == b"small and synced"
    assert (mount.place / "large").read_bytes() == b"l" * 100_000
    assert not (mount.place / "never").exists()


@pytest.mark.parametrize("size", [5_000, 100_000])
def test_what_a_mapped_new_file_was_synced_with_is_there_after_a_crash(mount, size):
    """The kernel tells of no msync of a file that it writes by itself."""
    fd = os.open(mount.place / "new", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, size)
    with mmap.mmap(fd, size) as memory:
        memory[:] = b"m" * size
        memory.flush()
        mount.kill()
    with pytest.raises(OSError, match=r"not connected|abort"):
        os.close(fd)
    mount.mount()
    assert (mount.place / "new").read_bytes() == b"m" * size


@pytest.mark.parametrize("size", [5_000, 100_000])
def test_mapping_may_be_written_to_after_its_file_is_closed(mount, tmp_path, size):
    """As linkers do. Not by Python's own mapping, which keeps a descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (*[ctypes.c_void_p, ctypes.c_size_t], *[ctypes.c_int] * 3, ctypes.c_long)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    fd = os.open(mount.place / "new", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, size)
    memory = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
    assert memory not in {None, ctypes.c_void_p(-1).value}, os.strerror(ctypes.get_errno())
    os.close(fd)
    (mount.place / "other").write_bytes(b"o" * 300_000)  # by then the mount has heard of the end, if it hears of it
    ctypes.memset(memory, ord("m"), size)
    assert libc.munmap(memory, size) == 0
    assert (mount.place / "new").read_bytes() == b"m" * size
    mount.umount()
    assert (tmp_path / "remote" / "new").read_bytes() == b"m" * size


def test_reader_beside_a_writer_sees_what_is_written(mount):
    """The writer may write past the kernel's pages, or by the kernel; the reader has pages of what was there."""
    writer = os.open(mount.place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(writer, b"one\n")
    reader = os.open(mount.place / "log", os.O_RDONLY)
    assert os.pread(reader, 100, 0) == b"one\n"
    os.write(writer, b"two\n")
    assert os.pread(reader, 100, 0) == b"one\ntwo\n"
    assert os.fstat(reader).st_size == 8
    os.ftruncate(writer, 2)
    os.write(writer, b"3")
    assert os.pread(reader, 100, 0) == b"on3"
    os.close(writer)
    assert os.pread(reader, 100, 0) == b"on3"
    os.close(reader)


def test_many_new_files_of_a_directory_are_whole(mount, tmp_path):
    """Small ones first, then one that is large, and small ones again."""
    sizes = [5, 4096, 0, 70_000, 10, 20, 30, 40, 50, 300_000, 60, 65_536, 65_537]
    folder = mount.place / "d"
    folder.mkdir()
    for number, size in enumerate(sizes):
        (folder / str(number)).write_bytes(bytes([number]) * size)
    for number, size in enumerate(sizes):
        assert (folder / str(number)).read_bytes() == bytes([number]) * size
    mount.umount()
    for number, size in enumerate(sizes):
        assert (tmp_path / "remote" / "d" / str(number)).read_bytes() == bytes([number]) * size
