"""What two sides have to do with each other: overlap, and what a run refuses before it begins."""

from typing import TYPE_CHECKING

from cftool.core import paths
from cftool.core.errors import ConfigError, Refused
from cftool.transfer.options import Links, Options, Side

if TYPE_CHECKING:
    from cftool.stack import Opened


def side(opened: "Opened", path: str | None = None) -> Side:
    """The side of an opened address: the directory `path` of its store, by default the address's own."""
    from cftool import stack

    where = opened.path if path is None else path
    store = stack.rooted(opened, path)
    key, local_root = opened.key, opened.local_root
    if where != opened.path:
        key, local_root = _moved(opened.key, opened.path, where), _moved_root(opened, where)
    return Side(store, opened.address.text, key, local_root, opened.store, where)


def _moved(key: str, old: str, new: str) -> str:
    base = key[: len(key) - len(old)].rstrip("/") if old and key.endswith(old) else key.rstrip("/")
    return f"{base}/{new}" if new else base or "/"


def _moved_root(opened: "Opened", where: str) -> str | None:
    if opened.local_root is None:
        return None
    return _moved(opened.local_root, opened.path, where)


def refuse(src: Side, dst: Side, options: Options, *, delete: bool) -> None:
    """Raise ConfigError for what this engine cannot do, Refused where one side lies in the other."""
    if options.links is Links.FOLLOW and src.local_root is None:
        raise ConfigError("--links follow needs a local source")
    if (src.local_root is None) is not (dst.local_root is None):
        return
    a, b = src.key.rstrip("/"), dst.key.rstrip("/")
    if a == b:
        raise Refused(f"{src.address} and {dst.address} are the same directory")
    select = options.select
    if paths.is_within(b, a):
        inside = b[len(a) + 1 :] if a else b.lstrip("/")
        if select is None or select.directory(inside):
            raise Refused(f"{dst.address} lies inside {src.address}, and no filter excludes it")
    if delete and paths.is_within(a, b):
        inside = a[len(b) + 1 :] if b else a.lstrip("/")
        if select is None or options.delete_excluded or select.directory(inside):
            raise Refused(f"{src.address} lies inside {dst.address}: sync would delete the source")
