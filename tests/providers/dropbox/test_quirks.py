"""What the package's docstring says of Dropbox, each once; and what users meet: logins, links, space, namespaces."""

import json
import threading

import pytest

from cftool.core.errors import (
    AlreadyExists,
    ConfigError,
    DirectoryNotEmpty,
    IntegrityError,
    InvalidName,
    IsADirectory,
    ListingError,
    LoginRequired,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    ProtocolError,
    QuotaExceeded,
    StoreError,
    TooLarge,
    Unsupported,
)
from cftool.core.provider import Secret
from cftool.core.sources import BytesSource
from cftool.core.types import Entry, Kind, ReadItem, Usage, WriteItem
from cftool.testing.fake_dropbox import Habits, too_many
from cftool.testing.http_fake import FakeResponse, Wire
from cftool.testing.targets import MemoryTarget

MIB = 1024 * 1024
UPLOAD = "files/upload"


def refusal(*tags: str, status: int = 409, **fields: object) -> FakeResponse:
    """An answer with this tree of tags."""
    error: dict[str, object] = {".tag": tags[-1], **fields}
    for tag in reversed(tags[:-1]):
        error = {".tag": tag, tag: error}
    body = json.dumps({"error_summary": "/".join(tags), "error": error}).encode()
    return FakeResponse(status, (("Content-Type", "application/json"),), body)


def put(store, path, data=b"content", **more):
    return store.write(path, BytesSource(data), **more)


def read(store, path):
    with store.read(path) as download:
        return download.read()


# ---- names


def test_names_are_found_in_any_case_and_keep_theirs(quick):
    store = quick.open()
    put(store, "Dir/File")
    assert store.stat("dir/FILE").version == store.stat("Dir/File").version
    assert read(store, "DIR/file") == b"content"
    put(store, "dir/file", b"new")
    assert [entry.path for entry in store.walk("")] == ["Dir", "Dir/File"]
    assert [entry.path for entry in store.scan("dir")] == ["dir/File"]


def test_the_case_of_parents_is_that_of_their_own_entries(new_lab):
    lab = new_lab(Habits(wrong_case=True, children_first=True))
    store = lab.open()
    put(store, "Some Dir/sub/File")
    assert {entry.path for entry in store.walk("")} == {"Some Dir", "Some Dir/sub", "Some Dir/sub/File"}
    assert {entry.path for entry in store.walk("some dir")} == {"some dir/sub", "some dir/sub/File"}
    cursor = store.changes(None).cursor
    put(store, "Some Dir/sub/New")
    assert store.changes(cursor).paths == ("Some Dir/sub/New",)


@pytest.mark.parametrize("name", ["desktop.ini", "Thumbs.DB", ".DS_Store", "x" * 256, "😀" * 128])
def test_names_that_are_never_saved_cost_no_upload(quick, name):
    store = quick.open()
    with pytest.raises(InvalidName):
        put(store, f"dir/{name}")
    results = list(
        store.write_many([WriteItem(f"dir/{name}", BytesSource(b"x")), WriteItem("good", BytesSource(b"x"))])
    )
    assert {result.path: type(result.error) for result in results} == {f"dir/{name}": InvalidName, "good": type(None)}
    assert quick.fake.files() == {"good": b"x"}
    assert UPLOAD not in quick.fake.requests


def test_a_name_that_only_the_service_refuses_is_that_files_failure(quick):
    quick.fake.plan("files/upload", refusal("path", reason={".tag": "disallowed_name"}))
    with pytest.raises(InvalidName) as caught:
        put(quick.open(), "odd")
    assert caught.value.path == "odd"


def test_a_change_of_case_alone_is_refused_and_loses_nothing(quick):
    store = quick.open()
    put(store, "name")
    put(store, "dir/file")
    for call in (store.move, store.copy):
        with pytest.raises(Unsupported):
            call("name", "NAME")
    with pytest.raises(Unsupported):
        store.move("dir", "DIR")
    assert quick.fake.files().keys() == {"name", "dir/file"}


def test_arguments_in_headers_are_ascii(lab):
    store = lab.open()
    name = "日本語 é 😀"
    put(store, name, name.encode())
    assert read(store, name) == name.encode()
    assert store.stat(name).path == name


# ---- content


def test_the_same_content_again_keeps_its_time_and_revision(quick):
    store = quick.open()
    first = put(store, "file", modified_ns=10**18)
    again = put(store, "file", modified_ns=2 * 10**18 // 10**9 * 10**9)
    assert again == first


def test_a_condition_is_met_where_the_content_is_there_already(quick):
    store = quick.open()
    first = put(store, "file")
    assert put(store, "file", if_version=first.version) == first
    put(store, "file", b"other")
    with pytest.raises(PreconditionFailed):
        put(store, "file", b"third", if_version=first.version)
    with pytest.raises(AlreadyExists):
        put(store, "file", b"other", if_absent=True)


@pytest.mark.parametrize("wire", [Wire.RESET, Wire.CLOSE])
def test_a_conditional_write_whose_answer_was_lost_is_recognised(lab, wire):
    store = lab.open()
    lab.fake.plan(UPLOAD, wire)
    entry = put(store, "file", if_absent=True)
    lab.fake.plan(UPLOAD, wire)
    assert put(store, "file", b"new", if_version=entry.version) == store.stat("file")
    assert lab.fake.sent["file"] == 2


def test_what_was_stored_wrongly_is_an_error(quick):
    def damage(request, answer):
        if request.path == f"/2/{UPLOAD}":
            found = json.loads(answer.body)
            found["content_hash"] = "0" * 64
            return FakeResponse(200, answer.headers, json.dumps(found).encode())
        return answer

    quick.change = damage
    with pytest.raises(IntegrityError):
        put(quick.open(), "file")


def test_documents_without_content_are_no_files(quick):
    quick.fake.put("doc.paper", b"", is_downloadable=False, export_info={"export_as": "markdown"})
    quick.fake.put("linked", b"", symlink_info={"target": "x"})
    store = quick.open()
    assert {entry.path: entry.kind for entry in store.scan("")} == {"doc.paper": Kind.OTHER, "linked": Kind.LINK}
    with pytest.raises(Unsupported):
        store.read("doc.paper")


@pytest.mark.parametrize("status", [400, 413, 431])
def test_batches_get_smaller_where_headers_are_refused(new_lab, status):
    lab = new_lab(Habits(header=4000, header_status=status))
    store = lab.open()
    items = [WriteItem(f"f{number}", BytesSource(b"%d" % number)) for number in range(120)]
    assert [result.error for result in store.write_many(items)] == [None] * 120
    assert lab.fake.files() == {f"f{number}": b"%d" % number for number in range(120)}
    before = lab.fake.requests["files/upload_session/append_batch"]
    items = [WriteItem(f"g{number}", BytesSource(b"x")) for number in range(20)]
    assert len(list(lab.open().write_many(items))) == 20
    assert lab.fake.requests["files/upload_session/append_batch"] == before + 2  # remembered: 12 or so each


def test_a_batch_that_was_damaged_on_its_way_is_sent_again(quick):
    quick.fake.plan("files/upload_session/append_batch", refusal("content_hash_mismatch"), refusal("length_mismatch"))
    items = [WriteItem(f"f{number}", BytesSource(b"x")) for number in range(5)]
    assert [result.error for result in quick.open().write_many(items)] == [None] * 5


def test_sessions_that_the_service_lost_are_replaced(quick):
    store = quick.open()

    def lose(request, answer):
        if request.path.endswith("append_batch"):
            quick.fake.sessions.pop(next(iter(quick.fake.sessions)))
        return answer

    quick.change = lose
    items = [WriteItem(f"f{number}", BytesSource(b"x%d" % number)) for number in range(5)]
    assert [result.error for result in store.write_many(items)] == [None] * 5
    assert len(quick.fake.files()) == 5


# ---- copies, moves, deletions


def test_copies_of_several_threads_travel_together(quick):
    store = quick.open()
    for number in range(20):
        put(store, f"src/{number}", b"%d" % number)
    gate = threading.Event()
    with store._relocator._copies._sending:  # the first waits here until all have come
        threads = [threading.Thread(target=store.copy, args=(f"src/{n}", f"dst/{n}")) for n in range(20)]
        for thread in threads:
            thread.start()
        while len(store._relocator._copies._waiting) < 20:
            gate.wait(0.001)
    for thread in threads:
        thread.join(20)
    assert {path: data for path, data in quick.fake.files().items() if path.startswith("dst")} == {
        f"dst/{n}": b"%d" % n for n in range(20)
    }
    assert (quick.fake.requests["files/copy_batch_v2"], quick.fake.requests["files/copy_v2"]) == (1, 0)


def test_entries_of_a_batch_fail_each_for_itself(quick):
    store = quick.open()
    put(store, "a")
    put(store, "b")
    found: dict[str, object] = {}

    def copy(src, dst):
        try:
            found[dst] = store.copy(src, dst).path
        except StoreError as error:
            found[dst] = type(error)

    quick.fake.busy = 2
    gate = threading.Event()
    with store._relocator._copies._sending:
        threads = [
            threading.Thread(target=copy, args=pair)
            for pair in (("a", "one"), ("a", "two"), ("b", "b2"), ("a", "a/below"))
        ]
        for thread in threads:
            thread.start()
        while len(store._relocator._copies._waiting) < 4:
            gate.wait(0.001)
    for thread in threads:
        thread.join(20)
    assert found["one"] == "one"
    assert found["two"] == "two"
    assert found["b2"] == "b2"
    assert issubclass(found["a/below"], StoreError)


def test_a_copy_over_a_file_replaces_it_in_one_step(quick):
    store = quick.open()
    put(store, "new", b"new", modified_ns=10**18)
    put(store, "old", b"old")
    seen = []

    def watch(request, answer):
        seen.append("old" in quick.fake.files())
        return answer

    quick.change = watch
    assert store.copy("new", "old").modified_ns == 10**18
    assert read(store, "old") == b"new"
    put(store, "third", b"3")
    store.move("third", "old")
    assert all(seen)
    assert quick.fake.files() == {"new": b"new", "old": b"3"}


@pytest.mark.parametrize("wire", [Wire.RESET, Wire.CLOSE])
def test_a_copy_or_move_whose_answer_was_lost_is_recognised(quick, wire):
    store = quick.open()
    put(store, "file")
    quick.fake.plan("files/copy_v2", wire)
    assert store.copy("file", "copy") == store.stat("copy")
    quick.fake.plan("files/move_v2", wire)
    assert store.move("file", "moved") == store.stat("moved")
    assert quick.fake.files().keys() == {"copy", "moved"}


def test_a_directory_that_somebody_fills_is_not_deleted(quick):
    store = quick.open()
    for name in ("a", "b", "c"):
        store.mkdir(name)
    quick.fake.put("b/file", b"theirs")
    results = {r.path: r.error for r in store.delete_many(Entry(name, Kind.DIRECTORY) for name in ("a", "b", "c"))}
    assert isinstance(results.pop("b"), DirectoryNotEmpty)
    assert results == {"a": None, "c": None}
    assert quick.fake.files() == {"b/file": b"theirs"}


def test_a_directory_that_is_named_in_another_case_is_looked_at_too(quick):
    store = quick.open()
    put(store, "Full/file", b"kept")
    store.mkdir("empty")
    results = {
        r.path: r.error for r in store.delete_many([Entry("FULL", Kind.DIRECTORY), Entry("empty", Kind.DIRECTORY)])
    }
    assert isinstance(results["FULL"], DirectoryNotEmpty)
    assert quick.fake.files() == {"Full/file": b"kept"}


def test_directories_that_cannot_be_looked_at_stay(quick):
    store = quick.open()
    entries = [store.mkdir("a"), store.mkdir("b")]
    quick.fake.plan("files/list_folder", *[FakeResponse(200, (("Content-Type", "application/json"),), b"{}")] * 3)
    assert {type(result.error) for result in store.delete_many(entries)} == {ListingError}
    assert set(quick.fake.nodes) == {"/a", "/b"}


def test_files_of_a_batch_that_failed_have_an_error_each(quick):
    store = quick.open()
    put(store, "a")
    put(store, "b")
    quick.fake.plan("files/delete_batch", refusal("something_new"))
    errors = [result.error for result in store.delete_many(list(store.scan("")))]
    assert len({id(error) for error in errors}) == 2
    assert quick.fake.files().keys() == {"a", "b"}


def test_nested_directories_go_from_the_top(quick):
    store = quick.open()
    store.mkdir("a/b/c")
    store.mkdir("a/d")
    put(store, "x/y/file")
    paths = ["a/b/c", "a/b", "a/d", "a", "x/y", "x", "gone"]
    results = {r.path: type(r.error) for r in store.delete_many(Entry(path, Kind.DIRECTORY) for path in paths)}
    expected = dict.fromkeys(paths, type(None)) | {"x/y": DirectoryNotEmpty, "x": DirectoryNotEmpty}
    assert results == expected
    assert set(quick.fake.nodes) == {"/x", "/x/y", "/x/y/file"}


def test_a_folder_with_all_in_it_goes_in_two_requests(quick):
    store = quick.open()
    for number in range(20):
        put(store, f"dir/sub{number}/file")
    quick.fake.requests.clear()
    store.delete_dir("dir")
    assert quick.fake.files() == {}
    assert {route: n for route, n in quick.fake.requests.items() if not route.endswith("check")} == {
        "files/get_metadata": 1,
        "files/delete_batch": 1,
    }


def test_a_folder_of_more_files_than_go_at_once_is_left_to_smaller_steps(quick):
    store = quick.open()
    put(store, "dir/file")
    refused = {".tag": "complete", "entries": [{".tag": "failure", "failure": {".tag": "too_many_files"}}]}
    headers = (("Content-Type", "application/json"),)
    quick.fake.plan("files/delete_batch", FakeResponse(200, headers, json.dumps(refused).encode()))
    with pytest.raises(Unsupported):
        store.delete_dir("dir")
    assert quick.fake.files().keys() == {"dir/file"}


def test_a_file_that_changed_since_it_was_listed_is_not_deleted(quick):
    store = quick.open()
    put(store, "file")
    (entry,) = store.scan("")
    put(store, "file", b"theirs")
    (result,) = store.delete_many([entry])
    assert isinstance(result.error, PreconditionFailed)
    assert read(store, "file") == b"theirs"


def test_entries_of_a_deletion_that_are_refused_for_now_are_sent_again(quick):
    store = quick.open()
    for number in range(30):
        put(store, f"f{number}")
    quick.fake.busy = 40
    assert [r.error for r in store.delete_many(list(store.scan("")))] == [None] * 30
    assert quick.fake.files() == {}


# ---- changes, space, links


def test_changes_are_told_and_a_reset_asks_for_a_new_listing(quick):
    store = quick.open()
    put(store, "dir/a")
    cursor = store.changes(None).cursor
    assert store.wait_for_changes(cursor) == (False, 0.0)
    put(store, "dir/b")
    store.delete("dir/a")
    assert store.wait_for_changes(cursor) == (True, 0.0)
    found = store.changes(cursor)
    assert set(found.paths) == {"dir/a", "dir/b"}
    assert store.changes(found.cursor).paths == ()
    quick.fake.forget_cursors()
    assert store.wait_for_changes(found.cursor) == (True, 0.0)
    again = store.changes(found.cursor)
    assert (again.reset, again.paths) == (True, ())
    assert not store.changes(again.cursor).reset


def test_waiting_goes_without_credentials(quick):
    store = quick.open()
    cursor = store.changes(None).cursor
    backoff = FakeResponse(200, (("Content-Type", "application/json"),), b'{"changes": true, "backoff": 60}')
    quick.fake.plan("files/list_folder/longpoll", backoff)
    assert store.wait_for_changes(cursor, 999) == (True, 60.0)
    quick.fake.plan("files/list_folder/longpoll", FakeResponse(200, backoff.headers, b'{"changes": 1}'))
    with pytest.raises(ProtocolError):
        store.wait_for_changes(cursor)


def test_space_of_a_person_and_of_a_team(new_lab):
    store = new_lab().open()
    put(store, "file", b"x" * 1000)
    assert store.usage() == Usage(2_000_000_000, 1000, 1_999_999_000)


def test_space_of_a_team(new_lab):
    assert new_lab(Habits(team=True)).open().usage() == Usage(9000, 5000, 4000)


@pytest.mark.parametrize("tells", [True, False])
def test_a_link_is_made_once(new_lab, tells):
    lab = new_lab(Habits(link_tells=tells))
    store = lab.open()
    put(store, "file")
    url = store.link("file")
    assert url.startswith("https://www.dropbox.com/")
    assert store.link("FILE") == url
    put(store, "other")
    assert "&e=20" in store.link("other", expires=3600)
    with pytest.raises(NotFound):
        store.link("nothing")


# ---- logins and namespaces


def test_an_access_token_alone_is_used_as_it_is(quick):
    store = quick.open(app_key=None, refresh_token=None, access_token=Secret("given"))
    quick.fake.oauth.access.add("given")
    put(store, "file")
    assert quick.fake.oauth.requests == {}
    quick.fake.oauth.revoke()
    with pytest.raises(LoginRequired):
        store.stat("file")


def test_options_that_do_not_go_together(quick):
    for options in ({"app_key": None, "refresh_token": None}, {"app_key": None}):
        with pytest.raises(ConfigError, match="app_key"):
            quick.open(**options)


def test_the_secret_of_the_application_goes_with_the_refresh(quick):
    quick.fake.oauth.client_secret = "hush"
    assert quick.open(app_secret=Secret("hush")).usage().used == 0
    with pytest.raises(LoginRequired, match="cftool config login other"):
        quick.open(remote="other").usage()


def test_a_missing_permission_says_what_to_do(quick):
    quick.fake.plan("users/get_space_usage", refusal("missing_scope", status=401, required_scope="account_info.read"))
    with pytest.raises(PermissionDenied, match=r"account_info\.read"):
        quick.open().usage()


@pytest.mark.parametrize("namespace", ["77", "root"])
def test_a_namespace_goes_with_every_request(quick, namespace):
    seen = set()

    def note(request, answer):
        if request.path not in {"/oauth2/token", "/2/users/get_current_account"}:
            seen.add(request.header("dropbox-api-path-root"))
        return answer

    quick.change = note
    store = quick.open(namespace=namespace)
    put(store, "file")
    assert read(store, "file") == b"content"
    assert list(store.scan(""))
    kind = "root" if namespace == "root" else "namespace_id"
    assert seen == {json.dumps({".tag": kind, kind: "77"}, separators=(",", ":"))}
    assert quick.fake.requests["users/get_current_account"] == (namespace == "root")


def test_a_namespace_that_is_not_ours_is_refused(quick):
    with pytest.raises(PermissionDenied, match="namespace"):
        quick.open(namespace="99").stat("file")


def test_remotes_of_one_token_are_one_place_and_others_are_not(quick):
    assert quick.open(remote="a").features.identity == quick.open(remote="b").features.identity
    assert quick.open().features.identity != quick.open(namespace="77").features.identity
    logins = {quick.open(remote=name, refresh_token=None).features.identity for name in ("a", "b")}
    assert len(logins) == 2


# ---- errors


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal("path", reason={".tag": "conflict", "conflict": {".tag": "folder"}}), IsADirectory),
        (refusal("path", reason={".tag": "insufficient_space"}), QuotaExceeded),
        (refusal("path", reason={".tag": "no_write_permission"}), PermissionDenied),
        (refusal("path", reason={".tag": "malformed_path", "malformed_path": None}), InvalidName),
        (refusal("payload_too_large"), TooLarge),
        (refusal("something_new"), StoreError),
        (FakeResponse(400, (), b"Error in call to API function"), ProtocolError),
        (FakeResponse(403, (), b"no"), PermissionDenied),
        (FakeResponse(404, (), b"no"), ProtocolError),
        (FakeResponse(200, (("Content-Type", "text/html"),), b"<html>"), ProtocolError),
        (FakeResponse(200, (("Content-Type", "application/json"),), b"[]"), ProtocolError),
        (FakeResponse(200, (("Content-Type", "application/json"),), b"{"), ProtocolError),
    ],
)
def test_what_answers_mean(quick, answer, kind):
    quick.fake.plan(UPLOAD, answer)
    with pytest.raises(kind) as caught:
        put(quick.open(), "file")
    assert type(caught.value) is kind
    assert "s3cr3t" not in str(caught.value)


def test_a_busy_account_is_asked_again(quick):
    quick.fake.plan(UPLOAD, too_many(0), refusal("path", reason={".tag": "too_many_write_operations"}))
    put(quick.open(), "file")
    assert quick.fake.requests[UPLOAD] == 3


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"dropbox-api-result": "{"},
        {"dropbox-api-result": "[]"},
        {"dropbox-api-result": '{"name": "file"}'},
    ],
)
def test_content_without_its_metadata_is_not_believed(quick, headers):
    quick.fake.put("file", b"content")
    quick.fake.plan("files/download", *[FakeResponse(200, tuple(headers.items()), b"content")] * 2)
    store = quick.open()
    with pytest.raises(ProtocolError):
        store.read("file")
    (entry,) = store.scan("")
    target = MemoryTarget()
    (result,) = store.read_many([ReadItem(entry, target)])
    assert isinstance(result.error, ProtocolError)
    assert target.data is None


def test_another_range_than_was_asked_for_is_not_believed(quick):
    quick.fake.put("file", b"0123456789")

    def shift(request, answer):
        headers = tuple((n, "bytes 3-5/10" if n == "Content-Range" else v) for n, v in answer.headers)
        return FakeResponse(answer.status, headers, answer.body)

    quick.change = shift
    with pytest.raises(ProtocolError):
        quick.open().read("file", start=2, end=5)
