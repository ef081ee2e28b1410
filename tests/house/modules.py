"""The pages of section 3, of the packages that programs import: made of their `__all__`, signatures and docstrings.

Signatures are shown without annotations, so that every Python makes the same pages; the types are in the source, which
has them all. What the docstrings do not show by example is in EXAMPLES; tests/api/test_readme.py runs that.
"""

import enum
import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tests.house.manual import CAPABILITIES, ending, escaped, line, prose, terms, title


@dataclass(frozen=True, slots=True)
class Example:
    """Lines of Python, and all that they print; those of one page run in this order, in one process."""

    about: str
    code: str
    prints: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    """What one page is of. `rules`: modules whose docstring is a part of the page, by their headings."""

    module: str
    short: str
    rules: dict[str, str]
    related: tuple[str, ...]
    examples: tuple[Example, ...]


API = (
    Example(
        "Write, list and read; `modified_ns` is the file's own time, in nanoseconds since the epoch:",
        """\
from cftool.api import *

store = open_store("work:photos")
write_bytes(store, "2026/beach.jpg", b"sand", modified_ns=1_767_225_600 * 10**9)
write_bytes(store, "2026/may/dune.jpg", b"more sand")
for entry in walk_anyhow(store, "2026"):
    print(entry.path, "directory" if entry.is_dir else entry.size)
print(store.stat("2026/beach.jpg").modified, exists(store, "2027"))
""",
        """\
2026/beach.jpg 4
2026/may directory
2026/may/dune.jpg 9
2026-01-01 00:00:00+00:00 False
""",
    ),
    Example(
        "A local file goes up as a stream, of any size; a part of one comes back:",
        """\
with open("letter.txt", "w") as letter:
    letter.write("Dear Sir")
store.write("letter.txt", LocalSource("letter.txt"))
with store.read("letter.txt", start=5) as download:
    print(download.read(), download.entry.size)
""",
        "b'Sir' 8\n",
    ),
    Example(
        "Every error says what was done, and where; NotFound is raised only where the service confirms it:",
        """\
try:
    store.stat("2027/beach.jpg")
except NotFound as error:
    print(error.op, error.path, error.retryable)
except StoreError as error:
    print("it could not be found out:", error)
""",
        "stat 2027/beach.jpg False\n",
    ),
    Example(
        "What a service may not be able to do is asked first, or is `Unsupported`, before anything is sent:",
        """\
if Cap.COPY in store.features.caps:
    store.copy("letter.txt", "copy.txt")
else:
    copy_anyhow(store, "letter.txt", "copy.txt")  # through this machine
move_anyhow(store, "2026/may", "2026/june")  # by the service where it can
print([result.path for result in remove_tree(store, "2026") if result.error is None])
store.close()
""",
        "['2026/beach.jpg', '2026/june/dune.jpg', '2026/june', '2026']\n",
    ),
    Example(
        "With the write-back cache of mounts; `sync` raises where something stays behind:",
        """\
with open_store("work:photos", cached=True) as store:
    write_bytes(store, "new.txt", b"safe on this disk")
    print(store.pending())
    try:
        store.sync(timeout=60)
    except StoreError as error:  # cached.NotUploaded: error.unsent has path and reason of each
        print("later, then:", error)
    print(store.pending())
""",
        "['new.txt']\n[]\n",
    ),
)
CLOUDFUSION = (
    Example(
        "Paths are absolute; each call returns when the service has it:",
        """\
import io
from cftool.cloudfusion import *

store = open_store("work:photos")
store.store_fileobject(io.BytesIO(b"Hello World!"), "/documents/hello.txt")
print(store.get_directory_listing("/documents"), store.get_file("/documents/hello.txt"))
print(store.get_bytes("/documents/hello.txt"), store.is_dir("/documents"))
store.duplicate("/documents/hello.txt", "/documents/copy.txt")
store.move("/documents/copy.txt", "/moved.txt")
store.delete("/documents", is_dir=True)
print(store.get_directory_listing("/"))
""",
        "['/documents/hello.txt'] b'Hello World!'\n12 True\n['/moved.txt']\n",
    ),
    Example(
        "Nothing there is one error, that it cannot be found out another:",
        """\
try:
    store.get_metadata("/none")
except NoSuchFilesytemObjectError as error:
    print("no", type(error).__mro__[1].__name__)
except StoreAccessError as error:
    print("not known:", error.status)
""",
        "no StoreAccessError\n",
    ),
    Example(
        "With a write-back cache, which survives restarts; `sync` returns when all of it is there:",
        """\
client = TransparentMultiprocessingCachingStore(MetadataCachingStore(store), cache_id="session1")
client.store_fileobject(io.BytesIO(b"12345"), "/new.txt")
print(client.get_dirty_files(), client.get_bytes("/new.txt"))
try:
    client.sync()
except NotSynchronizedError as error:
    print("later, then:", error.unsent)
print(client.get_dirty_files(), client.get_exception_stats())
client.close()
""",
        "['/new.txt'] 5\n[] {}\n",
    ),
)
PACKAGES = {
    "cftool-api": Package(
        "cftool.api",
        "cloud storage for Python programs",
        {"RULES OF EVERY STORE": "cftool.core.store", "ERRORS": "cftool.core.errors"},
        ("cftool(1)", "cftool-cloudfusion(3)"),
        API,
    ),
    "cftool-cloudfusion": Package(
        "cftool.cloudfusion",
        "the calls of the CloudFusion documents",
        {"PATHS AND UNITS": "cftool.cloudfusion.store", "CACHES": "cftool.cloudfusion.caching"},
        ("cftool(1)", "cftool-api(3)"),
        CLOUDFUSION,
    ),
}


def page(name: str) -> str:
    """The page of one package."""
    package = PACKAGES[name]
    module = import_module(package.module)
    lines = [*title(name, 3), ".SH NAME", f"{escaped(name)} \\- {escaped(package.short)}", ".SH SYNOPSIS"]
    lines += [f"\\fBfrom {package.module} import open_store\\fR", ".SH DESCRIPTION", *body(module.__doc__ or "")]
    for heading, other in package.rules.items():
        lines += [f'.SH "{heading}"', *body(import_module(other).__doc__ or "")]
    found = [(each, getattr(module, each)) for each in module.__all__]
    for heading, wanted in (("FUNCTIONS", inspect.isfunction), ("CLASSES", _is_plain), ("EXCEPTIONS", _is_error)):
        rows = [(each, value) for each, value in found if wanted(value)]
        if rows:
            lines.append(f".SH {heading}")
            for each, value in rows:
                lines += _class(each, value) if heading == "CLASSES" else _entry(each, value)
    lines.append(".SH EXAMPLES")
    for number, example in enumerate(package.examples):
        lines += [*([".PP"] if number else []), prose(example.about), *_verbatim(example.code.splitlines())]
    return ending(lines, list(package.related))


def _is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Exception)


def _is_plain(value: object) -> bool:
    return inspect.isclass(value) and not issubclass(value, Exception)


def _entry(name: str, value: Any) -> list[str]:
    """A function or an exception: its name, with its parameters where it has some, and what it says of itself."""
    shown = name + (signature(value) if inspect.isfunction(value) else "")
    return [".TP", f"\\fB{escaped(shown)}\\fR", *body(inspect.getdoc(value) or "", inside=True)]


def _class(name: str, value: Any) -> list[str]:
    shown = name if _is_data(value) or getattr(value, "_is_protocol", False) else name + signature(value)
    lines = [f'.SS "{escaped(shown)}"', *body(inspect.getdoc(value) or "")]
    if value.__name__ == "Cap":
        return lines + terms((cap.name, text.capitalize() + ".") for cap, text in CAPABILITIES.items())
    if issubclass(value, enum.Enum):
        return [*lines, ".PP", escaped(", ".join(value.__members__)) + "."]
    if _is_data(value):
        lines += [".PP", prose(f"It has {', '.join(f'`{each}`' for each in typing.get_type_hints(value))}.")]
    for each, member in vars(value).items():
        if not each.startswith("_") and inspect.isfunction(member) and member.__doc__:
            lines += _entry(each, member)
    return lines


def _is_data(value: type) -> bool:
    """Made by the library, not by its users."""
    return issubclass(value, (tuple, dict, enum.Enum)) or hasattr(value, "__dataclass_fields__")


def signature(function: Any) -> str:
    """The parameters and their defaults, without `self` and types."""
    found = inspect.signature(function)
    plain = [each.replace(annotation=each.empty) for each in found.parameters.values() if each.name != "self"]
    return str(found.replace(parameters=plain, return_annotation=found.empty))


def body(text: str, *, inside: bool = False) -> list[str]:
    """A docstring: paragraphs, lists with `*`, and blocks that are set in, line for line. `inside`: of an item."""
    lines: list[str] = []
    for number, paragraph in enumerate(_paragraphs(text)):
        rows = paragraph.splitlines()
        if all(row.startswith("    ") or not row for row in rows):
            lines += _verbatim([row[4:] for row in rows])
        elif rows[0].startswith("* "):
            for item in re.split(r"^\* ", paragraph, flags=re.MULTILINE)[1:]:
                lines += [".IP \\(bu 2", prose(item)]
        else:
            lines += [*([".IP" if inside else ".PP"] if number else []), prose(paragraph)]
    return lines


def _paragraphs(text: str) -> Iterator[str]:
    """A block that is set in keeps its empty lines."""
    kept: list[str] = []
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        if part.startswith("    "):
            kept.append(part)
            continue
        if kept:
            yield "\n\n".join(kept)
            kept = []
        yield part
    if kept:
        yield "\n\n".join(kept)


def _verbatim(rows: list[str]) -> list[str]:
    return [".PP", ".RS", ".nf", *(line(escaped(row)) or "\\&" for row in rows), ".fi", ".RE"]
