"""One endpoint: requests sent under the retry policy, errors explained, buckets made when they are missing.

Which API is spoken is decided here, by the kind of the credentials, and nowhere else.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing

from cftool.core.errors import AlreadyExists, ConfigError, NotFound, StoreError, of_no_bucket
from cftool.core.provider import Context
from cftool.http.open import open_client
from cftool.http.types import Completion, Request, Response, Stream
from cftool.http.urls import split
from cftool_providers.gs import _errors
from cftool_providers.gs._auth import Login
from cftool_providers.gs._json import JsonApi
from cftool_providers.gs._settings import Settings
from cftool_providers.gs._xml import XmlApi

log = logging.getLogger("cftool.gs")

CONNECTIONS = 64
CEILING = 256  # connections that a far service is worth, as long as each doubling brings more


class Service:
    """See the module. Thread-safe."""

    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings = settings
        self.context = context
        self.name = context.remote or "gs"
        self.memory = context.memory
        self.login = Login(settings, context)
        self.json = None if settings.hmac else JsonApi(settings)
        self.xml = XmlApi(settings) if settings.hmac else None
        self.api: JsonApi | XmlApi = self.json or self.xml  # type: ignore[assignment]  # one of the two is there
        self.host = split(settings.endpoint)[1]
        self.client = open_client(
            context,
            auth=self.login.auth(),
            classify=_errors.classify,
            connections=CONNECTIONS,
            ceiling=CEILING,
            name=self.name,
        )
        # An emulator wants a project named, and has none.
        self.nobodys_project = "emulator" if settings.emulator else ""
        self._making = threading.Lock()
        self._made: set[str] = set()

    def check(self) -> None:
        """Raise Interrupted where the run is to end; for work that sends nothing."""
        self.client.check()

    # ---- requests

    def send(self, request: Request) -> Response:
        """The answer, of any status that is final."""
        return self.client.send(request)

    def stream(self, request: Request) -> tuple[Stream, bytes]:
        """The answer with its body to be pulled; of one that is no success, the body (and a closed stream)."""
        stream = self.client.stream(request)
        if stream.status < 300:
            return stream, b""
        body = stream.read_all()
        stream.close()
        return stream, body

    def many(self, following: Callable[[], Request | float | None]) -> AbstractContextManager[Iterator[Completion]]:
        """Send in parallel; leaving the context early drops what is under way."""
        return closing(self.client.send_many(following))  # type: ignore[type-var] # it is a generator

    def describe(self, bucket: str, key: str) -> Response:
        """The object's metadata: 200, 404, or the error raised."""
        response = self.send(self.api.describe(bucket, key))
        if response.status in {200, 404}:
            if response.status == 404 and response.body:
                error = self.error(response, f"{bucket}/{key}")
                if not isinstance(error, NotFound):
                    raise error
            return response
        if self.xml is not None and response.status >= 400:
            # An answer to HEAD cannot say why it refuses; a GET of one byte can.
            response = self.send(self.xml.get(bucket, key, version=None, headers=(("range", "bytes=0-0"),)))
        raise self.error(response, f"{bucket}/{key}")

    def error(self, response: Response | Stream, path: str | None = None, body: bytes = b"") -> StoreError:
        """The exception for an answer that is no success."""
        if isinstance(response, Response):
            body = response.body
        return _errors.error(response, body, host=self.host, path=path)

    # ---- buckets

    def project(self) -> str:
        """The project to name; "" where none is known."""
        return self.settings.project or self.login.project()

    def ensure_bucket(self, bucket: str, response: Response) -> bool:
        """Make the bucket that a write found missing, once; True where the write makes sense again."""
        if response.status != 404 or not self.settings.create_bucket:
            return False
        with self._making:
            if bucket in self._made:
                return True
            if not _errors.bucket_missing(response) and self.bucket_exists(bucket):
                return False  # what was no word of the service's own was none about the bucket either
            try:
                self.create_bucket(bucket)
            except StoreError as error:
                raise of_no_bucket(error) from None
            self._made.add(bucket)
            return True

    def create_bucket(self, bucket: str) -> None:
        """Make it; no error where it is there and ours already."""
        project = self.project()
        if not project and self.json is not None and not self.settings.emulator:
            raise ConfigError(f"the bucket {bucket} does not exist; to make it, set project (or GOOGLE_CLOUD_PROJECT)")
        response = self.send(self.api.create_bucket(bucket, project or self.nobodys_project))
        if response.status < 300:
            log.info("made the bucket %s", bucket)
            return
        error = self.error(response, bucket)
        if isinstance(error, AlreadyExists) and self.bucket_exists(bucket):
            return
        raise error

    def bucket_exists(self, bucket: str) -> bool:
        """Whether we can list it; `storage.buckets.get` is a right that few keys have."""
        from cftool.http.flat import Expected

        response = self.send(self.api.list_objects(Expected(bucket, "", "", 1), None, "", None))
        if response.status < 300:
            return True
        error = self.error(response, bucket)
        if isinstance(error, NotFound):
            return False
        raise error

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
        self.login.close()
