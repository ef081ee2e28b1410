"""TransparentStore: what a store tells about itself. One MB is 10^6 bytes; rates count the time of transfers."""

import time
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class ExceptionStats:
    """Errors of one kind. `lasttime`: of the latest, seconds since the epoch; `desc`: what that one said."""

    name: str
    desc: str = ""
    count: int = 1
    lasttime: float = 0.0

    def __repr__(self) -> str:
        ago = max(0, int(time.time() - self.lasttime))
        return (
            f"{self.name} occured {self.count} time(s). Last occurrence: {ago} seconds ago\nDescription: {self.desc}\n"
        )


@runtime_checkable
class TransparentStore(Protocol):
    """The interface; see the module."""

    def get_dirty_files(self) -> list[str]:
        """Paths of the files that the remote does not have yet as they are here."""
        ...

    def get_cachesize(self) -> float:
        """What the cache takes on the disk, in MB."""
        ...

    def get_downloaded(self) -> float:
        """What was downloaded since the cache was opened, in MB."""
        ...

    def get_uploaded(self) -> float:
        """What was uploaded since the cache was opened, in MB."""
        ...

    def get_download_rate(self) -> float:
        """MB a second, over the time in which at least one download ran."""
        ...

    def get_upload_rate(self) -> float:
        """MB a second, over the time in which at least one upload ran."""
        ...

    def get_cache_hits(self) -> int:
        """How often content was asked for that was in the cache."""
        ...

    def get_cache_misses(self) -> int:
        """How often content was asked for that had to be fetched."""
        ...

    def get_exception_stats(self) -> dict[str, ExceptionStats]:
        """Errors of the background, by kind; empty where all went well."""
        ...

    def get_status_information(self) -> str:
        """All of it in words."""
        ...
