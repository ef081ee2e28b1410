"""What each provider's store declares against the fakes, opened as commands open it: the manual's capability tables.

Conditions that count only where a server was seen to obey them are tried first, as a first write does.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from cftool.config.address import parse
from cftool.config.file import Config
from cftool.core.types import Features
from cftool.stack import OpenContext, open_address
from cftool.testing import fake_dropbox, fake_gdrive, fake_gs, fake_s3, fake_sugarsync, fake_webdav
from cftool.testing.http_fake import mocked

PROVIDERS = ("local", "s3", "gs", "dropbox", "gdrive", "webdav", "sugarsync", "memory")
WEB = re.compile(r"https?://[^/]*/")


@contextmanager
def _settings(provider: str) -> Iterator[dict[str, str]]:
    """The options of a remote of that type, and its service, for as long as the block lasts."""
    handle = None
    options: dict[str, str] = {}
    if provider == "s3":
        s3 = fake_s3.FakeS3()
        s3.make("bucket", {})
        handle = s3.handle
        options = {
            "ENDPOINT_URL": "http://s3.invalid",
            "ACCESS_KEY_ID": fake_s3.ACCESS_KEY,
            "SECRET_ACCESS_KEY": fake_s3.SECRET_KEY,
        }
    elif provider == "gs":
        gs = fake_gs.FakeGS()
        gs.public = True
        gs.make("bucket")
        handle = gs.handle
        options = {"ENDPOINT_URL": "http://gs.invalid", "ANONYMOUS": "true"}
    elif provider == "dropbox":
        dropbox = fake_dropbox.FakeDropbox()
        handle = dropbox.handle
        options = {"APP_KEY": "key", "REFRESH_TOKEN": dropbox.oauth.grant()}
    elif provider == "gdrive":
        handle = fake_gdrive.FakeGDrive().handle
        options = {
            "CLIENT_ID": fake_gdrive.CLIENT_ID,
            "CLIENT_SECRET": fake_gdrive.CLIENT_SECRET,
            "REFRESH_TOKEN": fake_gdrive.REFRESH,
        }
    elif provider == "webdav":
        dav = fake_webdav.FakeWebDav(fake_webdav.Habits(user="me", password="p", vendor="nextcloud"))
        handle = dav.handle
        options = {"URL": f"https://dav.invalid{dav.habits.base}", "USER": "me", "PASSWORD": "p"}
    elif provider == "sugarsync":
        handle = fake_sugarsync.FakeSugarSync().handle
        options = {
            "APP_ID": fake_sugarsync.APP_ID,
            "ACCESS_KEY_ID": fake_sugarsync.ACCESS_KEY,
            "PRIVATE_ACCESS_KEY": fake_sugarsync.PRIVATE_KEY,
            "REFRESH_TOKEN": fake_sugarsync.REFRESH,
        }
    if handle is None:
        yield options
    else:
        with mocked(handle, WEB):
            yield options


def features(provider: str) -> Features:
    """What a store of `provider` declares once it has seen what its service obeys."""
    with _settings(provider) as options, tempfile.TemporaryDirectory() as state:
        env = {"CFTOOL_MANUAL_TYPE": provider, **{f"CFTOOL_MANUAL_{name}": value for name, value in options.items()}}
        config = Config("", env)
        context = OpenContext(env, state_dir=state, metadata_cache=0, transport="requests")
        opened = open_address(parse("manual:", remotes=config.known()), config, context=context)
        store = opened.store
        try:
            while hasattr(store, "inner"):
                store = store.inner
            if provider in {"s3", "gs"}:
                store.probe("bucket")
            elif provider == "webdav":
                store.probe()
            return store.features
        finally:
            opened.store.close()
