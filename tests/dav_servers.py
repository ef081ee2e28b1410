"""Real WebDAV servers of somebody else's making, each a child process over a directory: rclone, wsgidav and Apache.

As the S3 servers of `tests.servers` they listen on a free port of the loopback and are gone when the context is left;
tests take a folder of their own with `new_folder`. No pytest here. Each differs from the others in what it keeps and
when it publishes; see there.
"""

import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.servers import free_port, running, tool

MODULES = Path("/usr/lib/apache2/modules")
_WSGIDAV = """
import sys
from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp

root, port, user, password = sys.argv[1], int(sys.argv[2]), *sys.argv[3:5]
users = {user: {"password": password}} if user else True
config = {"provider_mapping": {"/sub/folder": root}, "simple_dc": {"user_mapping": {"*": users}}, "verbose": 0,
          "http_authenticator": {"accept_basic": False, "accept_digest": True, "default_to_digest": True},
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
    """Where it listens, and the directory that it serves. `times`: whether it keeps the files' own."""

    kind: str
    url: str
    root: Path
    times: bool = False

    def cftool_environment(self, remote: str = "lab") -> dict[str, str]:
        """A remote of cftool that the environment alone defines."""
        prefix = f"CFTOOL_{remote.upper()}_"
        return {prefix + "TYPE": "webdav", prefix + "URL": self.url}

    def rclone_environment(self, remote: str = "lab") -> dict[str, str]:
        """The same remote for rclone."""
        prefix = f"RCLONE_CONFIG_{remote.upper()}_"
        vendor = "rclone" if self.kind == "rclone" else "other"
        return {
            "RCLONE_CONFIG": os.devnull,
            prefix + "TYPE": "webdav",
            prefix + "URL": self.url,
            prefix + "VENDOR": vendor,
        }

    def put(self, path: str, body: bytes) -> None:
        """A write by somebody else, with none of our code; raises where it is refused."""
        url = self.url.rstrip("/") + "/" + quote(path)
        with urllib.request.urlopen(urllib.request.Request(url, data=body, method="PUT"), timeout=60):
            pass


@contextlib.contextmanager
def rclone_dav(scratch: Path, *flags: str) -> Iterator[DavServer]:
    """`rclone serve webdav`: a cut PUT leaves a stump, conditions are ignored on PUT, X-OC-Mtime is obeyed.

    It lists from a cache: what tests put into the directory themselves may not show. Without the cache
    (`--dir-cache-time 0`) requests that move onto one name keep it busy for minutes.
    """
    root, port = scratch / "root", free_port()
    root.mkdir(parents=True)
    command = [tool("rclone"), "serve", "webdav", "--addr", f"127.0.0.1:{port}", "--config", os.devnull, *flags]
    with running([*command, str(root)], port):
        yield DavServer("rclone", f"http://127.0.0.1:{port}", root, times=True)


@contextlib.contextmanager
def wsgidav(scratch: Path, *, user: str = "", password: str = "") -> Iterator[DavServer]:
    """wsgidav on cheroot, in a sub-folder: a cut PUT leaves a stump. With a `user` it asks for Digest."""
    root, port = scratch / "root", free_port()
    root.mkdir(parents=True)
    with running([sys.executable, "-c", _WSGIDAV, str(root), str(port), user, password], port):
        yield DavServer("wsgidav", f"http://127.0.0.1:{port}/sub/folder/", root)


@contextlib.contextmanager
def apache(scratch: Path | None = None, *, infinity: bool = False, log: Path | None = None) -> Iterator[DavServer]:
    """Apache with mod_dav_fs: publishes at completion, weak ETags, redirects to the slash, no times.

    A line in `log` for each request. It gives up root's rights, so that its directory must not lie below one that only
    root may enter.
    """
    del scratch
    uid, gid = (65534, 65534) if os.getuid() == 0 else (os.getuid(), os.getgid())
    with tempfile.TemporaryDirectory(prefix="apache-dav-") as name:
        place, port = Path(name), free_port()
        root = place / "root"
        root.mkdir()
        if os.getuid() == 0:
            os.chown(place, uid, gid)
            os.chown(root, uid, gid)
        config = place / "httpd.conf"
        values = {"scratch": place, "port": port, "uid": uid, "gid": gid, "root": root, "modules": MODULES}
        text = _APACHE.format(infinity="On" if infinity else "Off", **values)
        config.write_text(text if log is None else f'{text}CustomLog {log} "%m %U"\n')
        binary = shutil.which("apache2") or "/usr/sbin/apache2"
        with running([binary, "-f", str(config), "-DFOREGROUND"], port):
            yield DavServer("apache", f"http://127.0.0.1:{port}/dav", root)


def missing_apache() -> str | None:
    """Why Apache cannot be used here, or None."""
    if shutil.which("apache2") is None and not Path("/usr/sbin/apache2").exists():
        return "apache2 is not installed: sudo apt-get install apache2-bin"
    if not (MODULES / "mod_dav_fs.so").exists():
        return "Apache's mod_dav_fs is not installed"
    return None


KINDS: dict[str, Callable[[Path], AbstractContextManager[DavServer]]] = {
    "rclone": rclone_dav,
    "wsgidav": wsgidav,
    "apache": apache,
}
_numbers = itertools.count(1)


def new_folder() -> str:
    """A name that no other test of the process uses; each process has servers of its own."""
    return f"t{next(_numbers)}"
