"""CachingStore: content on the local disk, writes accepted at once and uploaded later. The owner's side of a cache.

DESIGN.md has the tables, the states and what each crash leaves. Every change is in the journal, on the disk, before the
call returns; `drain` brings it to the store below, in a thread of its own between `start` and `close`, or at once by
`flush`. One lock guards journal, overlay and maps; it is never held while the network or a large copy is waited for.
"""

import os
from collections.abc import Iterator
from dataclasses import replace

from cftool.core.errors import (
    NotFound,
    TemporaryError,
    Unsupported,
)
from cftool.core.types import Cap, Features, Leftover, Usage
from cftool.wrap.caching.care import Finding, checked
from cftool.wrap.caching.draft import Draft, grown_row
from cftool.wrap.caching.handle import Handle
from cftool.wrap.caching.naming import Naming
from cftool.wrap.caching.rows import DAMAGED, Base, Content, Pending, State

_OWN = Cap.MOVE | Cap.MOVE_DIR | Cap.IF_VERSION | Cap.IF_ABSENT | Cap.RANGES | Cap.COPY
_NEVER = float("inf")  # for the drain: it has nothing more to do than before
_PASSED = Cap.USAGE | Cap.EMPTY_DIRS | Cap.IMPLICIT_DIRS | Cap.LINK | Cap.LEFTOVERS | Cap.SET_MODIFIED | Cap.WALK


class CachingStore(Naming):
    """See the module. `directory` is the cache's own; Locked where another process owns it."""

    _features: tuple[Features, Features] | None = None  # the inner store's, and ours of them

    @property
    def features(self) -> Features:
        """The inner store's, with what the cache adds and takes away."""
        inner = self.inner.features
        known = self._features
        if known is not None and known[0] is inner:  # asked for at every new name
            return known[1]
        caps = (inner.caps & _PASSED) | _OWN
        if self.implicit:
            caps |= Cap.EMPTY_DIRS  # here, where nowhere else
        if inner.time_precision_ns is not None:
            caps |= Cap.SET_MODIFIED
        made = replace(inner, caps=caps, verified_reads=False)
        self._features = (inner, made)
        return made

    def edit(self, path: str, *, truncate: bool = False, create: bool = False, absent: bool = False) -> Draft:
        """A draft of new content of `path` for writes at any place; nothing of it counts before `Draft.commit`.

        Raises NotFound without `create`, IsADirectory. `absent`: the caller has a listing that shows that neither the
        file nor a directory above it has to be asked for.
        """
        if absent:
            self.may_hold(path)
        entry, base = (None, None) if absent else self._before_write(path, if_version=None, if_absent=False)
        if entry is None and not create:
            raise NotFound("not found", op="write", path=path, store=self.name)
        self.make_small_room(0)
        handle = None if entry is None or truncate else self.open(path)
        if entry is not None and not truncate and handle is None:
            raise Unsupported("its size is not known: it cannot be edited in place", op="write", path=path)
        with self.lock:
            number = self.new_id()
            base = base or self.nothing_there()
            if handle is None:
                draft = Draft(self, path, number, None if self.settings.inline else self.files.create(number), base)
                self._drafts.add(draft)
                return draft
        with handle:
            draft = self._copied(path, number, handle, base)
        with self.lock:
            self._drafts.add(draft)
        return draft

    def _copied(self, path: str, number: int, handle: Handle, base: Base) -> Draft:
        """A draft that begins with what is there."""
        size = handle.entry.size or 0
        if size <= self.settings.inline:
            return Draft(self, path, number, None, base, small=handle.read(size, 0))
        fd = self.files.create(number)
        try:
            handle.copy_to(fd)
        except BaseException:
            self.files.discard(number, fd)
            raise
        return Draft(self, path, number, fd, base)

    def nothing_there(self) -> Base:
        """Under the lock: what is based on a name that nothing has."""
        return Base("", self._settlements)

    def orphan(self, handle: Handle | None) -> Draft:
        """A draft without a name, for writes to a file that was removed while it is open."""
        with self.lock:
            number = self.new_id()
            fd = self.files.create(number)
        if handle is not None:
            handle.copy_to(fd)
        draft = Draft(self, "", number, fd, Base("", 0))
        draft.removed()
        with self.lock:
            self._drafts.add(draft)
        return draft

    def adopt(self, handle: Handle, path: str | None) -> Draft:
        """The clean content of an open handle becomes a draft in place, for who cannot change over to another file.

        Its row goes first, on the disk, so that a crash leaves no changed bytes under an old version. `path` None: the
        name was removed.
        """
        with self.lock:
            fd = self.files.open(handle.number, write=True)
            try:
                self.journal.forget([handle.number])
            except BaseException:
                os.close(fd)
                raise
            base = Base(handle.entry.version, handle.mark)
            draft = Draft(self, path, handle.number, fd, base, published=True)
            self._drafts.add(draft)
        return draft

    def grown(self, row: Pending, content: Content, modified_ns: int) -> Pending:
        """Under the lock: a draft was written to after its first commit, or `content` is a copy of it."""
        changed = grown_row(row, content, modified_ns, self.times.wall() + self.settings.delay)
        if content.id == row.content:
            self.journal.grow(changed, content)
        else:
            self.journal.swap(changed, content)
        self.overlay.replace(changed)
        self.waiting.wake()
        return changed

    def forget_draft(self, draft: Draft) -> None:
        """It was closed."""
        with self.lock:
            self._drafts.discard(draft)
            row = self.overlay.of_content(draft.number)
            due = row is not None and self.overlay.schedule.again([row.seq])
        self.waiting.wake(None if due else _NEVER)

    def being_edited(self, row: Pending) -> bool:
        """Under the lock: whether a draft may still change the content of a row."""
        return any(draft.number == row.content for draft in self._drafts)

    def usage(self) -> Usage:
        """Of the remote, with what is still to come counted as used."""
        usage = self.inner.usage()
        with self.lock:
            coming = self.overlay.coming
        used = None if usage.used is None else usage.used + coming
        free = None if usage.free is None else max(0, usage.free - coming)
        return Usage(usage.total, used, free)

    def link(self, path: str, *, expires: float | None = None) -> str:
        """Of what is at the remote: pending changes of the file are uploaded first."""
        with self.lock:
            pending = self.overlay.touched(path)
        if pending and self.flush(path):
            raise TemporaryError("it is not uploaded yet", op="link", path=path, store=self.name)
        return self.inner.link(path, expires=expires)

    def leftovers(self, path: str, *, older_than: float | None = None) -> Iterator[Leftover]:
        """Of the store below."""
        return self.inner.leftovers(path, older_than=older_than)

    def remove_leftover(self, leftover: Leftover) -> None:
        """Of the store below."""
        self.inner.remove_leftover(leftover)

    def probe(self, path: str) -> Cap:
        """Of the store below."""
        return self.inner.probe(path)

    def check(self) -> list[Finding]:
        """Check the cache against the journal, but for what is open; see `care`."""
        with self.lock:
            busy = {*self._open, *self._fetching, *(draft.number for draft in self._drafts)}
        found = list(checked(self.journal, self.files, self.lock, busy))
        with self.lock:
            for row in self.journal.pending():
                shown = self.overlay.rows.get(row.seq)
                if row.error_kind == DAMAGED and shown is not None and shown.error_kind != DAMAGED:
                    self.overlay.replace(row)
        return found

    def state_of(self, path: str) -> State:
        """Of one path, for its attribute."""
        with self.lock:
            found = self.overlay.find(path)
        return State.CLEAN if found.row is None else found.row.state

    def pending(self) -> list[Pending]:
        """All that the remote does not have yet, in order."""
        with self.lock:
            return list(self.overlay.rows.values())
