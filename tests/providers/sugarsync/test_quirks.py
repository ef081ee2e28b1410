"""What SugarSync does differently from a file system, one test each."""

import io
from dataclasses import replace

import pytest

from cftool.core.errors import (
    ConfigError,
    IntegrityError,
    Interrupted,
    InvalidName,
    IsADirectory,
    LoginRequired,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    ProtocolError,
    QuotaExceeded,
    RateLimited,
    SourceChanged,
    StoreError,
    TemporaryError,
    TooLarge,
    Unsupported,
)
from cftool.core.provider import PasswordLogin, Secret
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, Entry, Kind, ReadItem, WriteItem
from cftool.http.types import Response, Verdict
from cftool.testing.fake_sugarsync import BASE, PASSWORD, REFRESH, USER, Habits
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from cftool.testing.targets import MemoryTarget
from cftool_providers.sugarsync import PROVIDER, _errors, _pages
from tests.providers.sugarsync.conftest import hasten

BIG = bytes(range(256)) * 24_000  # more than is collected in memory


def write(store, path, data=b"content"):
    return store.write(path, BytesSource(data))


class Failing(BytesSource):
    """A source that cannot be read to its end."""

    def open(self):
        class Reader(io.BytesIO):
            def read(self, size=-1):
                raise SourceChanged("changed while it was read")

        return Reader(super().load())


def read(store, path, **how):
    with store.read(path, **how) as download:
        return download.read()


def names(store, path):
    return sorted(entry.name for entry in store.scan(path))


# ---- the root


def test_the_root_lists_sync_folders_and_not_the_deleted_files(quick):
    quick.fake.folder("One")
    quick.fake.folder("Two/inner")
    assert names(quick.open(), "") == ["One", "Two"]
    assert {entry.path for entry in quick.open().walk("")} == {"One", "Two", "Two/inner"}


def test_a_file_in_the_root_is_refused_by_name_before_any_request(quick):
    store = quick.open()
    store.features  # noqa: B018 - the account is known
    quick.fake.ops.clear()
    with pytest.raises(InvalidName, match="sync folders only") as caught:
        write(store, "file")
    assert caught.value.path == "file"
    assert quick.fake.ops.total() == 0


def test_making_a_sync_folder_finds_its_link_by_a_listing(quick):
    made = quick.open().mkdir("New")
    assert (made.path, made.kind) == ("New", Kind.DIRECTORY)
    assert made.id == quick.fake.link(quick.fake.folder("New"))


def test_sync_folders_are_neither_moved_nor_made_by_moving(quick):
    write(quick.open(), "Top/dir/file")
    store = quick.open()
    for src, dst in (("Top", "Other"), ("Top", "Top2/inner"), ("Top/dir", "Other"), ("Top/dir/file", "file")):
        with pytest.raises(StoreError):
            store.move(src, dst)
    assert quick.fake.tree() == {"Top/dir/file": b"content"}


def test_an_empty_sync_folder_can_be_removed(quick):
    store = quick.open()
    store.mkdir("Top")
    store.rmdir("Top")
    assert names(store, "") == []


# ---- what is not there yet


def test_a_file_without_content_is_shown_to_no_one(quick):
    quick.fake.put("Top/there")
    quick.fake.put("Top/coming", None)
    store = quick.open()
    assert names(store, "Top") == ["there"]
    assert [entry.path for entry in store.walk("Top")] == ["Top/there"]
    for call in (store.stat, read_it(store), store.delete):
        with pytest.raises(NotFound):
            call("Top/coming")
    assert quick.fake.placeholders() == ["coming"]


def read_it(store):
    return lambda path: read(store, path)


def test_an_upload_of_somebody_else_is_not_filled_but_an_abandoned_one_is(quick):
    number = quick.fake.put("Top/file", None)
    store = quick.open()
    store._uploader._wall = lambda: quick.fake.clock / 1000 + 60
    write(store, "Top/file", b"ours")
    assert quick.fake.files[number].data is None
    store.delete("Top/file")
    store._uploader._wall = lambda: quick.fake.clock / 1000 + 7200
    write(store, "Top/file", b"filled")
    assert quick.fake.files[number].data == b"filled"


def test_temporary_names_are_hidden_and_listed_as_leftovers_with_what_nobody_filled(quick):
    quick.fake.put("Top/.cftool-0123456789ab-1.tmp", b"half", modified=1_600_000_000_000)
    quick.fake.put("Top/never", None, modified=1_600_000_000_000)
    quick.fake.put("Top/coming", None)
    quick.fake.put("Top/there")
    store = quick.open()
    assert names(store, "Top") == ["there"]
    assert list(store.leftovers("Top")) == []
    found = {left.path: left for left in store.leftovers("Top", older_than=3600)}
    assert {path: left.size for path, left in found.items()} == {"Top/.cftool-0123456789ab-1.tmp": 4, "Top/never": None}
    for left in found.values():
        store.remove_leftover(left)
        store.remove_leftover(left)
    assert list(store.leftovers("Top", older_than=3600)) == []
    assert quick.fake.trashed() == [".cftool-0123456789ab-1.tmp", "never"]


# ---- names that are there twice


def test_files_of_one_name_are_all_shown_and_the_newest_keeps_it(quick):
    old = quick.fake.put("Top/a.txt", b"old")
    new = quick.fake.put("Top/a.txt", b"newest")
    store = quick.open()
    twin = f"a (duplicate {old}).txt"
    assert {e.name: read(store, e.path) for e in store.scan("Top")} == {"a.txt": b"newest", twin: b"old"}
    assert store.stat("Top/a.txt").id == quick.fake.link(new)
    store.delete(f"Top/{twin}")
    assert quick.fake.tree() == {"Top/a.txt": b"newest"}


def test_folders_of_one_name_are_all_shown_and_the_first_keeps_it(quick):
    first = quick.fake.folder("Top/dir")
    quick.fake.put("Top/dir/one")
    quick.fake.folders["second"] = replace(quick.fake.folders[first])
    second = quick.fake._id()
    quick.fake.folders[second] = quick.fake.folders.pop("second")
    store = quick.open()
    assert names(store, "Top") == ["dir", f"dir (duplicate {second})"]
    write(store, f"Top/dir (duplicate {second})/two")
    assert [file.parent for file in quick.fake.files.values()] == [first, second]


def test_a_file_and_a_folder_of_one_name_are_both_shown(quick):
    number = quick.fake.put("Top/x", b"file")
    quick.fake.put("Top/x/inside")
    assert names(quick.open(), "Top") == ["x", f"x (duplicate {number})"]


def test_a_name_in_another_case_is_the_same_file(quick):
    store = quick.open()
    write(store, "Top/Dir/File", b"one")
    write(store, "Top/dir/FILE", b"two")
    assert quick.fake.tree() == {"Top/Dir/FILE": b"two"}
    assert not store.features.names.case_sensitive


def test_moving_a_file_to_another_case_of_its_name(quick):
    store = quick.open()
    write(store, "Top/file", b"one")
    assert store.move("Top/file", "Top/FILE").path == "Top/FILE"
    assert quick.fake.tree() == {"Top/FILE": b"one"}


# ---- folders that somebody renames


def test_a_write_after_a_rename_elsewhere_goes_where_its_path_says(quick):
    store = quick.open()
    write(store, "Top/dir/one")
    quick.fake.folders[quick.fake.folder("Top/dir")].name = "renamed"
    write(store, "Top/dir/two")
    assert quick.fake.tree() == {"Top/renamed/one": b"content", "Top/dir/two": b"content"}


def test_a_write_after_a_move_elsewhere_goes_where_its_path_says(quick):
    store = quick.open()
    write(store, "Top/a/dir/one")
    quick.fake.folders[quick.fake.folder("Top/a/dir")].parent = quick.fake.folder("Top/b")
    write(store, "Top/a/dir/two")
    assert quick.fake.tree() == {"Top/b/dir/one": b"content", "Top/a/dir/two": b"content"}


def test_a_write_after_a_rename_of_a_sync_folder_does_not_follow_it(quick):
    store = quick.open()
    write(store, "Top/one")
    quick.fake.folders[quick.fake.folder("Top")].name = "Renamed"
    write(store, "Top/two")
    assert quick.fake.tree() == {"Renamed/one": b"content", "Top/two": b"content"}


def test_a_folder_in_the_deleted_files_is_not_written_to(quick):
    store = quick.open()
    write(store, "Top/dir/one")
    quick.fake.folders[quick.fake.folder("Top/dir")].parent = "9"
    write(store, "Top/dir/two")
    assert quick.fake.tree() == {"Top/dir/two": b"content"}


def test_a_delete_after_a_rename_elsewhere_deletes_nothing_there(quick):
    store = quick.open()
    write(store, "Top/dir/file")
    quick.fake.folders[quick.fake.folder("Top/dir")].name = "renamed"
    with pytest.raises(NotFound):
        store.delete("Top/dir/file")
    assert quick.fake.tree() == {"Top/renamed/file": b"content"}


def test_a_batch_believes_a_verification_for_ten_seconds_only(quick):
    store = quick.open()
    clock = hasten(store)
    entries = [write(store, f"Top/dir/file{n}") for n in range(3)]
    list(store.walk("Top"))
    quick.fake.folders[quick.fake.folder("Top/dir")].name = "renamed"
    clock.now += 11
    assert [result.error for result in store.delete_many(entries)] == [None] * 3
    assert len(quick.fake.tree()) == 3


def test_what_changed_since_it_was_listed_is_not_deleted_by_a_batch(quick):
    store = quick.open()
    hasten(store).now = 100
    entry = write(store, "Top/file")
    store._service.client.clock.now += 60
    number = entry.id.rpartition(":")[2]
    quick.fake.files[number].data = b"changed"
    quick.fake.files[number].modified += 5
    [result] = store.delete_many([entry])
    assert isinstance(result.error, PreconditionFailed)
    assert quick.fake.tree() == {"Top/file": b"changed"}


# ---- replacing


def test_a_replacement_is_seen_whole_before_the_old_file_goes(quick):
    store = quick.open()
    write(store, "Top/file", b"old")
    quick.fake.log.clear()
    write(store, "Top/file", b"new content")
    steps = [op for op, _ in quick.fake.log if op not in {"GET contents", "GET folder"}]
    assert steps == ["POST file", "PUT data", "GET file", "PUT file", "PUT file"]
    assert quick.fake.log[-2] == ("PUT file", "file")
    assert quick.fake.trashed() == ["file"]


@pytest.mark.parametrize("size", [100, len(BIG)])
def test_a_cut_upload_never_replaces_a_whole_file(quick, size):
    store = quick.open()
    hasten(store)
    write(store, "Top/file", b"old")
    quick.fake.cut_upload(times=100)
    with pytest.raises(TemporaryError):
        write(store, "Top/file", BIG[:size])
    assert quick.fake.tree() == {"Top/file": b"old"}
    assert quick.fake.placeholders() == []


def test_a_stump_that_the_service_takes_for_whole_never_replaces_a_whole_file(quick):
    store = quick.open()
    write(store, "Top/file", b"old")

    def shorten(_request, answer):
        newest = max(quick.fake.files, key=lambda number: quick.fake.files[number].modified)
        quick.fake.files[newest].data = b"stump"
        return answer

    quick.fake.change("PUT data", shorten)
    with pytest.raises(IntegrityError):
        write(store, "Top/file", b"new content")
    assert quick.fake.tree() == {"Top/file": b"old"}


def test_a_stump_of_a_new_file_is_an_error(quick):
    quick.fake.folder("Top")

    def shorten(_request, answer):
        for file in quick.fake.files.values():
            file.data = b"stump"
        return answer

    quick.fake.change("PUT data", shorten, times=2)
    store = quick.open()
    with pytest.raises(IntegrityError, match="5 are there"):
        write(store, "Top/file", b"new content")
    [result] = store.write_many([WriteItem("Top/other", BytesSource(b"new content"))])
    assert isinstance(result.error, IntegrityError)


def test_where_a_second_name_is_refused_the_old_file_comes_back_if_the_new_one_cannot_have_it(new_lab):
    lab = new_lab(Habits(duplicates=False))
    store = lab.open()
    write(store, "Top/file", b"old")
    lab.fake.fail("PUT file", (400, "No"), name="file", times=1)
    lab.fake.fail("PUT file", (400, "No"), name="file", times=1, skip=1)
    with pytest.raises(StoreError):
        write(store, "Top/file", b"new")
    assert lab.fake.tree()["Top/file"] == b"old"


def test_a_source_that_fails_leaves_nothing_behind(quick):
    store = quick.open()
    with pytest.raises(StoreError):
        store.write("Top/file", Failing(BIG))
    assert (quick.fake.tree(), quick.fake.placeholders()) == ({"Top": None}, [])


def test_somebody_elses_file_of_the_same_name_is_kept_and_told(quick):
    quick.fake.folder("Top")

    def race(_request, answer):
        quick.fake.put("Top/file", b"theirs", modified=quick.fake.clock + 10_000)
        return answer

    quick.fake.change("PUT data", race)
    with pytest.raises(PreconditionFailed, match="ours is kept as"):
        write(quick.open(), "Top/file", b"ours")
    assert sorted(quick.fake.tree().values()) == [b"ours", b"theirs"]


# ---- deleting


def test_delete_moves_to_the_deleted_files_unless_told_otherwise(quick):
    write(quick.open(), "Top/soft")
    quick.open().delete("Top/soft")
    assert quick.fake.trashed() == ["soft"]
    write(quick.open(), "Top/hard")
    quick.open(hard_delete=True).delete("Top/hard")
    assert (quick.fake.trashed(), quick.fake.tree()) == (["soft"], {"Top": None})


def test_a_folder_is_removed_for_good_only_when_nothing_is_in_it(quick):
    quick.fake.folder("Top/empty")
    quick.fake.put("Top/coming/file", None)
    store = quick.open(hard_delete=True)
    store.rmdir("Top/empty")
    store.rmdir("Top/coming")
    assert quick.fake.ops["DELETE folder"] == 1
    assert quick.fake.trashed() == ["coming"]
    assert names(store, "Top") == []


def test_moving_a_folder_is_one_request(quick):
    store = quick.open()
    for n in range(3):
        write(store, f"Top/a/b/file{n}")
    quick.fake.ops.clear()
    moved = store.move("Top/a/b", "Top/c")
    assert (moved.path, moved.is_dir) == ("Top/c", True)
    assert {op: n for op, n in quick.fake.ops.items() if op.startswith("P")} == {"PUT folder": 1}
    assert quick.fake.tree().keys() == {"Top/a", *(f"Top/c/file{n}" for n in range(3))}


def test_a_copy_never_passes_here(quick):
    store = quick.open()
    write(store, "Top/file", b"one")
    write(store, "Top/old", b"old")
    quick.fake.ops.clear()
    store.copy("Top/file", "Top/new")
    store.copy("Top/file", "Top/old")
    assert (quick.fake.ops["GET data"], quick.fake.ops["PUT data"], quick.fake.ops["POST fileCopy"]) == (0, 0, 2)
    assert quick.fake.tree() == dict.fromkeys(("Top/file", "Top/new", "Top/old"), b"one")


# ---- answers that get lost


@pytest.mark.parametrize("op", ["POST file", "PUT data", "POST folder", "POST syncFolder", "GET contents"])
def test_a_lost_answer_makes_nothing_twice(lab, op):
    lab.fake.lose(op)
    store = lab.open()
    hasten(store)
    write(store, "Top/dir/file", b"one")
    assert lab.fake.tree() == {"Top/dir/file": b"one"}
    assert lab.fake.placeholders() == []
    assert len(lab.fake.folders) == 3


@pytest.mark.parametrize("op", ["POST file", "PUT data", "PUT file", "GET file"])
def test_a_lost_answer_replaces_once(quick, op):
    store = quick.open()
    hasten(store)
    write(store, "Top/file", b"old")
    quick.fake.lose(op)
    write(store, "Top/file", b"new")
    assert quick.fake.tree() == {"Top/file": b"new"}
    assert (quick.fake.trashed(), quick.fake.placeholders()) == (["file"], [])


def test_a_lost_answer_to_a_copy_copies_once(quick):
    store = quick.open()
    write(store, "Top/file", b"one")
    quick.fake.lose("POST fileCopy")
    store.copy("Top/file", "Top/new")
    assert quick.fake.tree() == {"Top/file": b"one", "Top/new": b"one"}


@pytest.mark.parametrize("op", ["POST file", "POST folder", "POST syncFolder"])
def test_what_is_never_answered_is_a_temporary_error(quick, op):
    quick.fake.fail(op, FakeResponse(200, fault=Fault(Wire.RESET)), times=100)
    store = quick.open()
    hasten(store)
    with pytest.raises(TemporaryError) as caught:
        write(store, "Top/dir/file")
    assert caught.value.kind == "temporary_error"


# ---- reading


def test_ranges_are_asked_for_and_the_answer_is_checked(lab):
    lab.fake.put("Top/file", BIG)
    store = lab.open()
    assert read(store, "Top/file", start=1000, end=2000) == BIG[1000:2000]
    wrong = ("Content-Range", f"bytes 0-999/{len(BIG)}")
    answers = [
        FakeResponse(200, (), BIG),
        FakeResponse(206, (wrong,), BIG[:1000]),
        FakeResponse(206, (), BIG[1000:2000]),
        FakeResponse(206, (("Content-Range", "bytes 1000-1999/5"),), BIG[1000:2000]),
    ]
    for answer in answers:
        lab.fake.fail("GET data", answer)
        with pytest.raises((ProtocolError, IntegrityError)):
            read(store, "Top/file", start=1000, end=2000)
    lab.fake.fail("GET data", FakeResponse(206, (wrong,), BIG[:1000]))
    with pytest.raises((ProtocolError, IntegrityError)):
        read(store, "Top/file")


@pytest.mark.parametrize("size", [1000, len(BIG)])
def test_a_body_that_is_not_as_long_as_the_file_is_refused(lab, size):
    lab.fake.put("Top/file", BIG[:size])
    store = lab.open()
    hasten(store)
    [entry] = store.scan("Top")
    for data in (BIG[: size - 1], BIG[:size] + b"x", b""):
        lab.fake.fail("GET data", FakeResponse(200, (), data), times=3)
        with pytest.raises(StoreError):
            read(store, "Top/file")
        target = MemoryTarget()
        [result] = store.read_many([ReadItem(entry, target)])
        assert isinstance(result.error, StoreError)
        assert target.data is None
        lab.fake._rules.clear()


def test_an_edit_by_somebody_else_is_another_version_even_at_the_same_size(quick):
    number = quick.fake.put("Top/file", b"one")
    store = quick.open()
    version = store.stat("Top/file").version
    quick.fake.files[number].data = b"two"
    quick.fake.files[number].modified += 1
    with pytest.raises(PreconditionFailed):
        read(store, "Top/file", if_version=version)


def test_listings_know_neither_times_nor_hashes_and_features_say_so(quick):
    quick.fake.put("Top/file", modified=1_700_000_000_123)
    store = quick.open()
    [entry] = store.scan("Top")
    assert (entry.modified_ns, dict(entry.hashes)) == (None, {})
    assert entry.stored_ns == 1_700_000_000_123_000_000
    features = store.features
    assert (features.time_precision_ns, features.hashes, features.listed_time) == (None, frozenset(), False)
    assert not features.caps & (Cap.IF_ABSENT | Cap.IF_VERSION | Cap.SET_MODIFIED | Cap.RESUME)


# ---- the account


def test_usage_is_the_accounts_quota(new_lab):
    lab = new_lab(Habits(quota=5000))
    lab.fake.put("Top/file", b"x" * 1200)
    usage = lab.open().usage()
    assert (usage.total, usage.used, usage.free) == (5000, 1200, 3800)


def test_a_full_account_is_said_to_be_full_and_loses_nothing(new_lab):
    lab = new_lab(Habits(quota=1000))
    store = lab.open()
    write(store, "Top/file", b"x" * 600)
    with pytest.raises(QuotaExceeded, match="quota exceeded"):
        write(store, "Top/file", b"y" * 500)
    assert lab.fake.tree() == {"Top/file": b"x" * 600}
    assert lab.fake.placeholders() == []


def test_link_enables_the_public_link_of_a_file(quick):
    number = quick.fake.put("Top/file")
    store = quick.open()
    assert store.link("Top/file") == f"https://www.sugarsync.com/pf/D{number}"
    assert quick.fake.files[number].public
    with pytest.raises(Unsupported):
        store.link("Top/file", expires=60)
    with pytest.raises(IsADirectory):
        store.link("Top")


def test_the_identity_is_the_account_whatever_token_leads_to_it(quick):
    other = f"{BASE}/app-authorization/another"
    quick.fake.refresh_tokens.add(other)
    first, second = quick.open(), quick.open(refresh_token=Secret(other))
    assert first.features.identity == second.features.identity == "sugarsync:566494"


# ---- logging in


def login(quick, **answers):
    assert isinstance(PROVIDER.login, PasswordLogin)
    given = {"user": Secret(USER), "password": Secret(PASSWORD)} | {k: Secret(v) for k, v in answers.items()}
    return PROVIDER.login.trade(quick.values(refresh_token=None), given, quick.context())


def test_user_and_password_are_traded_for_a_refresh_token_and_kept_nowhere(lab, tmp_path):
    token = login(lab)
    assert token.reveal() in lab.fake.refresh_tokens
    assert list(lab.open(refresh_token=token).scan("")) == []
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes()
            assert USER.encode() not in path.read_bytes()


def test_a_wrong_password_is_a_login_error_and_is_not_repeated(quick):
    with pytest.raises(LoginRequired, match="Invalid username or password") as caught:
        login(quick, password="wrong-secret")
    assert "wrong-secret" not in str(caught.value)
    assert quick.fake.ops["login"] == 1


def test_a_revoked_refresh_token_asks_for_a_login(quick):
    quick.fake.refresh_tokens.clear()
    with pytest.raises(LoginRequired, match="cftool config login lab"):
        list(quick.open().scan(""))
    with pytest.raises(LoginRequired, match="no login yet"):
        list(quick.open(refresh_token=None).scan(""))


def test_an_expired_access_token_is_renewed_in_the_middle(lab):
    store = lab.open()
    write(store, "Top/one")
    lab.fake.expire()
    write(store, "Top/two")
    assert lab.fake.ops["token"] == 2
    assert lab.fake.tree().keys() == {"Top/one", "Top/two"}


def test_the_end_of_a_token_is_read_by_the_services_clock(quick):
    quick.fake.clock = 1_000_000_000_000  # decades behind ours
    store = quick.open()
    write(store, "Top/one")
    write(store, "Top/two")
    assert quick.fake.ops["token"] == 1


def test_the_access_token_goes_as_it_is_and_into_no_log(lab, caplog):
    caplog.set_level("DEBUG")
    write(lab.open(), "Top/one")
    [token] = lab.fake.tokens
    assert token not in caplog.text
    assert REFRESH not in caplog.text


def test_missing_keys_are_a_configuration_error(quick):
    for name in ("app_id", "access_key_id", "private_access_key"):
        with pytest.raises(ConfigError, match=name):
            quick.open(**{name: None})
    with pytest.raises(ConfigError, match="refresh_token"):
        quick.open(refresh_token=Secret("https://evil.example/app-authorization/x"))


def test_tokens_of_another_place_are_refused(quick):
    place = ("Location", "https://evil.example/authorization/x")
    quick.fake.change("token", lambda _q, a: replace(a, headers=(*a.headers[:1], place)), times=9)
    with pytest.raises(ProtocolError, match="no token"):
        list(quick.open().scan(""))


# ---- errors


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "Bad request", StoreError),
        (400, "Can not move sync folder.", StoreError),
        (401, "Authorization required", LoginRequired),
        (403, "Forbidden", PermissionDenied),
        (403, "Storage quota exceeded", QuotaExceeded),
        (404, "Resource not found", NotFound),
        (413, "Too large", TooLarge),
        (429, "Too many", RateLimited),
        (500, "Oops", TemporaryError),
        (503, "Busy", RateLimited),
        (507, "Full", QuotaExceeded),
        (304, "", ProtocolError),
    ],
)
def test_error_pages_say_what_is_wrong(status, text, kind):
    page = f"<html><head><style>h3 {{}}</style></head><body><h3>{text} &amp;\x1b[2J <b>more</b></h3></body></html>"
    error = _errors.error(Response(status, {}), page.encode())
    assert type(error) is kind
    assert status == 304 or f"{text} &\\x1b[2J more" in str(error)


def test_verdicts_of_the_retry_policy():
    found = {status: _errors.classify(status, {}, b"") for status in (200, 400, 401, 403, 404, 429, 500, 502, 503, 509)}
    assert found == {
        200: Verdict.ANSWER,
        400: Verdict.ANSWER,
        401: Verdict.AUTH,
        403: Verdict.ANSWER,
        404: Verdict.ANSWER,
        429: Verdict.SLOW_DOWN,
        500: Verdict.RETRY,
        502: Verdict.RETRY,
        503: Verdict.SLOW_DOWN,
        509: Verdict.RETRY,
    }


def test_times_are_read_with_their_offset():
    assert _pages.time_ns("2012-03-28T23:30:44.463+03:00") == 1_332_966_644_463_000_000
    assert _pages.time_ns("2010-02-11T15:26:52.000-08:00") == _pages.time_ns("2010-02-11T23:26:52Z")


def test_delete_many_takes_entries_by_their_path_alone(quick):
    store = quick.open()
    write(store, "Top/dir/file")
    results = list(store.delete_many([Entry("Top/dir/file", Kind.FILE), Entry("Top/dir", Kind.DIRECTORY)]))
    assert [result.error for result in results] == [None, None]
    assert quick.fake.tree() == {"Top": None}


def test_a_listing_may_be_changed_while_it_is_gone_through(quick):
    store = quick.open()
    hasten(store)
    for n in range(5):
        write(store, f"Top/file{n}")
    for entry in store.scan("Top"):
        store.delete(entry.path)
        write(store, f"Top/new {entry.name}")
    assert names(store, "Top") == [f"new file{n}" for n in range(5)]


def test_an_interrupt_is_no_result_of_one_file(quick):
    stop = []
    store = quick.open(cancelled=lambda: bool(stop))
    entries = [write(store, f"Top/file{n}") for n in range(3)]
    stop.append(True)
    for batch in (
        store.write_many(WriteItem(f"Top/new{n}", BytesSource(b"x")) for n in range(3)),
        store.read_many(ReadItem(entry, MemoryTarget()) for entry in entries),
        store.delete_many(entries),
    ):
        with pytest.raises(Interrupted):
            list(batch)
    assert len(quick.fake.tree()) == 3
