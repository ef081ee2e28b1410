"""The classes by service: which keys of a dictionary become which options, and what is refused. No network but S3's."""

import json
import logging

import pytest

from cftool import cloudfusion
from cftool.cloudfusion import (
    AmazonStore,
    BulkGetMetadata,
    DropboxStore,
    GoogleDrive,
    GoogleStore,
    LocalHDStore,
    StoreAccessError,
    StoreAutorizationError,
    SugarsyncStore,
    WebdavStore,
)
from cftool.testing.fake_s3 import ACCESS_KEY, SECRET_KEY, FakeS3
from cftool.testing.http_fake import FakeServer

NAMED = [AmazonStore, GoogleStore, WebdavStore, DropboxStore, GoogleDrive, SugarsyncStore, LocalHDStore]


@pytest.fixture
def s3():
    fake = FakeS3()
    with FakeServer(fake.handle) as server:
        yield (
            fake,
            {
                "access_key_id": ACCESS_KEY,
                "secret_access_key": SECRET_KEY,
                "bucket_name": "new",
                "endpoint_url": server.url,
            },
        )


@pytest.mark.parametrize("store", NAMED)
def test_every_key_of_get_config_is_accepted_and_what_is_empty_says_nothing(store):
    config = store.get_config()
    assert isinstance(config, dict)
    assert store._options(store, config) == {}


def test_get_config_gives_a_dictionary_of_ones_own():
    AmazonStore.get_config()["bucket_name"] = "changed"
    assert AmazonStore.get_config()["bucket_name"] == ""


@pytest.mark.parametrize(
    ("store", "config", "options"),
    [
        (AmazonStore, {"id": "i", "secret": "s", "region": "r"},
         {"access_key_id": "i", "secret_access_key": "s", "region": "r"}),
        (AmazonStore, {"aws_access_key_id": "i", "requester_pays": True},
         {"access_key_id": "i", "requester_pays": "true"}),
        (GoogleStore, {"client_id": "i", "client_secret": "s"}, {"access_key_id": "i", "secret_access_key": "s"}),
        (DropboxStore, {"consumer_key": "k", "consumer_secret": "s", "access_token": "t", "user": "u"},
         {"app_key": "k", "app_secret": "s", "access_token": "t"}),
        (GoogleDrive, {"id": "i", "secret": "s", "shared_drive": "d"},
         {"client_id": "i", "client_secret": "s", "shared_drive": "d"}),
        (SugarsyncStore, {"host": "h", "app_id": "a", "user": "u"}, {"app_id": "a"}),
        (WebdavStore, {"url": "https://x.test", "user": None}, {"url": "https://x.test"}),
    ],
)  # fmt: skip
def test_the_keys_of_the_documents_and_the_providers_own_become_options(store, config, options):
    assert store._options(store, config) == options


def test_what_has_no_meaning_any_more_is_told_without_its_value(caplog):
    with caplog.at_level(logging.WARNING, "cftool.cloudfusion"):
        DropboxStore._options(DropboxStore, {"user": "me", "password": "s3cret", "root": "dropbox"})
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "user has no meaning any more",
        "password has no meaning any more",
    ]
    assert "s3cret" not in caplog.text


def test_what_the_class_itself_goes_by_has_a_meaning(caplog):
    AmazonStore._options(AmazonStore, {"bucket_name": "photos"})
    SugarsyncStore._options(SugarsyncStore, {"user": "me", "password": "s3cret"})
    assert caplog.records == []


@pytest.mark.parametrize("store", NAMED)
def test_a_key_that_nobody_knows_is_an_error(store):
    with pytest.raises(StoreAccessError, match="buket_name"):
        store({"buket_name": "x"})


def test_what_is_missing_is_told():
    with pytest.raises(StoreAccessError, match="bucket_name is missing"):
        AmazonStore({"consumer_key": "k", "consumer_secret": "s"})
    with pytest.raises(StoreAccessError, match="'url' is missing"):
        WebdavStore({"user": "me"})
    with pytest.raises(StoreAccessError, match="no absolute path"):
        LocalHDStore({"root": "relative"})
    with pytest.raises(StoreAccessError, match="'app_id' is missing"):
        SugarsyncStore({"user": "me", "password": "p"})


def test_an_old_configuration_file_is_read(tmp_path):
    path = tmp_path / "old.ini"
    path.write_text("[auth]\nconsumer_key = k%1\nbucket_name = b\n[store]\nname = amazon\n")
    assert AmazonStore.get_config(str(path)) == {
        "consumer_key": "k%1",
        "consumer_secret": "",
        "bucket_name": "b",
        "endpoint_url": "",
    }
    path.write_text("no section")
    for bad in (path, tmp_path / "none"):
        with pytest.raises(StoreAccessError, match=str(bad)):
            AmazonStore.get_config(str(bad))


def test_a_missing_bucket_is_made_and_nothing_outside_it_is_seen(s3):
    fake, config = s3
    fake.make("other", ["key"])
    with AmazonStore(config) as store:
        assert sorted(fake.buckets) == ["new", "other"]
        assert store.get_directory_listing("/") == []
        store.create_directory("/dir")
        assert store.get_directory_listing("/") == ["/dir"]
    with AmazonStore(config) as store:
        assert store.is_dir("/dir")
    assert fake.ops["CreateBucket"] == 1


def test_a_refused_login_is_an_authorization_error(s3):
    _, config = s3
    with pytest.raises(StoreAutorizationError) as caught:
        AmazonStore(config | {"secret_access_key": "wrong-secret"})
    assert "wrong-secret" not in str(caught.value)


def test_a_dictionary_wins_over_the_environment(s3, monkeypatch):
    _, config = s3
    monkeypatch.setenv("CFTOOL_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CFTOOL_S3_SECRET_ACCESS_KEY", "wrong")
    AmazonStore(config).close()


def test_a_local_directory_is_made(tmp_path):
    root = tmp_path / "new" / "root"
    with LocalHDStore({"root": str(root)}) as store:
        assert store.get_directory_listing("/") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreAccessError, match="file"):
        LocalHDStore({"root": str(tmp_path / "file" / "x")})


def test_every_class_of_the_examples_is_there_with_its_keys():
    from tests.cloudfusion.examples.constructors import STORES

    for name, keys in STORES.items():
        store = getattr(cloudfusion, name)
        assert issubclass(store, BulkGetMetadata)
        store._options(store, dict.fromkeys(keys, "x"))
        assert json.dumps(store.get_config())
