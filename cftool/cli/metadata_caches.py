"""The caches of metadata in `cftool cache status` and `cftool cache clear`: one a service, in use by any run."""

import os
from typing import TYPE_CHECKING

from cftool.cli import formats

if TYPE_CHECKING:
    from cftool.cli.session import Session


def directories(session: "Session", remote: str | None) -> list[str]:
    """That of a remote, else all."""
    from cftool import stack
    from cftool.config import dirs

    if remote is not None:
        found = stack.metadata_of(session.parse(remote), session.config, context=session.context())
        return [] if found is None or not os.path.isdir(found) else [found]
    base = os.path.join(dirs.state_dir(session.env), "metadata")
    try:
        return [os.path.join(base, name) for name in sorted(os.listdir(base))]
    except FileNotFoundError:
        return []


def show(session: "Session", directory: str) -> None:
    """Say how large it is."""
    from cftool.wrap.metadata import care

    _tell(session, directory, care.measured(directory), data=True)


def clear(session: "Session", directory: str) -> None:
    """Empty it."""
    from cftool.wrap.metadata import care

    _tell(session, directory, care.cleared(directory), data=False)


def _tell(session: "Session", directory: str, size: object, *, data: bool) -> None:
    from cftool.wrap.metadata.care import Size

    assert isinstance(size, Size)
    name = os.path.basename(directory)
    if session.out.json:
        fields = {"cache": name, "bytes": size.bytes, "entries": size.entries, "listings": size.listings}
        session.out.event("metadata", {**fields, "cleared": not data})
        return
    what = f"{formats.plural(size.entries, 'entry')} in {formats.plural(size.listings, 'listing')}"
    if data:
        session.out.line(f"{session.out.name(name)}: {what} known, {formats.size(size.bytes)}")
    else:
        session.messages.info(f"{name}: {what} forgotten")
