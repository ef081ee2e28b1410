"""Large files: under their own names where that is safe, else as objects that a record names. See DESIGN.md."""

from cftool.core import hashing
from cftool.core.store import Store
from cftool.core.types import Cap, WriteItem
from cftool.wrap.archiving import names
from cftool.wrap.archiving.change import Found
from cftool.wrap.archiving.manifest import Record
from cftool.wrap.archiving.packs import Packs
from cftool.wrap.archiving.plain import Plain
from cftool.wrap.archiving.settings import ArchiveSettings


class Large:
    """See the module."""

    def __init__(self, inner: Store, packs: Packs, settings: ArchiveSettings) -> None:
        self._inner = inner
        self._packs = packs
        self._settings = settings

    def by_name(self, item: WriteItem, found: Found | None) -> bool:
        """Whether it may lie under its own name."""
        if found is not None and (found.plain is None or found.plain.path != item.path):
            return False
        if not Plain(self._inner, listing=False).safe(item.path):
            return False
        wanted = (Cap.IF_VERSION if item.if_version is not None else Cap.NONE) | (
            Cap.IF_ABSENT if item.if_absent else Cap.NONE
        )
        if wanted in self._inner.features.caps:
            return True
        self._inner.probe(item.path)
        return wanted in self._inner.features.caps

    def store(self, item: WriteItem) -> Record:
        """Its bytes as an object; the record of them, without an id."""
        stem = self._packs.new_stem()
        name = names.object_name(stem)
        entry = self._inner.write(names.place(name), item.source, modified_ns=item.modified_ns)
        size = entry.size
        if size is None:
            size = self._inner.stat(names.place(name)).size or 0
        modified = int(self._settings.now() * 1e9) if item.modified_ns is None else item.modified_ns
        hashes = {kind: value for kind, value in entry.hashes.items() if hashing.digits(kind) == len(value)}
        return Record("", item.path, False, (), size, modified, 0, stem, hashes, name)
