"""Real WebDAV servers of somebody else's making, each a child process over a directory: wsgidav, rclone and Apache."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MODULES = Path("/usr/lib/apache2/modules")
_WSGIDAV = """
import sys
from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp

root, port = sys.argv[1], int(sys.argv[2])
config = {"provider_mapping": {"/sub/folder": root}, "simple_dc": {"user_mapping": {"*": True}}, "verbose": 0,
          "logging": {"enable": False}}
wsgi.Server(("127.0.0.1", port), WsgiDAVApp(config), numthreads=20).start()
"""
_APACHE = """
ServerRoot {scratch}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {scratch}/httpd.pid
Mutex file:{scratch}
ErrorLog {scratch}/error.log
User #{uid}
Group #{gid}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule dav_module {modules}/mod_dav.so
LoadModule dav_fs_module {modules}/mod_dav_fs.so
DavLockDB {scratch}/DavLock
Alias /dav {root}
<Directory {root}>
  Require all granted
  Dav On
  DavDepthInfinity {infinity}
</Directory>
"""


@dataclass(frozen=True, slots=True)
class DavServer:
    """Where it listens, and the directory that it serves."""

    kind: str
    url: str
    root: Path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def rclone(scratch: Path) -> Iterator[DavServer]:
    """`rclone serve webdav`: a cut PUT leaves a stump, conditions are ignored on PUT, X-OC-Mtime is obeyed.

    It lists from a cache: what tests put into the directory themselves may not show. Without the cache
    (`--dir-cache-time 0`) requests that move onto one name keep it busy for minutes.
    """
    root, port = scratch / "root", _free_port()
    root.mkdir()
    binary = Path(sys.executable).parent / "rclone"
    command = [str(binary), "serve", "webdav", "--addr", f"127.0.0.1:{port}"]
    with _running([*command, "--config", os.devnull, str(root)], port, scratch / "log"):
        yield DavServer("rclone", f"http://127.0.0.1:{port}", root)


@contextlib.contextmanager
def wsgidav(scratch: Path) -> Iterator[DavServer]:
    """wsgidav on cheroot, in a sub-folder: no times, a cut PUT leaves a stump."""
    root, port = scratch / "root", _free_port()
    root.mkdir()
    with _running([sys.executable, "-c", _WSGIDAV, str(root), str(port)], port, scratch / "log"):
        yield DavServer("wsgidav", f"http://127.0.0.1:{port}/sub/folder/", root)


@contextlib.contextmanager
def apache(*, infinity: bool = False) -> Iterator[DavServer]:
    """Apache with mod_dav_fs: publishes at completion, weak ETags, redirects to the slash, no times.

    It gives up root's rights, so that its directory must not lie below one that only root may enter.
    """
    uid, gid = (65534, 65534) if os.getuid() == 0 else (os.getuid(), os.getgid())
    with tempfile.TemporaryDirectory(prefix="apache-dav-") as place:
        scratch, port = Path(place), _free_port()
        root = scratch / "root"
        root.mkdir()
        if os.getuid() == 0:
            os.chown(scratch, uid, gid)
            os.chown(root, uid, gid)
        config = scratch / "httpd.conf"
        values = {"scratch": scratch, "port": port, "uid": uid, "gid": gid, "root": root, "modules": MODULES}
        config.write_text(_APACHE.format(infinity="On" if infinity else "Off", **values))
        binary = shutil.which("apache2") or "/usr/sbin/apache2"
        with _running([binary, "-f", str(config), "-DFOREGROUND"], port, scratch / "log"):
            yield DavServer("apache", f"http://127.0.0.1:{port}/dav", root)


def missing_apache() -> str | None:
    """Why Apache cannot be used here, or None."""
    if shutil.which("apache2") is None and not Path("/usr/sbin/apache2").exists():
        return "apache2 is not installed"
    if not (MODULES / "mod_dav_fs.so").exists():
        return "Apache's mod_dav_fs is not installed"
    return None
