"""The deletion gate: each rule by itself, and their order."""

import pytest

from cftool.transfer.gate import Evidence, judge
from cftool.transfer.options import MaxDelete, Options

GOOD = {
    "deletions": 10,
    "deleted_files": 10,
    "destination_files": 100,
    "destination_entries": 120,
    "source_files": 90,
    "source_entries": 100,
}


def verdict(evidence=None, **options):
    return judge(Evidence(**{**GOOD, **(evidence or {})}), Options(**options))


def test_a_good_plan_is_allowed():
    assert verdict().allowed
    assert verdict().why == ""


def test_without_deletions_everything_is_allowed():
    assert verdict({"deletions": 0, "failures": 3, "stopped": "interrupted", "source_entries": 0}).allowed


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"failures": 1}, "1 entry failed"),
        ({"failures": 2}, "2 entries failed"),
        ({"incomplete": "the source"}, "listing of the source"),
        ({"stopped": "max-transfer"}, "stopped (max-transfer)"),
        ({"source_files": 0, "source_entries": 0}, "empty"),
        ({"source_files": 0, "source_entries": 5}, "no files"),
        ({"source_files": 0, "source_entries": 0, "destination_files": 0, "deleted_files": 0}, "empty"),
        ({"other_source": True}, "another one"),
        ({"other_source": True, "stable_identity": False}, "another one"),
        ({"other_source": True, "stable_identity": False, "recorded": 10, "recorded_seen": 4}, "another one"),
        ({"other_source": True, "recorded": 10, "recorded_seen": 10}, "another one"),
        ({"deleted_files": 101, "destination_files": 201}, "101 of 201 files"),
    ],
)
def test_each_rule_holds_deletions_back(evidence, words):
    assert not verdict(evidence).allowed
    assert words in verdict(evidence).why


@pytest.mark.parametrize(
    ("evidence", "options"),
    [
        ({"source_files": 0, "source_entries": 0}, {"allow_empty_source": True}),
        ({"source_files": 0, "source_entries": 5, "destination_files": 0, "deleted_files": 0}, {}),
        ({"other_source": True}, {"force_delete": True}),
        ({"other_source": True, "stable_identity": False, "recorded": 10, "recorded_seen": 5}, {}),
        ({"deleted_files": 100, "destination_files": 100}, {}),
        ({"deleted_files": 101, "destination_files": 202}, {}),
        ({"deleted_files": 5000, "destination_files": 5000}, {"max_delete": MaxDelete(None, None)}),
        ({"deleted_files": 7}, {"max_delete": MaxDelete(7, None)}),
        ({"deleted_files": 25}, {"max_delete": MaxDelete(None, 0.25)}),
        ({"deleted_files": 0, "deletions": 3}, {"max_delete": MaxDelete(0, None)}),
    ],
)
def test_what_is_within_the_rules_passes(evidence, options):
    assert verdict(evidence, **options).allowed


@pytest.mark.parametrize(
    ("evidence", "limit", "words"),
    [
        ({"deleted_files": 8}, MaxDelete(7, None), "7 files"),
        ({"deleted_files": 26}, MaxDelete(None, 0.25), "25%"),
        ({"deleted_files": 1}, MaxDelete(0, None), "0 files"),
        ({"deleted_files": 60}, MaxDelete(50, 0.5), "50 files and 50%"),
    ],
)
def test_the_limit_of_the_user_holds(evidence, limit, words):
    result = verdict(evidence, max_delete=limit)
    assert not result.allowed
    assert words in result.why


def test_force_delete_is_for_another_source_only():
    assert not verdict({"failures": 1, "other_source": True}, force_delete=True).allowed
    assert not verdict({"source_files": 0, "source_entries": 0}, force_delete=True).allowed
    assert not verdict({"deleted_files": 150, "destination_files": 200}, force_delete=True).allowed


def test_an_unfinished_run_is_told_before_anything_else():
    why = verdict({"failures": 1, "incomplete": "the source", "stopped": "interrupted", "other_source": True}).why
    assert why == "the run was stopped (interrupted)"
