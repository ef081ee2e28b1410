"""Shared by the tests of the safety kernel."""

import gc
import os

import pytest

from cftool.disk import group
from cftool.disk.root import Root


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "root"
    path.mkdir()
    with Root(str(path)) as root:
        yield root


@pytest.fixture(params=["here", "thread"])
def publishing(request, monkeypatch):
    """Both ways in which a batch is published: by the saving thread, and by the group's own."""
    if request.param == "here":
        monkeypatch.setattr(group, "_FAST", 3600.0)
        return request.param
    submit = group.Group._submit
    monkeypatch.setattr(group, "_PROBE_FILES", group.BATCH_FILES)
    monkeypatch.setattr(group.Group, "_submit", lambda self, *, here: submit(self, here=False))
    return request.param


@pytest.fixture
def descriptors():
    """Counts the open descriptors, without those that only wait for the collector since an earlier test."""

    def count():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    return count
