"""What stat, listings and one's own changes said of a remote, remembered over runs. DESIGN.md says how it stays right.

`MetadataCachingStore` answers from it; `NotingStore` asks the remote always, and tells the others what it changes.
"""

from cftool.wrap.metadata.noting import NotingStore
from cftool.wrap.metadata.store import MetadataCachingStore

__all__ = ["MetadataCachingStore", "NotingStore"]
