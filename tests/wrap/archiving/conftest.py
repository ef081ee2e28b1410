"""Where the state of tests lies: in memory where fsync is not the point."""

from tests.wrap.caching.conftest import cache_directory

__all__ = ["cache_directory"]
