"""Reading members: one ranged request for a file, one for many neighbours of a pack; whole files are verified."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from cftool.core.download import VerifiedDownload
from cftool.core.errors import IntegrityError, PreconditionFailed, StoreError
from cftool.core.store import Store
from cftool.core.types import Download, Entry, ReadItem, Result
from cftool.wrap.archiving import names
from cftool.wrap.archiving.manifest import Record
from cftool.wrap.downloads import WrappedDownload

_GAP = 16 * 1024  # bytes that are read and thrown away to save a request
_SPAN = 8 << 20  # bytes of one request for many files; all of them are in memory
_ITEMS = 4_096  # that are looked at together


def nothing(_error: StoreError) -> None:
    """No context to add."""


def read(inner: Store, record: Record, path: str, start: int, end: int | None) -> Download:
    """Bytes of a file of ours. Raises NotFound where what holds them is gone."""
    entry = record.entry(path)
    stop = record.size if end is None else min(end, record.size)
    if start >= stop:
        return VerifiedDownload(entry, iter(()), start=start, end=end)
    download = inner.read(names.place(record.container), start=record.at + start, end=record.at + stop)

    def chunks() -> Iterator[bytes]:
        try:
            yield from download
        except StoreError as error:
            error.path = path  # the pack's name helps nobody
            raise

    return VerifiedDownload(entry, chunks(), start=start, end=end, close=download.close)


def read_plain(inner: Store, found: Entry, path: str, start: int, end: int | None, version: str | None) -> Download:
    """Bytes of a plain file, which may be shown under another name."""
    download = inner.read(found.path, start=start, end=end, if_version=version)
    return download if found.path == path else WrappedDownload(download, download.entry.at(path), nothing)


@dataclass(frozen=True, slots=True)
class _Wanted:
    item: ReadItem
    record: Record


def read_many(
    items: Iterable[ReadItem],
    *,
    find: Callable[[str], Record | None],
    span: Callable[[Record, int], bytes],
    one: Callable[[ReadItem], Entry],
    others: Callable[[Iterable[ReadItem]], Iterator[Result]],
) -> Iterator[Result]:
    """Groups what lies together. `find` the record of a path, `span` bytes of its pack from where it begins.

    `one` reads a single file by the ordinary way: where a group failed, and where the record is not the version asked
    for. `others` reads what is not ours.
    """
    pulled = iter(items)
    while True:
        wanted: list[_Wanted] = []
        single: list[ReadItem] = []
        plain: list[ReadItem] = []
        for item in pulled:
            record = find(item.entry.path)
            if record is None:
                plain.append(item)
            elif record.version != (item.entry.version or record.version) or record.size > _SPAN:
                single.append(item)
            else:
                wanted.append(_Wanted(item, record))
            if len(wanted) + len(single) + len(plain) >= _ITEMS:
                break
        if not wanted and not single and not plain:
            return
        for group in _groups(wanted):
            yield from _group(group, span, one)
        for item in single:
            yield one_result(item, one)
        if plain:
            yield from others(plain)


def _groups(wanted: list[_Wanted]) -> Iterator[list[_Wanted]]:
    """Neighbours in one pack, up to `_SPAN` bytes from the first byte to the last."""
    group: list[_Wanted] = []
    for each in sorted(wanted, key=lambda each: (each.record.container, each.record.at)):
        if group:
            first, last = group[0].record, group[-1].record
            near = each.record.at <= last.at + last.size + _GAP
            fits = each.record.at + each.record.size - first.at <= _SPAN
            if not (each.record.container == first.container and near and fits):
                yield group
                group = []
        group.append(each)
    if group:
        yield group


def _group(
    group: list[_Wanted], span: Callable[[Record, int], bytes], one: Callable[[ReadItem], Entry]
) -> Iterator[Result]:
    first = group[0].record
    end = max(each.record.at + each.record.size for each in group)
    try:
        data = span(first, end - first.at)
    except StoreError:  # each by itself, to tell each one's error, or to find where it is now
        yield from (one_result(each.item, one) for each in group)
        return
    for each in group:
        yield one_result(each.item, partial(_cut, data, each.record, each.record.at - first.at))


def _cut(data: bytes, record: Record, at: int, item: ReadItem) -> Entry:
    """One file out of what was read, verified."""
    entry = record.entry(item.entry.path)
    piece = VerifiedDownload(entry, iter((data[at : at + record.size],))).read()
    item.target.save(piece, entry)
    return entry


def one_result(item: ReadItem, action: Callable[[ReadItem], Entry]) -> Result:
    """One action as a result."""
    try:
        return Result(item.entry.path, entry=action(item), tag=item.tag)
    except StoreError as error:
        return Result(item.entry.path, error=error, tag=item.tag)


def save(item: ReadItem, download: Download, part: int = 4 << 20) -> Entry:
    """Bring one download to its target; a large one in parts, not through memory."""
    entry = download.entry
    if entry.size is not None and entry.size <= _SPAN:
        item.target.save(download.read(), entry)
        return entry
    partial_file = item.target.begin(entry)
    try:
        at = 0
        while data := download.read(part):
            partial_file.write_at(data, at)
            at += len(data)
        partial_file.done(0, at)
        partial_file.commit(entry)
    except BaseException:
        partial_file.discard()
        raise
    finally:
        partial_file.close()
    return entry


def lost(record: Record, path: str) -> IntegrityError:
    """What holds the bytes is gone, and no newer pack says where they are."""
    return IntegrityError(f"{record.container}, which holds its content, is gone", op="read", path=path)


def refuse_version(record: Record, path: str, version: str | None) -> None:
    """PreconditionFailed where it is another version now."""
    if version is not None and record.version != version:
        raise PreconditionFailed("is another version now", op="read", path=path)
