"""Providers are found by name, cheaply, and a bad one is a message."""

import subprocess
import sys
from importlib import metadata

import pytest

from cftool import registry
from cftool.core.errors import ConfigError


@pytest.fixture
def fresh():
    registry._own.cache_clear()
    registry._all.cache_clear()
    yield
    registry._own.cache_clear()
    registry._all.cache_clear()


def test_our_providers_are_there():
    assert {"local", "memory", "s3"} <= set(registry.names())
    assert registry.names() == sorted(registry.names())
    assert registry.provider("memory").name == "memory"


def test_what_is_read_directly_is_what_the_metadata_say(fresh):
    ours = metadata.distribution("cftool").entry_points
    assert registry._own() == {p.name: p.value for p in ours if p.group == registry.GROUP}


def test_an_unknown_provider_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match="unknown provider 'memroy'; did you mean 'memory'"):
        registry.provider("memroy")


def test_nothing_is_imported_that_was_not_asked_for():
    code = (
        "import sys; before = set(sys.modules); from cftool import registry; registry.provider('memory');"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "cftool_providers.memory" in imported
    assert imported & {"importlib.metadata", "cftool_providers.s3", "cftool_providers.local", "pycurl"} == set()


def third_party(fresh, monkeypatch, name, value):
    point = metadata.EntryPoint(name, value, registry.GROUP)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point] if group == registry.GROUP else [])


def test_a_third_party_is_found_by_the_same_road(fresh, monkeypatch):
    third_party(fresh, monkeypatch, "theirs", "cftool_providers.memory:PROVIDER")
    assert "theirs" in registry.names()
    assert registry.provider("theirs").name == "memory"


def test_whether_ours_is_installed_is_told_without_a_look_at_others(fresh, monkeypatch):
    monkeypatch.setattr(metadata, "entry_points", lambda group: pytest.fail(f"{group} was searched for"))
    assert "memory" in registry.installed()


def test_what_is_installed_is_ours_and_theirs(fresh, monkeypatch):
    third_party(fresh, monkeypatch, "theirs", "cftool_providers.memory:PROVIDER")
    found = registry.installed()
    assert ("theirs" in found, "nobodys" in found) == (True, False)
    assert (list(found), len(found)) == (registry.names(), len(registry.names()))


def test_a_third_party_does_not_replace_ours(fresh, monkeypatch):
    third_party(fresh, monkeypatch, "memory", "os:path")
    assert registry.provider("memory").name == "memory"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module_here:PROVIDER", "cannot be loaded: No module named"),
        ("os:PROVIDER", "cannot be loaded: module 'os' has no attribute"),
        ("os:sep", "is str, not a Provider"),
    ],
)
def test_a_bad_entry_point_is_a_message(fresh, monkeypatch, value, message):
    third_party(fresh, monkeypatch, "bad", value)
    with pytest.raises(ConfigError, match=message):
        registry.provider("bad")


def test_without_plain_metadata_everybody_is_asked(fresh, monkeypatch, tmp_path):
    (tmp_path / "cftool-1.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", ["/no/such/directory", str(tmp_path), *sys.path])
    assert registry._own()["memory"]
    registry._own.cache_clear()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert registry._own() == {}


def test_only_our_group_is_ours():
    text = "[console_scripts]\ncftool = x:y\n[cftool.providers]\n\na = m:P\nnonsense\n[other]\nb = m:P\n"
    assert registry._parse(text) == {"a": "m:P"}
