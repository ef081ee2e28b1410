"""Every service that the example scripts run against: fakes on sockets under their real names, and real servers.

Each is a context that gives a `Service`: an address whose root is the store's, the environment of a child process, and
what a dictionary of the documents says for the same place. Used by the tests here and by nothing else.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cftool.testing import fake_dropbox, fake_gdrive, fake_gs, fake_s3, fake_sugarsync, fake_webdav
from cftool.testing.http_fake import Authority, FakeProxy, FakeServer
from tests.dav_servers import DavServer, new_folder
from tests.servers import S3Server

ACCOUNT = "robot@fake.iam.gserviceaccount.com"


@dataclass(frozen=True)
class Service:
    """See the module. `name` is what `get_name` says; `documents` are class names with their dictionaries."""

    address: str
    name: str
    env: dict[str, str] = field(default_factory=dict)
    documents: dict[str, dict[str, str]] = field(default_factory=dict)


@contextmanager
def behind_tls(handle, hosts: tuple[str, ...], authority: Authority) -> Iterator[dict[str, str]]:
    """The environment in which these hosts are the fake."""
    with FakeServer(handle, tls=authority, hosts=hosts) as server:
        resolve = {f"{host}:443": ("127.0.0.1", server.port) for host in hosts}
        with FakeProxy(resolve=resolve) as proxy:
            yield {"HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": authority.bundle}


@contextmanager
def dropbox(here: Path, authority: Authority) -> Iterator[Service]:
    fake = fake_dropbox.FakeDropbox()
    refresh = fake.oauth.grant()
    config = {"consumer_key": "key", "consumer_secret": "", "user": "", "password": "", "root": "dropbox"}
    with behind_tls(fake.handle, fake_dropbox.HOSTS, authority) as env:
        remote = {"CFTOOL_DROPBOX_APP_KEY": "key", "CFTOOL_DROPBOX_REFRESH_TOKEN": refresh}
        yield Service("dropbox:", "Dropbox", env | remote, {"DropboxStore": config | {"refresh_token": refresh}})


@contextmanager
def gdrive(here: Path, authority: Authority) -> Iterator[Service]:
    fake = fake_gdrive.FakeGDrive()
    config = {
        "client_id": fake_gdrive.CLIENT_ID,
        "client_secret": fake_gdrive.CLIENT_SECRET,
        "refresh_token": fake_gdrive.REFRESH,
    }
    with behind_tls(fake.handle, (fake_gdrive.API, fake_gdrive.LOGIN), authority) as env:
        remote = {f"CFTOOL_GDRIVE_{key.upper()}": value for key, value in config.items()}
        yield Service("gdrive:", "Google Drive", env | remote, {"GoogleDrive": config})
    assert fake.complaints == []


@contextmanager
def sugarsync(here: Path, authority: Authority) -> Iterator[Service]:
    fake = fake_sugarsync.FakeSugarSync()
    fake.clock = time.time_ns() // 10**6
    keys = {
        "app_id": fake_sugarsync.APP_ID,
        "access_key_id": fake_sugarsync.ACCESS_KEY,
        "private_access_key": fake_sugarsync.PRIVATE_KEY,
    }
    login = {"user": fake_sugarsync.USER, "password": fake_sugarsync.PASSWORD}
    with behind_tls(fake.handle, ("api.sugarsync.com",), authority) as env:
        remote = {f"CFTOOL_SUGARSYNC_{key.upper()}": value for key, value in keys.items()}
        remote["CFTOOL_SUGARSYNC_REFRESH_TOKEN"] = fake_sugarsync.REFRESH
        yield Service("sugarsync:folder", "SugarSync", env | remote, {"SugarsyncStore": keys | login})


@contextmanager
def gs(here: Path, authority: Authority) -> Iterator[Service]:
    """The JSON API, with a service account."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    fake = fake_gs.FakeGS()
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    fake.accounts[ACCOUNT] = private.public_key()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with FakeServer(fake.handle) as server:
        key = {
            "type": "service_account",
            "project_id": "fake-project",
            "private_key_id": "1",
            "private_key": private.private_bytes(*form).decode(),
            "client_email": ACCOUNT,
            "token_uri": f"{server.url}/token",
        }
        path = here / "account.json"
        path.write_text(json.dumps(key))
        config = {"service_account_file": str(path), "endpoint_url": server.url}
        env = {f"CFTOOL_GS_{name.upper()}": value for name, value in config.items()}
        yield Service("gs:bucket", "Google Storage", env, {"GoogleStore": config | {"bucket_name": "bucket"}})


@contextmanager
def gs_xml(here: Path, authority: Authority) -> Iterator[Service]:
    """The XML API, with an HMAC key, as the documents have it."""
    fake = fake_gs.FakeGS()
    with FakeServer(fake.handle) as server:
        env = {
            "CFTOOL_GS_ACCESS_KEY_ID": fake_gs.ACCESS_KEY,
            "CFTOOL_GS_SECRET_ACCESS_KEY": fake_gs.SECRET_KEY,
            "CFTOOL_GS_ENDPOINT_URL": server.url,
        }
        config = {
            "client_id": fake_gs.ACCESS_KEY,
            "client_secret": fake_gs.SECRET_KEY,
            "bucket_name": "bucket",
            "endpoint_url": server.url,
        }
        both = {"GoogleStore": config, "BulkGetMetadataGoogleStore": config}
        yield Service("gs:bucket", "Google Storage", env, both)


@contextmanager
def s3(here: Path, authority: Authority) -> Iterator[Service]:
    fake = fake_s3.FakeS3()
    with FakeServer(fake.handle) as server:
        yield of_s3(S3Server("fake", server.url, None, fake_s3.ACCESS_KEY, fake_s3.SECRET_KEY), "bucket")


@contextmanager
def webdav(here: Path, authority: Authority) -> Iterator[Service]:
    fake = fake_webdav.FakeWebDav(fake_webdav.Habits(user="me", password="s3cret&"))
    fake.now = int(time.time())
    with FakeServer(fake.handle) as server:
        config = {"url": f"{server.url}/dav", "user": "me", "password": "s3cret&"}
        env = {f"CFTOOL_WEBDAV_{key.upper()}": value for key, value in config.items()}
        both = {"WebdavStore": config, "BulkGetMetadataWebdavStore": config}
        yield Service("webdav:folder", "WebDAV", env, both)


def of_s3(server: S3Server, bucket: str) -> Service:
    config = {
        "consumer_key": server.access_key,
        "consumer_secret": server.secret_key,
        "bucket_name": bucket,
        "endpoint_url": server.url,
    }
    both = {"AmazonStore": config, "BulkGetMetadataAmazonStore": config}
    return Service(f"s3:{bucket}", "Amazon S3", server.cftool_environment("s3"), both)


def of_dav(server: DavServer, folder: str) -> Service:
    config = {"url": server.url, "user": "", "password": ""}
    both = {"WebdavStore": config}
    return Service(f"webdav:{folder}", "WebDAV", server.cftool_environment("webdav"), both)


FAKES: dict[str, Callable] = {
    one.__name__: one for one in (dropbox, gdrive, gs, gs_xml, s3, sugarsync, webdav)
}  # fmt: skip
REAL = ("moto", "rclone-s3", "rclone-webdav", "wsgidav")


def opened(name: str, here: Path, authority: Authority, request, stack: ExitStack) -> Service:
    """A service by name; the real servers are those of the session."""
    if name in FAKES:
        return stack.enter_context(FAKES[name](here, authority))
    if name == "moto":
        return of_s3(request.getfixturevalue("moto_server"), f"cf-{new_folder()}-{time.time_ns()}")
    if name == "rclone-s3":
        return of_s3(request.getfixturevalue("rclone_server"), f"cf-{new_folder()}-{time.time_ns()}")
    kind = name.removesuffix("-webdav")
    return of_dav(request.getfixturevalue("dav_server_of")(kind), f"cf-{new_folder()}-{time.time_ns()}")
