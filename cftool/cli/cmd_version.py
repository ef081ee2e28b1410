"""`cftool version`: with -v also of what it runs on. The plain `cftool version` is answered in `main` already."""

import platform
import sys

from cftool import __version__
from cftool.cli.session import Session


def version(session: Session) -> None:
    """Show the version; -v also those of Python and of the HTTP engine."""
    parts = {"cftool": __version__}
    if session.common.verbose:
        parts["Python"] = sys.version.split()[0]
        parts["platform"] = platform.platform(terse=True)
        parts.update(_engine())
    if session.out.json:
        session.out.event("version", {name.lower(): value for name, value in parts.items()})
        return
    for name, value in parts.items():
        session.out.line(f"{name} {value}")


def _engine() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    found = {}
    for package in ("pycurl", "requests"):
        try:
            found[package] = installed(package)
        except PackageNotFoundError:
            continue
    return found
