"""The write-back content cache: see DESIGN.md for the disk format, the states and what each crash leaves.

`CachingStore` is the owner's store, `VisitingStore` that of every other process; `stack.py` chooses.
"""

from cftool.wrap.caching.settings import CacheSettings, Times
from cftool.wrap.caching.store import CachingStore

__all__ = ["CacheSettings", "CachingStore", "Times"]
