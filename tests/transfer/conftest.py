"""Fixtures of the engine's tests."""

from pathlib import Path

import pytest

from tests.transfer.kit import Bench, Fitted, local, remote, there


@pytest.fixture
def up(tmp_path: Path) -> Bench:
    """A local source, a store as destination that is remote as far as features tell."""
    store = Fitted(remote=True, listed_time=False, hashes=frozenset({"md5"}))
    store.listed = lambda entry: entry._replace(modified_ns=None, hashes=_md5(entry))
    return Bench(local(tmp_path / "src"), remote(store), str(tmp_path / "state"))


@pytest.fixture
def down(tmp_path: Path) -> Bench:
    """The other way."""
    store = Fitted(remote=True, listed_time=False, hashes=frozenset({"md5"}))
    store.listed = lambda entry: entry._replace(modified_ns=None, hashes=_md5(entry))
    return Bench(remote(store), there(tmp_path / "dst"), str(tmp_path / "state"))


@pytest.fixture
def across(tmp_path: Path) -> Bench:
    """Local to local."""
    return Bench(local(tmp_path / "src"), local(tmp_path / "dst"), str(tmp_path / "state"))


@pytest.fixture
def between(tmp_path: Path) -> Bench:
    """From one store to another, with nothing local and no batches."""
    from cftool.core.types import Cap

    without = Cap.WRITE_MANY | Cap.READ_MANY | Cap.DELETE_MANY | Cap.COPY
    return Bench(
        remote(Fitted(remote=True, without=without), "memory/a"),
        remote(Fitted(remote=True, without=without), "memory/b"),
        str(tmp_path / "state"),
    )


def _md5(entry):
    return {"md5": entry.hashes["md5"]} if entry.hashes else entry.hashes
