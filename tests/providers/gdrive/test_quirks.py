"""What the package's docstring says of Drive, one behaviour a test."""

import pytest

from cftool.core.errors import (
    IsADirectory,
    LoginRequired,
    NotADirectory,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    QuotaExceeded,
    RateLimited,
    StoreError,
    TooLarge,
    Unsupported,
)
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, Kind, ReadItem, WriteItem
from cftool.testing.fake_gdrive import DOCUMENT, FOLDER, SHORTCUT, FakeGDrive, daily_limit, error, rate_limited
from cftool.testing.targets import MemoryTarget
from cftool_providers.gdrive import PROVIDER, _files

WHEN = 1_600_000_000_123_000_000


def names(entries):
    return {entry.path: entry.kind.value for entry in entries}


def get(store, path):
    with store.read(path) as download:
        return download.read()


# ---- ids under paths


@pytest.mark.parametrize("how", ["renamed", "moved", "trashed"])
def test_a_folder_that_went_away_is_noticed_before_anything_is_written(quick, how):
    fake, store = quick.fake, quick.open()
    folder = fake.folder("a/b")
    store.write("a/b/one", BytesSource(b"1"))
    if how == "renamed":
        folder.name = "other"
    elif how == "moved":
        folder.parents = [fake.folder("elsewhere").id]
    else:
        folder.explicitly_trashed = True
    store.write("a/b/two", BytesSource(b"2"))
    assert fake.files[fake.find("a/b/two")[0].parents[0]] is not folder
    assert [f.name for f in fake.files.values() if folder.id in f.parents] == ["one"]
    with pytest.raises(NotFound):
        store.stat("a/b/one")


def test_the_folder_above_being_moved_is_noticed_as_well(quick):
    fake, store = quick.fake, quick.open()
    store.write("a/b/c/one", BytesSource(b"1"))
    fake.find("a")[0].name = "z"
    with pytest.raises(NotFound):
        store.read("a/b/c/one")
    with pytest.raises(NotFound):
        store.delete("a/b/c/one")
    assert get(store, "z/b/c/one") == b"1"


def test_a_known_path_of_any_depth_costs_one_request(quick):
    store = quick.open()
    store.write("a/b/c/d/e/file", BytesSource(b"1"))
    quick.counted()
    store.stat("a/b/c/d/e/file")
    assert quick.counted() == 1
    assert len(list(store.scan("a/b/c/d/e"))) == 1
    assert quick.counted() == 1


def test_a_folder_trashed_during_a_run_gets_no_more_files(quick):
    fake, store = quick.fake, quick.open()
    folder = fake.folder("dir")

    def items():
        for number in range(6):
            if number == 3:
                folder.explicitly_trashed = True
            yield WriteItem(f"dir/f{number}", BytesSource(b"x"))

    results = list(store.write_many(items()))
    assert [result.error for result in results] == [None] * 6
    there = {file.name for file in fake.files.values() if file.content == b"x" and not file.in_trash()}
    lost = {f.name for f in fake.files.values() if f.content == b"x" and f.in_trash() and not f.explicitly_trashed}
    assert there | lost == {f"f{number}" for number in range(6)}
    assert {"f3", "f4", "f5"} <= there


# ---- duplicates


def test_duplicates_show_by_their_ids_and_none_is_lost(quick):
    fake, store = quick.fake, quick.open()
    first, second = fake.add("dir/a.txt", b"1"), fake.add("dir/a.txt", b"22")
    folders = fake.add("dir/sub", None, mime=FOLDER), fake.add("dir/sub", None, mime=FOLDER)
    fake.add("in-first", b"i", parent=folders[0].id)
    fake.add("in-second", b"j", parent=folders[1].id)
    shown = _files.tagged("a.txt", second.id, folder=False)
    subs = _files.tagged("sub", folders[1].id, folder=True)
    assert shown.startswith("a ~")
    assert shown.endswith(".txt")
    listed = {entry.path: entry for entry in store.scan("dir")}
    assert names(listed.values()) == {
        "dir/a.txt": "file",
        f"dir/{shown}": "file",
        "dir/sub": "directory",
        f"dir/{subs}": "directory",
    }
    assert (listed["dir/a.txt"].id, listed[f"dir/{shown}"].id) == (first.id, second.id)
    assert {entry.path for entry in store.walk("")} == {
        "dir",
        *listed,
        "dir/sub/in-first",
        f"dir/{subs}/in-second",
    }
    assert get(store, f"dir/{shown}") == b"22"
    assert get(store, f"dir/{subs}/in-second") == b"j"
    store.write(f"dir/{shown}", BytesSource(b"333"))
    assert (first.content, second.content) == (b"1", b"333")


def test_duplicates_are_deleted_with_the_rest(quick):
    fake, store = quick.fake, quick.open()
    for _ in range(3):
        fake.add("dir/a", b"x")
    assert [result.error for result in store.delete_many(list(store.scan("dir")))] == [None] * 3
    assert fake.tree() == {"dir": None}


def test_the_name_of_a_duplicate_stays_when_the_older_one_goes(quick):
    fake, store = quick.fake, quick.open()
    fake.add("a", b"old")
    second = fake.add("a", b"new")
    store.delete("a")
    assert get(store, _files.tagged("a", second.id, folder=False)) == b"new"
    assert get(store, "a") == b"new"


def test_a_file_that_is_really_called_like_a_duplicate_is_one_of_its_own(quick):
    fake, store = quick.fake, quick.open()
    fake.add("a", b"old")
    second = fake.add("a", b"new")
    tagged = _files.tagged("a", second.id, folder=False)
    fake.add(tagged, b"real")
    longer = _files.tagged("a", second.id, folder=False, digits=16)
    assert {entry.path for entry in store.scan("")} == {"a", tagged, longer}
    assert (get(store, tagged), get(store, longer)) == (b"real", b"new")


# ---- names


def test_names_that_no_path_can_hold_show_as_others(quick):
    fake, store = quick.fake, quick.open()
    for name in ("a/b", ".", "..", "nul\0", "UPPER", "upper"):
        fake.add(name, name.encode(), parent=fake.root)
    shown = {"a／b", "．", "．．", "nul␀", "UPPER", "upper"}
    assert {entry.path for entry in store.scan("")} == shown
    assert {get(store, name) for name in shown} == {b"a/b", b".", b"..", b"nul\0", b"UPPER", b"upper"}


def test_a_quote_in_a_name_is_no_end_of_a_query(quick):
    store = quick.open()
    for name in ("it's", "back\\slash", "' or trashed = true or name = '"):
        store.write(f"{name}/{name}", BytesSource(name.encode()))
        assert get(store, f"{name}/{name}") == name.encode()


# ---- several parents in one query


def test_a_parent_for_which_a_query_names_nothing_is_asked_alone(quick):
    fake = quick.fake
    for number in range(5):
        fake.add(f"d{number}/file")
    fake.folder("empty")
    store = quick.open()
    assert len(list(store.walk(""))) == 11
    assert store._tree.grouping
    assert quick.counted() == 3


def test_a_query_that_left_something_out_is_not_believed_again(quick):
    fake = quick.fake
    for number in range(30):
        fake.add(f"d{number}/sub/file")
    fake.blind = {fake.find("d3")[0].id, fake.find("d9/sub")[0].id}
    store = quick.open()
    assert sum(entry.kind is Kind.FILE for entry in store.walk("")) == 30
    assert not store._tree.grouping
    start = len(fake.log)
    assert sum(entry.kind is Kind.FILE for entry in store.walk("")) == 30
    assert max(request.query.count("in%20parents") for request in fake.log[start:]) == 1


# ---- creates that are sent again


def test_an_id_is_used_for_one_file_and_all_are_fetched_together(quick):
    store = quick.open()
    for number in range(5):
        store.write(f"f{number}", BytesSource(b"x"))
    assert quick.fake.requests["files.generateIds"] == 1
    created = [file.id for file in quick.fake.files.values() if file.content == b"x"]
    assert len(set(created)) == 5


def test_modified_time_is_kept_to_the_millisecond(quick):
    store = quick.open()
    entry = store.write("f", BytesSource(b"x"), modified_ns=WHEN + 456_789)
    assert entry.modified_ns == WHEN
    assert store.set_modified("f", WHEN + 1_000_000).modified_ns == WHEN + 1_000_000
    assert quick.fake.find("f")[0].content == b"x"


def test_a_replacement_is_a_new_revision_of_the_same_file(quick):
    store = quick.open()
    first = store.write("f", BytesSource(b"x"))
    second = store.write("f", BytesSource(b"y"))
    assert first.id == second.id
    assert first.version != second.version


# ---- errors


@pytest.mark.parametrize(
    ("status", "reason", "message", "kind"),
    [
        (403, "storageQuotaExceeded", "The user's Drive storage quota has been exceeded.", QuotaExceeded),
        (403, "teamDriveFileLimitExceeded", "The file limit for this shared drive has been exceeded.", QuotaExceeded),
        (403, "insufficientFilePermissions", "The user does not have sufficient permissions.", PermissionDenied),
        (403, "appNotAuthorizedToFile", "The user has not granted the app access.", PermissionDenied),
        (403, "domainPolicy", "The domain administrators have disabled Drive apps.", PermissionDenied),
        (401, "authError", "Invalid Credentials", LoginRequired),
        (413, "uploadTooLarge", "Request Too Large", TooLarge),
        (418, "teapot", "I am one", StoreError),
    ],
)
def test_errors_have_their_kinds_and_the_services_words(quick, status, reason, message, kind):
    quick.fake.fail("upload.create", error(status, reason, message), times=5)
    with pytest.raises(kind, match=message.replace(".", r"\.")) as caught:
        quick.open().write("f", BytesSource(b"x"))
    assert caught.value.path == "f"
    assert quick.fake.find("f") == []


def test_the_daily_limit_is_told_at_once_with_what_to_do(quick):
    store = quick.open()
    quick.fake.fail("upload.create", daily_limit(), times=1000)
    results = list(store.write_many(WriteItem(f"f{number}", BytesSource(b"x")) for number in range(500)))
    assert len(results) == 500
    for result in results:
        assert isinstance(result.error, RateLimited)
        assert "750 GB" in str(result.error)
        assert "24 hours" in str(result.error)
    assert quick.fake.requests["upload.create"] <= 250  # what was under way already
    assert store.stat("").is_dir


def test_a_message_that_is_no_json_is_an_error_too(quick):
    quick.fake.fail("files.list", lambda: error(400, "x", "y"), times=1)
    with pytest.raises(StoreError):
        quick.open().stat("f")


# ---- trash


def test_what_is_deleted_is_in_the_trash(quick):
    store = quick.open()
    store.write("a/f", BytesSource(b"x"))
    store.delete("a/f")
    store.rmdir("a")
    assert quick.fake.tree() == {}
    assert {file.name for file in quick.fake.files.values() if file.explicitly_trashed} == {"a", "f"}


def test_a_folder_goes_into_the_trash_with_all_in_it(quick):
    store = quick.open()
    for name in ("dir/a/f", "dir/b/f", "kept"):
        store.write(name, BytesSource(b"x"))
    store.delete_dir("dir")
    assert quick.fake.tree() == {"kept": b"x"}
    assert [file.name for file in quick.fake.files.values() if file.explicitly_trashed] == ["dir"]


def test_without_the_trash_no_folder_goes_in_one_step(quick):
    """What others own in it would be left without a place."""
    store = quick.open(use_trash=False)
    store.write("dir/f", BytesSource(b"x"))
    assert Cap.DELETE_DIR not in store.features.caps
    with pytest.raises(Unsupported):
        store.delete_dir("dir")
    assert quick.fake.tree() == {"dir": None, "dir/f": b"x"}


def test_without_the_trash_it_is_gone(quick):
    store = quick.open(use_trash=False)
    for name in "abc":
        store.write(f"dir/{name}", BytesSource(b"x"))
    store.delete("dir/a")
    entries = [*store.scan("dir"), store.stat("dir")]
    assert [result.error for result in store.delete_many(entries)] == [None] * 3
    assert [file.name for file in quick.fake.files.values()] == ["My Drive"]


@pytest.mark.parametrize("trash", [True, False])
def test_a_file_that_was_moved_since_it_was_listed_is_not_deleted(quick, trash):
    fake, store = quick.fake, quick.open(use_trash=trash)
    moved, renamed, stays = fake.add("dir/moved"), fake.add("dir/renamed"), fake.add("dir/stays")
    entries = list(store.scan("dir"))
    moved.parents = [fake.folder("elsewhere").id]
    renamed.name = "another"
    assert [result.error for result in store.delete_many(entries)] == [None] * 3
    assert fake.tree().keys() == {"dir", "elsewhere", "elsewhere/moved", "dir/another"}
    assert stays.id not in fake.files or stays.explicitly_trashed


def test_a_folder_with_something_in_it_stays(quick):
    fake, store = quick.fake, quick.open()
    fake.folder("a/b/c")
    entries = sorted(store.walk(""), key=lambda entry: -len(entry.path))
    fake.add("a/b/new", b"x")
    failed = {result.path for result in store.delete_many(entries) if result.error is not None}
    assert failed == {"a/b", "a"}
    assert fake.tree() == {"a": None, "a/b": None, "a/b/new": b"x"}


# ---- shared drives


def test_a_shared_drive_is_listed_as_one(new_lab):
    fake = FakeGDrive(shared_drive="0AShared")
    fake.add("there/file", b"x")
    fake.add("mine", b"y", parent=fake.root)
    lab = new_lab(fake)
    store = lab.open()
    assert {entry.path for entry in store.walk("")} == {"there", "there/file"}
    assert Cap.USAGE not in store.features.caps
    for request in fake.log:
        if request.path == "/drive/v3/files" and request.method == "GET":
            assert request.params["corpora"] == "drive"
            assert request.params["driveId"] == "0AShared"


def test_a_root_folder_is_the_root(quick):
    inside = quick.fake.folder("a/b")
    quick.fake.add("a/b/file", b"x")
    store = quick.open(root_folder_id=inside.id)
    assert names(store.scan("")) == {"file": "file"}
    store.write("new", BytesSource(b"y"))
    assert quick.fake.find("a/b/new")[0].content == b"y"
    assert store.features.identity == f"gdrive:{inside.id}"


# ---- shortcuts


def test_a_shortcut_to_a_file_shows_as_that_file(quick):
    fake, store = quick.fake, quick.open()
    target = fake.add("far/away/target.bin", b"0123456789")
    shortcut = fake.add("near/link", None, mime=SHORTCUT, target=target.id)
    [entry] = store.scan("near")
    assert (entry.kind, entry.size, entry.id) == (Kind.FILE, 10, shortcut.id)
    assert entry == store.stat("near/link")
    assert get(store, "near/link") == b"0123456789"
    found = MemoryTarget()
    [result] = store.read_many([ReadItem(entry, found)])
    assert (result.error, found.data) == (None, b"0123456789")
    store.delete("near/link")
    assert target.content == b"0123456789"
    assert not target.in_trash()


def test_writing_to_a_shortcut_makes_a_file_and_leaves_the_target_alone(quick):
    fake, store = quick.fake, quick.open()
    target = fake.add("far/target", b"old")
    fake.add("near/link", None, mime=SHORTCUT, target=target.id)
    store.write("near/link", BytesSource(b"new"))
    assert fake.tree() == {"far": None, "far/target": b"old", "near": None, "near/link": b"new"}


def test_shortcuts_to_folders_and_to_nothing_are_links_and_no_loop(quick):
    fake, store = quick.fake, quick.open()
    folder = fake.folder("a/b")
    fake.add("a/b/loop", None, mime=SHORTCUT, target=fake.find("a")[0].id)
    fake.add("a/b/dangling", None, mime=SHORTCUT, target="1nothing")
    gone = fake.add("gone", b"x")
    gone.explicitly_trashed = True
    fake.add("a/b/trashed", None, mime=SHORTCUT, target=gone.id)
    assert names(store.walk("")) == {
        "a": "directory",
        "a/b": "directory",
        "a/b/loop": "link",
        "a/b/dangling": "link",
        "a/b/trashed": "link",
    }
    with pytest.raises(NotADirectory):
        store.stat("a/b/loop/b")
    with pytest.raises(Unsupported):
        store.read("a/b/dangling")
    assert folder.id in fake.files


# ---- documents


def test_documents_are_exported_by_the_chosen_formats(quick):
    fake = quick.fake
    doc = fake.add("report", None, mime=DOCUMENT)
    fake.exports[doc.id] = b"PK docx"
    fake.add("form", None, mime="application/vnd.google-apps.form")
    store = quick.open()
    listed = {entry.path: entry for entry in store.scan("")}
    assert names(listed.values()) == {"report.docx": "file", "form": "other"}
    assert listed["report.docx"].size is None
    assert listed["report.docx"] == store.stat("report.docx")
    assert get(store, "report.docx") == b"PK docx"
    with store.read("report.docx", start=3) as download:
        assert download.read() == b"docx"
    with pytest.raises(PreconditionFailed):
        store.read("report.docx", if_version="doc-1")
    assert names(quick.open(export_formats="pdf").scan("")) == {"report.pdf": "file", "form": "other"}
    assert names(quick.open(export_formats="").scan("")) == {"report": "other", "form": "other"}


def test_a_document_is_not_replaced_by_a_file(quick):
    quick.fake.add("report", None, mime=DOCUMENT)
    with pytest.raises(Unsupported):
        quick.open().write("report.docx", BytesSource(b"x"))
    assert quick.fake.tree() == {"report": None}


def test_a_document_too_large_to_be_exported_says_so(quick):
    doc = quick.fake.add("report", None, mime=DOCUMENT)
    quick.fake.exports[doc.id] = b"x" * 10_000_001
    with pytest.raises(TooLarge, match="too large"):
        quick.open().read("report.docx")


def test_documents_move_and_copy_as_documents(quick):
    fake, store = quick.fake, quick.open()
    doc = fake.add("a/report", None, mime=DOCUMENT)
    fake.exports[doc.id] = b"PK"
    assert store.move("a/report.docx", "b/paper.docx").path == "b/paper.docx"
    assert fake.find("b/paper") == [doc]
    assert get(store, store.copy("b/paper.docx", "c/copy.docx").path) == b"PK"
    with pytest.raises(Unsupported):
        store.move("b/paper.docx", "b/paper.odt")


# ---- the rest


def test_a_file_taken_for_malware_needs_to_be_acknowledged(quick):
    bad = quick.fake.add("bad", b"virus")
    quick.fake.abusive.add(bad.id)
    with pytest.raises(PermissionDenied, match="acknowledge_abuse"):
        get(quick.open(), "bad")
    assert get(quick.open(acknowledge_abuse=True), "bad") == b"virus"


def test_a_link_lets_everybody_read(quick):
    store = quick.open()
    store.write("dir/f", BytesSource(b"x"))
    handle = quick.fake.find("dir/f")[0].id
    assert store.link("dir/f") == f"https://drive.google.com/file/d/{handle}/view?usp=drivesdk"
    assert quick.fake.permissions == {handle: [{"role": "reader", "type": "anyone"}]}
    with pytest.raises(Unsupported):
        store.link("dir/f", expires=60.0)
    with pytest.raises(NotFound):
        store.link("nothing")


def test_usage(quick):
    quick.open().write("f", BytesSource(b"x" * 1000))
    usage = quick.open().usage()
    assert (usage.total, usage.used) == (15 * 1024**3, 1000)


def test_changes_of_what_was_never_seen_ask_for_a_new_listing(quick):
    old = quick.fake.add("old", b"x")
    store = quick.open()
    cursor = store.changes(None).cursor
    old.name = "renamed"
    quick.fake.change(old)
    assert store.changes(cursor).reset
    list(store.scan(""))
    cursor = store.changes(None).cursor
    old.name = "again"
    quick.fake.change(old)
    assert set(store.changes(cursor).paths) == {"renamed", "again"}


def test_changes_over_many_pages(new_lab):
    lab = new_lab(FakeGDrive(page=3))
    store = lab.open()
    cursor = store.changes(None).cursor
    for number in range(10):
        lab.fake.add(f"dir/f{number}")
    changed = store.changes(cursor)
    assert set(changed.paths) == {"dir", *(f"dir/f{number}" for number in range(10))}
    assert store.changes(changed.cursor).paths == ()


def test_a_directory_where_a_file_is_wanted(quick):
    quick.fake.folder("dir")
    store = quick.open()
    for call in (store.read, store.delete, lambda path: store.write(path, BytesSource(b""))):
        with pytest.raises(IsADirectory):
            call("dir")


def test_the_login_is_declared_for_the_command():
    login = PROVIDER.login
    assert login.client_id == "client_id"
    assert PROVIDER.option(login.client_id) is not None
    assert PROVIDER.option(login.client_secret).secret
    assert ("access_type", "offline") in login.parameters


def test_batches_hold_a_hundred_calls(quick):
    fake, store = quick.fake, quick.open()
    for number in range(250):
        fake.add(f"f{number}", parent=fake.root)
    results = list(store.delete_many(list(store.scan(""))))
    assert (len(results), {result.error for result in results}) == (250, {None})
    assert (fake.requests["batch"], fake.calls["files.update"]) == (3, 250)


def test_names_outside_ascii(quick):
    name = "ümläut 😀"
    quick.fake.add(name, b"x")
    assert [entry.path for entry in quick.open().scan("")] == [name]
    assert get(quick.open(), name) == b"x"


def test_a_folder_that_another_thread_makes_meanwhile_is_not_made_twice(quick):
    """The question finds nothing, then the folder is made by another thread, then the answer comes."""
    store = quick.open()
    tree = store._tree
    real, made = tree._answer, []

    def late(call, parent, name, answer):
        if name == "dir" and not made:
            made.append("begun")
            made.append(tree.ensure("dir"))
        return real(call, parent, name, answer)

    tree._answer = late
    store.write("dir/f", BytesSource(b"x"))
    assert len(made) == 2
    assert quick.fake.tree() == {"dir": None, "dir/f": b"x"}


@pytest.mark.parametrize("how", ["renamed", "moved", "trashed"])
def test_a_file_that_goes_away_while_it_is_replaced_is_written_anew(quick, how):
    fake, store = quick.fake, quick.open()
    file = fake.add("dir/f", b"old")
    other = fake.folder("other")

    def meanwhile():
        if how == "renamed":
            file.name = "g"
        elif how == "moved":
            file.parents = [other.id]
        else:
            file.explicitly_trashed = True
        return rate_limited()

    fake.fail("upload.update", meanwhile)
    entry = store.write("dir/f", BytesSource(b"new"))
    [made] = fake.find("dir/f")
    assert (made.content, made.id) == (b"new", entry.id)
    assert made is not file
