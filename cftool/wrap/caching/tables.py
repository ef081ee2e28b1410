"""The tables of the journal, and the sums that are kept of them. DESIGN.md explains each column.

Those of small content and of file times are in `small` and `file_times`.
"""

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS content (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB, size INTEGER NOT NULL, version TEXT,
    modified_ns INTEGER, stored_ns INTEGER, remote_id TEXT, hashes TEXT NOT NULL DEFAULT '{}',
    blocks BLOB, used REAL NOT NULL DEFAULT 0, allocated INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS content_path ON content (path) WHERE path IS NOT NULL;
CREATE INDEX IF NOT EXISTS content_used ON content (used) WHERE path IS NOT NULL;
CREATE TABLE IF NOT EXISTS pending (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, path BLOB NOT NULL, dst BLOB,
    is_dir INTEGER NOT NULL DEFAULT 0, content INTEGER REFERENCES content (id), size INTEGER, modified_ns INTEGER,
    base TEXT, after INTEGER, state TEXT NOT NULL, created REAL NOT NULL, due REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_try REAL NOT NULL DEFAULT 0,
    error_kind TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS pending_after ON pending (after) WHERE after IS NOT NULL;
CREATE INDEX IF NOT EXISTS pending_content ON pending (content) WHERE content IS NOT NULL;
CREATE TABLE IF NOT EXISTS local_dir (path BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS editing (content INTEGER PRIMARY KEY);
"""
# Kept in memory by the connection itself, so that they are right whatever a transaction does. What is inserted is
# counted here (`Added`): a trigger would take a third of the time that the row does.
TOTALS = """
PRAGMA temp_store = MEMORY;
CREATE TEMP TABLE totals AS SELECT coalesce(sum(allocated), 0) AS everything,
    coalesce(sum(CASE WHEN path IS NOT NULL THEN allocated END), 0) AS clean FROM content;
CREATE TEMP TRIGGER content_gone AFTER DELETE ON main.content BEGIN
    UPDATE totals SET everything = everything - old.allocated, clean = clean - old.allocated * (old.path IS NOT NULL);
END;
CREATE TEMP TRIGGER content_changed AFTER UPDATE OF path, allocated ON main.content BEGIN
    UPDATE totals SET everything = everything + new.allocated - old.allocated,
        clean = clean + new.allocated * (new.path IS NOT NULL) - old.allocated * (old.path IS NOT NULL);
END;
"""
