"""What both APIs of the service can do, in requests and in the meaning of their answers. No I/O.

`_json.JsonApi` and `_xml.XmlApi` implement it; everything else in this package is written once over `Api`. A method
that makes a request is named after the deed, one that reads an answer after what was done.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from cftool.core.dataclass import dataclass
from cftool.core.errors import IntegrityError, ListingError
from cftool.core.types import NO_HASHES, Entry
from cftool.http.flat import Expected, Page
from cftool.http.types import Body, Header, Request, Response, Sink

CONTENT_TYPE = "application/octet-stream"
# What is stored with Content-Encoding gzip comes as it is stored only to those who accept gzip.
AS_STORED: tuple[Header, ...] = (("accept-encoding", "gzip"),)
MAX_LISTING = 32 * 1024 * 1024  # 1,000 names of 1,024 bytes, each byte escaped six times over, and their metadata


class Key(NamedTuple):
    """One object of a listing."""

    key: str
    size: int
    stored_ns: int
    modified_ns: int | None
    version: str | None
    hashes: Mapping[str, str] = NO_HASHES


@dataclass(frozen=True, slots=True)
class NewObject:
    """What is to be stored, but for its bytes. `generation`: the one to be replaced, "0" for none at all."""

    bucket: str
    key: str
    modified_ns: int | None = None
    generation: str | None = None
    storage_class: str = ""

    @property
    def path(self) -> str:
        """As entries have it."""
        return f"{self.bucket}/{self.key}"


class Api(Protocol):
    """See the module. `timed`: listings carry the file's own time; `forbidden`: characters that no name may have."""

    timed: bool
    forbidden: str

    def list_objects(self, asked: Expected, token: str | None, after: str, tag: object) -> Request:
        """One page of names greater than `after`."""
        ...

    def objects_listed(self, response: Response, asked: Expected, after: str) -> Page[Key]:
        """The page of a 200 answer. Raises ListingError."""
        ...

    def list_buckets(self, project: str, token: str | None) -> Request:
        """One page of the project's buckets."""
        ...

    def buckets_listed(self, response: Response) -> tuple[list[tuple[str, int | None]], str | None]:
        """Names and times, and the token of the next page. Raises ListingError."""
        ...

    def describe(self, bucket: str, key: str) -> Request:
        """The object's metadata."""
        ...

    def described(self, path: str, response: Response) -> Entry:
        """The file of a 200 answer."""
        ...

    def get(
        self,
        bucket: str,
        key: str,
        *,
        version: str | None,
        headers: tuple[Header, ...] = (),
        sink: Sink | None = None,
        tag: object = None,
        max_body: int = 64 * 1024 * 1024,
    ) -> Request:
        """The content, of this version alone."""
        ...

    def put(self, new: NewObject, body: bytes | Body, digest: tuple[str, str], tag: object) -> Request:
        """The object in one request; `digest` (name, hex) is compared by the service."""
        ...

    def start(self, new: NewObject, size: int | None, tag: object) -> Request:
        """Begin a resumable session; its address comes in the Location header."""
        ...

    def written(self, new: NewObject, response: Response, size: int) -> Entry:
        """The file after `put`, the last chunk of a session, or `compose`."""
        ...

    def compose(self, new: NewObject, parts: list[tuple[str, str]]) -> Request:
        """Join objects (key, generation) of the same bucket into a new one."""
        ...

    def delete(self, bucket: str, key: str, tag: object = None) -> Request:
        """Delete an object."""
        ...

    def create_bucket(self, bucket: str, project: str) -> Request:
        """Make a bucket."""
        ...

    def delete_bucket(self, bucket: str) -> Request:
        """Remove an empty bucket."""
        ...

    def link(self, bucket: str, key: str) -> str:
        """The address that a signed URL is made of."""
        ...


def check_page(asked: Expected, keys: list[Key], prefixes: list[str]) -> None:
    """Strictly rising by bytes, all below the prefix, nothing that no path can hold; emulators ignore `max_keys`."""
    _check_names([key.key for key in keys], asked)
    _check_names(prefixes, asked)
    if prefixes and not asked.delimiter:
        raise ListingError(f"the listing of {asked.bucket} has common prefixes that were not asked for")
    if any(not prefix.endswith(asked.delimiter) or len(prefix) <= len(asked.prefix) for prefix in prefixes):
        raise ListingError(f"the listing of {asked.bucket} has a common prefix that is none")
    if asked.delimiter:
        start = len(asked.prefix)
        if any(asked.delimiter in key.key[start:] for key in keys):
            raise ListingError(f"the listing of {asked.bucket} has a key of a deeper level than was asked for")


def _check_names(names: list[str], asked: Expected) -> None:
    if not names:
        return
    order: list[str] | list[bytes] = names
    if not "".join(names).isascii():
        try:
            order = [name.encode() for name in names]
        except UnicodeEncodeError:
            raise ListingError(f"the listing of {asked.bucket} has a name that is no Unicode text") from None
    previous = order[0]
    for name in order[1:]:
        if name <= previous:  # type: ignore[operator]  # both of one type
            raise ListingError(f"the listing of {asked.bucket} is not in order: a name comes after one that is greater")
        previous = name
    # In rising order all between two names with the prefix have it too.
    if not (names[0].startswith(asked.prefix) and names[-1].startswith(asked.prefix)) or not names[0]:
        raise ListingError(f"the listing of {asked.bucket} has names outside of the prefix {asked.prefix[:80]!r}")
    for name in names:
        if "\0" in name:
            raise ListingError(
                f"the listing of {asked.bucket} has the name {name[:80]!r} with a NUL, which no path can hold"
            )


def check_written(new: NewObject, entry: Entry, size: int) -> Entry:
    """What the service says that it stored must be as long as what was sent."""
    if entry.size != size:
        raise IntegrityError(f"the service stored {entry.size} bytes, {size} were sent", op="write", path=new.path)
    return entry
