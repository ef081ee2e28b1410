"""Opening SQLite files: durable, private, and never a damaged one."""

import contextlib
import os
import sqlite3
import stat

import pytest

from cftool.core.errors import Locked, QuotaExceeded, StoreError
from cftool.disk import sqlite
from cftool.testing.crash import every_traced_death

NOW = 1_700_000_000.0


def fill(path):
    connection = sqlite.open(path)
    connection.execute("CREATE TABLE t (name TEXT PRIMARY KEY, value TEXT)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO t VALUES (?, 'old')", [(f"n{number}",) for number in range(2000)])
    connection.execute("COMMIT")
    connection.close()


def test_new_file_is_private_and_durable(tmp_path):
    path = str(tmp_path / "state.db")
    connection = sqlite.open(path)
    assert connection.created
    assert connection.damaged is None
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.execute("CREATE TABLE t (x)")
    assert stat.S_IMODE(os.stat(path + "-wal").st_mode) == 0o600
    connection.close()
    again = sqlite.open(path)
    assert not again.created
    again.close()


def test_permissions_of_an_old_file_are_narrowed(tmp_path):
    path = str(tmp_path / "state.db")
    fill(path)
    os.chmod(path, 0o644)
    sqlite.open(path).close()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def rubbish(data):
    return b"this is no database at all" * 100


def flipped_page(data):
    middle = len(data) // 2 // 4096 * 4096
    return data[:middle] + bytes(4096) + data[middle + 4096 :]


def cut(data):
    return data[: len(data) // 2]


@pytest.mark.parametrize("damage", [rubbish, flipped_page, cut])
def test_damaged_file_is_set_aside_whole_and_a_new_one_begun(tmp_path, damage, caplog):
    path = str(tmp_path / "state.db")
    fill(path)
    with open(path, "rb") as file:
        data = damage(file.read())
    with open(path, "wb") as file:
        file.write(data)
    connection = sqlite.open(path, now=lambda: NOW)
    assert connection.created
    assert connection.damaged == path + ".damaged-20231114T221320Z"
    assert "is damaged" in caplog.text
    with open(connection.damaged, "rb") as file:
        assert file.read() == data
    assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    connection.close()


def test_second_damage_in_the_same_second_overwrites_nothing(tmp_path):
    path = str(tmp_path / "state.db")
    names = []
    for number in range(3):
        with open(path, "wb") as file:
            file.write(b"rubbish %d" % number * 100)
        connection = sqlite.open(path, now=lambda: NOW)
        names.append(connection.damaged)
        connection.close()
    assert len(set(names)) == 3
    for number, name in enumerate(names):
        with open(name, "rb") as file:
            assert file.read() == b"rubbish %d" % number * 100


def test_log_of_a_damaged_file_goes_with_it(tmp_path):
    path = str(tmp_path / "state.db")
    for suffix in ("", "-wal", "-shm"):
        with open(path + suffix, "wb") as file:
            file.write(b"rubbish" * 100)
    connection = sqlite.open(path, now=lambda: NOW)
    with open(connection.damaged + "-wal", "rb") as file:
        assert file.read() == b"rubbish" * 100
    connection.close()


def test_damage_that_sqlite_has_no_words_for_is_damage_too(tmp_path):
    """What it says of a schema holds bytes of the file, which need not be text."""
    path = str(tmp_path / "state.db")
    fill(path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET name = CAST(x'ff' AS TEXT)")
    connection = sqlite.open(path, now=lambda: NOW)
    assert connection.damaged == path + ".damaged-20231114T221320Z"
    connection.close()


def test_failing_quick_check_counts_as_damage(tmp_path, monkeypatch):
    path = str(tmp_path / "state.db")
    fill(path)

    answers = [("row 7 missing from index",), ("ok",)]

    class Answer:
        def fetchone(self):
            return answers.pop(0)

    class Checked(sqlite.Connection):
        def execute(self, sql, *rest):
            return Answer() if "quick_check" in sql else super().execute(sql, *rest)

    monkeypatch.setattr(sqlite, "Connection", Checked)
    connection = sqlite.open(path)
    assert connection.damaged is not None
    connection.close()


def test_damage_that_comes_back_is_an_error(tmp_path, monkeypatch):
    path = str(tmp_path / "state.db")

    class Broken(sqlite.Connection):
        def execute(self, sql, *rest):
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

    monkeypatch.setattr(sqlite, "Connection", Broken)
    with pytest.raises(StoreError, match="so is a new one"):
        sqlite.open(path)


def test_full_disk_is_no_damage(tmp_path, monkeypatch):
    path = str(tmp_path / "state.db")
    fill(path)

    class Full(sqlite.Connection):
        def execute(self, sql, *rest):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "Connection", Full)
        with pytest.raises(QuotaExceeded):
            sqlite.open(path)
    connection = sqlite.open(path)
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (2000,)
    connection.close()


def test_database_that_is_busy_is_no_damage(tmp_path):
    path = str(tmp_path / "state.db")
    fill(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        sqlite.open(path, timeout=0.0)
    other.execute("ROLLBACK")
    other.close()
    connection = sqlite.open(path)
    assert connection.damaged is None
    connection.close()


def test_two_never_open_at_once(tmp_path):
    path = str(tmp_path / "state.db")
    time = [0.0]
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        time[0] += 1.0

    with sqlite._alone(path, 0.0, lambda: 0.0, sleep), pytest.raises(Locked):
        sqlite.open(path, timeout=2.5, clock=lambda: time[0], sleep=sleep)
    assert len(slept) == 3
    sqlite.open(path, timeout=2.5, clock=lambda: time[0], sleep=sleep).close()


def test_missing_directory_is_a_store_error(tmp_path):
    with pytest.raises(StoreError):
        sqlite.open(str(tmp_path / "none" / "state.db"))


def test_lock_that_fails_otherwise_is_told(tmp_path, monkeypatch):
    def refuse(fd, how):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(sqlite.fcntl, "flock", refuse)
    with pytest.raises(StoreError, match="input/output error"):
        sqlite.open(str(tmp_path / "state.db"))


@pytest.mark.crash
def test_transaction_is_whole_or_absent_after_death_at_any_system_call(tmp_path):
    path = str(tmp_path / "db" / "state.db")
    mark = str(tmp_path / "mark")

    def reset():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        for name in os.listdir(os.path.dirname(path)):
            os.unlink(os.path.join(os.path.dirname(path), name))
        if os.path.exists(mark):
            os.unlink(mark)
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("CREATE TABLE t (name TEXT PRIMARY KEY, value TEXT)")
        connection.execute("INSERT INTO t VALUES ('a', 'old'), ('b', 'old')")
        connection.close()

    def action():
        connection = sqlite.open(path)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE t SET value = 'new' WHERE name = 'a'")
        connection.execute("UPDATE t SET value = 'new' WHERE name = 'b'")
        connection.execute("COMMIT")
        os.close(os.open(mark, os.O_CREAT | os.O_WRONLY, 0o600))

    count = 0
    try:
        for death in every_traced_death(reset, action):
            count += 1
            connection = sqlite.open(path)
            values = [value for (value,) in connection.execute("SELECT value FROM t ORDER BY name")]
            assert values in (["old", "old"], ["new", "new"]), death
            assert connection.damaged is None, death
            if os.path.exists(mark):
                assert values == ["new", "new"], death
            connection.close()
    except PermissionError:
        pytest.skip("this machine does not let a process trace its child")
    assert count > 100
