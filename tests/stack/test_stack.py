"""From an address to a stack: where it points, by what key it is known, and what it refuses."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from cftool import registry, stack
from cftool.config.address import parse
from cftool.config.file import Config, StackOptions, load
from cftool.core.errors import ConfigError, InvalidName, NotFound, ReadOnly
from cftool.core.provider import Option, Provider
from cftool.core.sources import BytesSource
from cftool.core.types import NameRules
from cftool.stack import OpenContext, build, open_address, rooted
from cftool.wrap.caching.visiting import VisitingStore
from cftool.wrap.check import CheckStore
from cftool.wrap.metadata.store import MetadataCachingStore
from cftool.wrap.noting import NotingStore
from cftool.wrap.prefix import PrefixStore
from cftool.wrap.readonly import ReadOnlyStore
from cftool.wrap.resume import ResumeStore
from cftool_providers.memory import MemoryStore


class Remote(MemoryStore):
    """As a service is: far away, and with opaque keys where told so."""

    rules = NameRules()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._features = replace(self._features, remote=True, names=self.rules)


class Services:
    """A provider that notes how it was opened."""

    def __init__(self):
        self.opened = []
        self.store_class = Remote
        options = (Option("region", ""), Option("key", "", secret=True))
        self.provider = Provider("svc", "", "", options, self.open)

    def open(self, values, context):
        self.opened.append((dict(values), context))
        return self.store_class(name=context.remote, requests=context.requests)


@pytest.fixture
def services(monkeypatch):
    services = Services()
    original = registry.provider
    monkeypatch.setattr(registry, "provider", lambda name: services.provider if name == "svc" else original(name))
    return services


@pytest.fixture
def opened(tmp_path, services):
    def do(text, config="", follow=True, **context):
        path = tmp_path / "config.toml"
        path.write_text(config)
        path.chmod(0o600)
        env = context.pop("env", {})
        loaded = load(str(path), env)
        address = parse(text, remotes=loaded.known(["svc", "local", "memory"]))
        return open_address(address, loaded, context=OpenContext(env, **context), follow=follow)

    return do


def layers(store):
    found = []
    known = CheckStore | PrefixStore | MetadataCachingStore | NotingStore | ResumeStore | ReadOnlyStore
    while isinstance(store, known):
        found.append(type(store).__name__.removesuffix("Store"))
        store = store.inner
    return found


WORK = '[remotes.work]\ntype = "svc"\n'


# ---- remotes


def test_a_provider_s_own_name_is_a_remote_without_configuration(opened, services):
    found = opened("svc:/dir/file", env={"CFTOOL_SVC_REGION": "eu"})
    assert (found.path, found.key, found.local_root) == ("dir/file", "memory/svc/dir/file", None)
    assert services.opened[0][0] == {"region": "eu", "key": None}


def test_the_provider_gets_its_surroundings(opened, services, tmp_path):
    requests = Counter()
    opened(
        "work,region=eu:", WORK, requests=requests, state_dir=str(tmp_path / "state"), connections=7, transport="curl"
    )
    values, context = services.opened[0]
    assert values["region"] == "eu"
    assert (context.remote, context.connections, context.transport) == ("work", 7, "curl")
    assert context.requests is requests
    assert context.state_dir == str(tmp_path / "state")
    context.memory.set("learnt", "yes")
    assert context.memory.get("learnt") == "yes"


def test_without_a_state_directory_nothing_is_kept(opened, services):
    opened("work:", WORK)
    context = services.opened[0][1]
    context.memory.set("learnt", "yes")
    assert context.memory.get("learnt") is None


def test_options_of_the_command_line_reach_the_provider(opened, services):
    opened("work:", WORK, flags={"region": "flag"})
    assert services.opened[0][0]["region"] == "flag"


CACHED = "stack = { metadata_cache = 60 }"


@pytest.mark.parametrize(
    ("config", "context", "expected"),
    [
        ("", {}, ["Check", "Resume"]),
        (CACHED, {"fresh": True}, ["Check", "Resume"]),
        (CACHED, {"state_dir": "/nowhere"}, ["Check", "MetadataCaching", "Resume"]),
        (CACHED, {"state_dir": "/nowhere", "fresh": True}, ["Check", "Noting", "Resume"]),
        ("", {"state_dir": "/nowhere"}, ["Check", "Noting", "Resume"]),
        ("", {"state_dir": "/nowhere", "read_only": True}, ["Check", "Resume", "ReadOnly"]),
        ('root = "a/b"', {}, ["Check", "Prefix", "Resume"]),
        ("", {"read_only": True}, ["Check", "Resume", "ReadOnly"]),
        ("stack = { read_only = true }", {}, ["Check", "Resume", "ReadOnly"]),
        ("stack = { metadata_cache = 60 }", {}, ["Check", "MetadataCaching", "Resume"]),
        ("stack = { metadata_cache = 60 }", {"metadata_cache": 0}, ["Check", "Resume"]),
        ("", {"metadata_cache": 60}, ["Check", "MetadataCaching", "Resume"]),
        ("stack = { cache = 60, cache_size = 5, cache_id = 'x', archive = false }", {}, ["Check", "Resume"]),
        (
            'root = "/a/"\nstack = { metadata_cache = 60, read_only = true }',
            {},
            ["Check", "Prefix", "MetadataCaching", "Resume", "ReadOnly"],
        ),
    ],
)
def test_the_wrappers_stand_in_their_order(opened, config, context, expected):
    assert layers(opened("work:", WORK + config, **context).store) == expected


def listed(store, path=""):
    return sorted(entry.name for entry in store.scan(path))


def test_what_one_run_listed_the_next_one_knows(opened, services, tmp_path):
    here = {"state_dir": str(tmp_path / "state")}
    store = opened("work:dir", WORK + CACHED, **here).store
    store.write("dir/a", BytesSource(b""))
    assert listed(store, "dir") == ["a"]
    store.close()
    requests = Counter()
    store = opened("work:dir", WORK + CACHED, requests=requests, **here).store
    assert listed(store, "dir") == ["a"]
    assert requests == {}
    store.close()


def test_what_is_changed_by_any_road_is_known_by_all(opened, services, tmp_path):
    services.provider = Provider("svc", "", "", services.provider.options, lambda *_: Remote(services.space))
    services.space = MemoryStore().space
    here = {"state_dir": str(tmp_path / "state")}
    cached = opened("work:", WORK + CACHED, **here).store
    cached.write("dir/a", BytesSource(b""))
    assert listed(cached, "dir") == ["a"]
    for number, (text, config, context) in enumerate(
        [
            ("svc:", "", {}),
            ("work:", WORK, {}),
            ("work:", WORK + CACHED, {"fresh": True}),
            ("work,region=eu:", WORK + CACHED, {}),
        ]
    ):
        other = opened(text, config, **here, **context).store
        other.write(f"dir/{number}", BytesSource(b""))
        assert f"{number}" in listed(cached, "dir")
        other.delete(f"dir/{number}")
        assert f"{number}" not in listed(cached, "dir")
        other.close()
    cached.close()


def test_other_eyes_are_not_shown_what_these_credentials_saw(opened, services, tmp_path):
    here = {"state_dir": str(tmp_path / "state")}

    def asks(text, **env):
        requests = Counter()
        store = opened(text, WORK + CACHED, requests=requests, env=env, **here).store
        listed(store)
        store.close()
        return requests["list"]

    assert [asks("work:"), asks("work:")] == [1, 0]
    assert [asks("work,region=eu:"), asks("work,region=eu:")] == [1, 0]
    assert [asks("work:", CFTOOL_WORK_KEY="other"), asks("work:", CFTOOL_WORK_KEY="other")] == [1, 0]
    assert [asks("work:", AWS_PROFILE="other"), asks("work:", AWS_PROFILE="other", PAGER="x")] == [1, 0]
    assert asks("work:") == 0


def test_a_read_only_remote_refuses_every_change(opened):
    store = opened("work:", WORK, read_only=True).store
    with pytest.raises(ReadOnly):
        store.write("file", BytesSource(b""))


def test_what_is_not_built_yet_is_refused_and_not_ignored(opened, tmp_path):
    with pytest.raises(ConfigError, match=r"config\.toml:\d+: stack option 'archive' is not built yet"):
        opened("work:", WORK + "stack = { archive = true }")


def test_a_remote_is_confined_to_its_root(opened):
    found = opened("work:file", WORK + 'root = "bucket/backups"')
    found.store.write("file", BytesSource(b"x"))
    assert found.key == "memory/work/bucket/backups/file"
    assert [e.path for e in found.store.inner.inner.inner.walk("")][-1] == "bucket/backups/file"
    for path in ("../x", "a/../../x", ".."):
        with pytest.raises((ConfigError, InvalidName)):
            opened(f"work:{path}", WORK + 'root = "bucket/backups"')


def test_one_place_has_one_key_whatever_remote_it_is_reached_by(opened, services):
    services.provider = Provider("svc", "", "", (), lambda values, context: Remote(name="same"))
    keys = {
        opened("work:x", WORK + 'root = "a/b"').key,
        opened("svc:a/b/x").key,
        opened("work:b/x", WORK + 'root = "a"').key,
        opened("svc:/a/b/x/").key,
    }
    assert keys == {"memory/same/a/b/x"}


def test_an_unknown_type_is_told(opened):
    with pytest.raises(ConfigError, match="unknown provider 'memroy'; did you mean 'memory'"):
        opened("work:", '[remotes.work]\ntype = "memroy"\n')


@pytest.mark.parametrize(("typed", "path"), [("a//b", "a/b"), ("./a/./b/.", "a/b"), ("a/b/", "a/b"), ("//", "")])
def test_paths_are_taken_as_people_type_them_in_a_hierarchy(opened, typed, path):
    assert opened(f"work:{typed}", WORK).path == path


def test_paths_are_taken_as_they_are_where_keys_are_opaque(opened, services):
    services.store_class = type("Opaque", (Remote,), {"rules": NameRules(opaque=True)})
    assert opened("work:a//b/./../c/", WORK).path == "a//b/./../c"


@pytest.mark.parametrize("typed", ["..", "a/../b", "../x"])
def test_parents_are_not_guessed_at(opened, typed):
    with pytest.raises(ConfigError, match=r"component '\.\.'"):
        opened(f"work:{typed}", WORK)


def test_standard_input_is_no_place(opened):
    with pytest.raises(ConfigError, match="standard input"):
        opened("-")


# ---- views


def test_a_view_is_the_same_stack_at_the_path(opened):
    found = opened("work:dir", WORK)
    view = rooted(found)
    assert layers(view) == ["Check", "Prefix", "Resume"]
    view.write("file", BytesSource(b"x"))
    assert found.store.read("dir/file").read() == b"x"
    assert rooted(found, "dir").stat("file").path == "file"
    assert view.features.identity == found.key
    assert rooted(found, "") is found.store
    assert [e.path for e in rooted(found, "").walk("")] == ["dir", "dir/file"]


def test_a_view_of_a_store_without_check(opened):
    bare = stack.Opened(MemoryStore(), "dir", parse("x", remotes=()), "key")
    rooted(bare).write("file", BytesSource(b"x"))
    assert bare.store.read("dir/file").read() == b"x"


def test_memory_is_shared_by_all_stores_of_a_name_in_the_process(opened):
    opened("memory:").store.write("shared/file", BytesSource(b"x"))
    assert opened("memory:shared/file").store.read("shared/file").read() == b"x"
    opened("memory:").store.delete("shared/file")


def test_a_local_stack_has_nothing_to_resume():
    assert layers(build(MemoryStore())) == ["Check"]


# ---- local paths


@pytest.fixture
def tree(tmp_path):
    real = tmp_path / "real"
    (real / "dir").mkdir(parents=True)
    (real / "dir/file").write_text("content")
    (tmp_path / "link").symlink_to(real)
    (real / "dir/filelink").symlink_to("file")
    return os.path.realpath(tmp_path)


@pytest.mark.parametrize(
    "text", ["{}/real/dir/file", "{}/link/dir/file", "{}/real/../link/dir//./file", "local:{}/link/dir/file"]
)
def test_a_local_path_is_its_real_path(opened, tree, text):
    found = opened(text.format(tree))
    assert (found.key, found.local_root, found.path) == (f"{tree}/real/dir/file",) * 2 + (f"{tree}/real/dir/file"[1:],)
    assert found.store.read(found.path).read() == b"content"
    assert layers(found.store) == ["Check"]


def test_a_relative_local_path(opened, tree, monkeypatch):
    monkeypatch.chdir(f"{tree}/link")
    assert opened("dir/file").key == f"{tree}/real/dir/file"
    assert opened(".").key == f"{tree}/real"
    assert opened("..").key == tree
    assert opened("/").key == "/"


def test_a_link_is_followed_or_not_as_the_command_wants(opened, tree):
    assert opened(f"{tree}/link/dir/filelink").key == f"{tree}/real/dir/file"
    assert opened(f"{tree}/link/dir/filelink", follow=False).key == f"{tree}/real/dir/filelink"
    assert opened(f"{tree}/link", follow=False).key == f"{tree}/link"
    assert opened(f"{tree}/link/.", follow=False).key == f"{tree}/real"


def test_a_local_view(opened, tree):
    view = rooted(opened(f"{tree}/link/dir"))
    assert view.read("file").read() == b"content"
    view.write("new/file", BytesSource(b"x"))
    assert Path(f"{tree}/real/dir/new/file").read_text() == "x"
    missing = rooted(opened(f"{tree}/link/not/yet"))
    with pytest.raises(NotFound):
        missing.stat("")


def test_a_name_with_a_colon_is_local_behind_a_slash(opened, tree, monkeypatch):
    monkeypatch.chdir(tree)
    found = opened("./a:b")
    found.store.write(found.path, BytesSource(b"x"))
    assert os.path.exists(f"{tree}/a:b")


def test_a_read_only_local_path(opened, tree):
    found = opened(f"{tree}/real", read_only=True)
    with pytest.raises(ReadOnly):
        found.store.delete(found.path + "/dir/file")


def confined(tree):
    return f'[remotes.home]\ntype = "local"\nroot = "{tree}/link"\n'


def test_a_local_remote_is_confined_to_its_root(opened, tree):
    found = opened("home:/dir/file", confined(tree))
    assert (found.path, found.key, found.local_root) == ("dir/file", *[f"{tree}/real/dir/file"] * 2)
    assert found.store.read("dir/file").read() == b"content"
    assert opened("home:", confined(tree)).local_root == f"{tree}/real"
    with pytest.raises(ConfigError):
        opened("home:../x", confined(tree))


def test_a_link_does_not_lead_out_of_a_confined_remote(opened, tree):
    os.symlink("/etc", f"{tree}/real/out")
    for path in ("out", "out/passwd"):
        with pytest.raises(ConfigError, match="through a symbolic link"):
            opened(f"home:{path}", confined(tree))


def test_a_current_directory_that_is_gone_is_told(opened, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="No such file"):
        opened("x")


def test_remote_whose_cache_has_something_pending_shows_it(tmp_path):
    context = OpenContext(env={}, state_dir=str(tmp_path))
    where = parse("memory:visited", remotes={"memory"})
    cached = stack.open_cached(where, Config("", {}), context=context, flags=StackOptions())
    cached.store.write("visited/file", BytesSource(b"pending"))
    opened = stack.open_address(where, Config("", {}), context=context)
    assert isinstance(opened.store.inner, VisitingStore)
    with opened.store.read("visited/file") as download:
        assert download.read() == b"pending"
    opened.store.close()
    assert cached.store.flush() == []
    opened = stack.open_address(where, Config("", {}), context=context)
    assert not isinstance(opened.store.inner, VisitingStore)
    opened.store.close()
    cached.store.close()


def test_remote_shows_what_all_of_its_caches_hold_whatever_their_names(tmp_path):
    context = OpenContext(env={}, state_dir=str(tmp_path))
    where = parse("memory:many", remotes={"memory"})
    for name in ("one", "two"):
        flags = StackOptions(cache_id=name)
        cached = stack.open_cached(where, Config("", {}), context=context, flags=flags)
        cached.store.write(f"many/{name}", BytesSource(name.encode()))
        cached.store.close()
    assert len(stack.caches_of(where, Config("", {}), context=context)) == 2
    opened = stack.open_address(where, Config("", {}), context=context)
    assert sorted(entry.path for entry in opened.store.scan("many")) == ["many/one", "many/two"]
    opened.store.delete("many/one")
    opened.store.delete("many/two")
    assert list(opened.store.scan("many")) == []
    opened.store.close()


@pytest.mark.parametrize(
    ("text", "env", "root"),
    [
        ("s3:bucket/dir", {}, "bucket/dir"),
        ("s3:bucket", {"CFTOOL_S3_ROOT": "/above/"}, "above/bucket"),
        ("s3:", {"CFTOOL_S3_ROOT": "above"}, "above"),
        ("s3,root=over:x", {"CFTOOL_S3_ROOT": "above"}, "over/x"),
    ],
)
def test_an_address_as_the_root_of_its_remote(text, env, root):
    address = stack.confined(parse(text, remotes={"s3"}), Config("", env), context=OpenContext(env))
    assert (address.path, address.overrides) == ("", {"root": root})


def test_what_needs_no_root_stays_as_it_is():
    for text in ("s3:", "/a/b", "local:a"):
        address = parse(text, remotes={"s3", "local"})
        assert stack.confined(address, Config("", {}), context=OpenContext({})) == address
