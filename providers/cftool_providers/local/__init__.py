"""The local file system as a provider: `local:/abs`, and every address without a remote.

No service documentation; the rules are those of POSIX. Quirks: names are bytes; times have nanoseconds; symbolic links
below the root are listed and never followed, so a caller resolves links of the root's own path before it opens one.
"""

from collections.abc import Mapping

from cftool.core.errors import ConfigError
from cftool.core.provider import Context, Option, Provider, Secret
from cftool.core.store import Store


def _open(options: Mapping[str, str | int | float | bool | Secret | None], context: Context) -> Store:
    from cftool_providers.local.store import LocalStore

    root = options.get("root") or "/"
    if not isinstance(root, str) or not root.startswith("/"):
        raise ConfigError("the root of a local remote must be an absolute path")
    return LocalStore(root, name=context.remote or "local", cancelled=context.cancelled, pace=context.pace)


PROVIDER = Provider(
    name="local",
    summary="the local file system",
    docs="https://man7.org/linux/man-pages/man7/path_resolution.7.html",
    options=(Option("root", "the directory that the remote is confined to", default="/"),),
    open=_open,
)
