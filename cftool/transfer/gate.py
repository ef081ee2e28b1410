"""The deletion gate: whether a run may delete, from what was seen. Pure: no I/O, no clock, no state.

`run` collects `Evidence` while it lists and copies, and asks `judge` once, before the first deletion. Every rule that
can hold deletions back stands here, in the order in which its reason is told; the first that applies is the answer.
"""

from cftool.core.dataclass import dataclass
from cftool.transfer.options import Options


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the run knows when everything is listed and copied. Files and directories are those selected."""

    deletions: int  # entries that would go, directories included
    deleted_files: int  # files among them: what --max-delete counts
    destination_files: int
    destination_entries: int
    source_files: int
    source_entries: int
    failures: int = 0  # of listings, transfers and names
    incomplete: str = ""  # which listing did not prove itself complete, in words
    stopped: str = ""  # why the run ended early
    other_source: bool = False  # the source's identity is not the one of last time
    stable_identity: bool = True  # False: a local identity, which may change although the tree is the same
    recorded: int = 0  # paths that the state database knew when the run began
    recorded_seen: int = 0  # of them, those that the source still has


@dataclass(frozen=True, slots=True)
class Verdict:
    """`why` is empty where the deletions may be done."""

    allowed: bool
    why: str = ""


ALLOWED = Verdict(allowed=True)


def judge(evidence: Evidence, options: Options) -> Verdict:
    """Whether the deletions of this run may be done."""
    if not evidence.deletions:
        return ALLOWED
    why = (
        _unfinished(evidence)
        or _empty(evidence, options)
        or _another(evidence, options)
        or _too_many(evidence, options)
    )
    return Verdict(allowed=False, why=why) if why else ALLOWED


def _unfinished(evidence: Evidence) -> str:
    if evidence.stopped:
        return f"the run was stopped ({evidence.stopped})"
    if evidence.incomplete:
        return f"the listing of {evidence.incomplete} is not complete"
    if evidence.failures:
        return f"{evidence.failures} {'entry' if evidence.failures == 1 else 'entries'} failed"
    return ""


def _empty(evidence: Evidence, options: Options) -> str:
    """A source without files, where files would go: most often a disk that is not mounted or a wrong name."""
    if options.allow_empty_source:
        return ""
    if not evidence.source_entries and evidence.destination_entries:
        return "the source is empty (--allow-empty-source)"
    if not evidence.source_files and evidence.destination_files:
        return "the source has no files (--allow-empty-source)"
    return ""


def _another(evidence: Evidence, options: Options) -> str:
    """Inode and device numbers change over a restore or a reboot, so a local source is known by its paths as well."""
    if options.force_delete or not evidence.other_source:
        return ""
    if not evidence.stable_identity and evidence.recorded and evidence.recorded_seen * 2 >= evidence.recorded:
        return ""
    return "the source is another one than last time (--force-delete)"


def _too_many(evidence: Evidence, options: Options) -> str:
    limit = options.max_delete
    doomed, total = evidence.deleted_files, evidence.destination_files
    if limit.files is None and limit.share is None:
        return ""
    over_files = limit.files is None or doomed > limit.files
    over_share = limit.share is None or doomed > limit.share * total
    if not (over_files and over_share):
        return ""
    bounds = [f"{limit.files} files"] if limit.files is not None else []
    if limit.share is not None:
        bounds.append(f"{limit.share:.0%}")
    return f"{doomed} of {total} files would be deleted, more than {' and '.join(bounds)} (--max-delete)"
