"""Which failure has which exit code, and which of several wins."""

import itertools

import pytest

from cftool.cli import exits
from cftool.core import errors
from cftool.transfer.events import Summary

PRECEDENCE = [130, 2, 9, 8, 4, 5, 3, 1, 7, 6, 10]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 2),
        (errors.Locked("x"), 9),
        (errors.Refused("x"), 7),
        (errors.NotFound("x"), 3),
        (FileNotFoundError(2, "x"), 3),
        (errors.PermissionDenied("x"), 4),
        (errors.LoginRequired("x"), 4),
        (errors.ReadOnly("x"), 4),
        (PermissionError(13, "x"), 4),
        (errors.TemporaryError("x"), 5),
        (errors.RateLimited("x"), 5),
        (errors.ConnectionFailed("x"), 5),
        (TimeoutError(), 5),
        (errors.IntegrityError("x"), 1),
        (errors.ListingError("x"), 1),
        (errors.QuotaExceeded("x"), 1),
        (errors.SourceChanged("x"), 1),
        (OSError(28, "x"), 1),
        (KeyboardInterrupt(), 130),
        (RuntimeError("x"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_error_has_its_code(error, code):
    assert exits.of_error(error) == code


def test_every_pair_is_decided_by_the_order_of_the_manual():
    for a, b in itertools.combinations(PRECEDENCE, 2):
        assert exits.worst([b, a]) == a
    assert exits.worst([0, 0]) == 0
    assert exits.worst([]) == 0


@pytest.mark.parametrize(
    ("summary", "code"),
    [
        (Summary(copied=3), 0),
        (Summary(errors={"integrity_error": 1}, failures=(errors.IntegrityError("x"),)), 1),
        (Summary(errors={"internal": 1}), 1),
        (Summary(errors={"not_found": 1}, failures=(errors.NotFound("x"),)), 3),
        (Summary(failures=(errors.NotFound("x"), errors.LoginRequired("x"))), 4),
        (Summary(failures=(errors.IntegrityError("x"), errors.ConnectionFailed("x"))), 5),
        (Summary(withheld=3, why="empty source"), 7),
        (Summary(withheld=3, why="failed", errors={"io": 1}), 1),
        (Summary(differences=1), 6),
        (Summary(stopped="max-transfer"), 8),
        (Summary(stopped="max-duration", failures=(errors.NotFound("x"),)), 8),
        (Summary(stopped="interrupted", withheld=1), 130),
        (Summary(to_do=4), 0),
    ],
)
def test_a_summary_has_the_code_of_its_worst(summary, code):
    assert exits.of_summary(summary) == code


def test_work_to_do_counts_in_a_dry_run_only_and_last():
    assert exits.of_summary(Summary(to_do=4), dry_run=True) == 10
    assert exits.of_summary(Summary(to_do=4, withheld=1, why="x"), dry_run=True) == 7
