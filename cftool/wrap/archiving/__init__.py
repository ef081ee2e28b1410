"""The archiving layer: small files as members of tar packs; its DESIGN.md has the format and every crash point."""

from cftool.wrap.archiving.settings import ArchiveSettings
from cftool.wrap.archiving.store import ArchivingStore

__all__ = ["ArchiveSettings", "ArchivingStore"]
