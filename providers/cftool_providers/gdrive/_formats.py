"""As what Google Docs can be exported: https://developers.google.com/workspace/drive/api/guides/ref-export-formats."""

from collections.abc import Mapping, Sequence
from functools import cache

PREFIX = "application/vnd.google-apps."
FOLDER = PREFIX + "folder"
SHORTCUT = PREFIX + "shortcut"

_OFFICE = "application/vnd.openxmlformats-officedocument."
_OPEN = "application/vnd.oasis.opendocument."
_EXPORTS: Mapping[str, Mapping[str, str]] = {
    PREFIX + "document": {
        "docx": _OFFICE + "wordprocessingml.document",
        "odt": _OPEN + "text",
        "rtf": "application/rtf",
        "pdf": "application/pdf",
        "txt": "text/plain",
        "zip": "application/zip",
        "epub": "application/epub+zip",
        "md": "text/markdown",
    },
    PREFIX + "spreadsheet": {
        "xlsx": _OFFICE + "spreadsheetml.sheet",
        "ods": "application/x-vnd.oasis.opendocument.spreadsheet",
        "pdf": "application/pdf",
        "zip": "application/zip",
        "csv": "text/csv",
        "tsv": "text/tab-separated-values",
    },
    PREFIX + "presentation": {
        "pptx": _OFFICE + "presentationml.presentation",
        "odp": _OPEN + "presentation",
        "pdf": "application/pdf",
        "txt": "text/plain",
    },
    PREFIX + "drawing": {
        "svg": "image/svg+xml",
        "png": "image/png",
        "jpg": "image/jpeg",
        "pdf": "application/pdf",
    },
    PREFIX + "script": {"json": "application/vnd.google-apps.script+json"},
}


@cache
def known_extensions() -> tuple[str, ...]:
    """All extensions that anything can be exported by."""
    return tuple(sorted({extension for formats in _EXPORTS.values() for extension in formats}))


@cache
def export_of(mime: str, chosen: Sequence[str]) -> tuple[str, str] | None:
    """Extension and media type by which a document of type `mime` is exported; None where none was chosen."""
    formats = _EXPORTS.get(mime, {})
    return next(((word, formats[word]) for word in chosen if word in formats), None)
