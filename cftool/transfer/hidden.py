"""The name of the trash, and the rule that goes with it: no run copies, compares or deletes what lies below it.

A directory of this name is left out of both listings wherever it stands, so that a later run without --trash, or one on
a directory above, takes nothing out of it. `rm`, `trash empty` and `mv` of a whole directory do reach it.
"""

TRASH = ".cftool-trash"
_INSIDE = f"/{TRASH}/"


def is_hidden(path: str) -> bool:
    """Whether `path` is a trash or lies in one."""
    return TRASH in path and _INSIDE in f"/{path}/"
