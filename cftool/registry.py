"""Providers by name, through the entry-point group `cftool.providers`: our own and a third party's take the same road.

A provider is imported only when it is asked for. The entry points of our own distribution are read from its metadata
directly: `importlib.metadata` costs a third of the start of a small command, and is there for everybody else's.
"""

import os
import sys
from collections.abc import Collection, Iterator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from cftool.config.suggest import unknown
from cftool.core.errors import ConfigError
from cftool.core.provider import Provider

if TYPE_CHECKING:
    from cftool.config.file import RemoteConfig

GROUP = "cftool.providers"


def names() -> list[str]:
    """All providers that are installed, sorted."""
    return sorted(_all())


class _Installed(Collection[str]):
    def __contains__(self, name: object) -> bool:
        return name in _own() or name in _all()

    def __iter__(self) -> Iterator[str]:
        return iter(names())

    def __len__(self) -> int:
        return len(_all())


def installed() -> Collection[str]:
    """`names`, for who asks about one: other distributions are searched only for what is none of ours."""
    return _Installed()


def provider(name: str) -> Provider:
    """The provider of that name; ConfigError with the nearest name where there is none."""
    target = _own().get(name) or _all().get(name)
    if target is None:
        raise ConfigError(unknown("provider", name, names()))
    module, _, attribute = target.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the provider {name!r} cannot be loaded: {error}") from error
    if not isinstance(found, Provider):
        raise ConfigError(f"the entry point {name!r} of {GROUP} is {type(found).__name__}, not a Provider")
    return found


def provider_of(remote: "RemoteConfig") -> Provider:
    """The provider of a configured remote, or the one that it is called like; ConfigError with the place."""
    try:
        return provider(remote.type or remote.name)
    except ConfigError as error:
        raise ConfigError(f"{remote.where('type')}: {error}") from None


@cache
def _own() -> dict[str, str]:
    """Our distribution's entry points as name -> module:attribute; empty where its metadata are not plain files."""
    for directory in sys.path:
        try:
            found = [name for name in os.listdir(directory or ".") if _is_ours(name)]
        except OSError:  # an archive, or gone
            continue
        for name in found:
            try:
                with open(os.path.join(directory, name, "entry_points.txt"), encoding="utf-8") as file:
                    return _parse(file.read())
            except OSError:
                continue
    return {}


def _is_ours(name: str) -> bool:
    return name.startswith("cftool-") and name.endswith(".dist-info")


def _parse(text: str) -> dict[str, str]:
    """The one group of an entry_points.txt that is ours."""
    points: dict[str, str] = {}
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            group = line.strip("[]")
        elif group == GROUP and "=" in line:
            name, _, target = line.partition("=")
            points[name.strip()] = target.strip()
    return points


@cache
def _all() -> dict[str, str]:
    """Everybody's; ours win where names clash."""
    from importlib import metadata

    return {**{point.name: point.value for point in metadata.entry_points(group=GROUP)}, **_own()}
