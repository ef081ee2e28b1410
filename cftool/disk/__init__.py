"""The safety kernel for local files: atomic writes, directory descriptors, kernel locks, opening SQLite."""
