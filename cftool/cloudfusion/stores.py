"""The stores of the CloudFusion documents by class and dictionary, without a configuration file.

    config = AmazonStore.get_config()
    config |= {"consumer_key": "…", "consumer_secret": "…", "bucket_name": "photos"}
    client = AmazonStore(config)

A dictionary has the keys of the documents, with the synonyms that they had; any option of the provider may stand beside
them under its own name. What is left out, or empty, comes from the environment as for the command.
"""

import configparser
import logging
import os
from collections.abc import Mapping
from typing import ClassVar

from cftool import registry
from cftool.cloudfusion.errors import StoreAccessError, told
from cftool.cloudfusion.store import BulkGetMetadata, Place, Store, context_of
from cftool.config import values
from cftool.config.address import Address
from cftool.config.file import Config, RemoteConfig
from cftool.config.suggest import unknown
from cftool.core.errors import NotFound
from cftool.core.provider import PasswordLogin, Secret
from cftool.stack import provider_context

_log = logging.getLogger("cftool.cloudfusion")
_IDS = ("access_key_id", "aws_access_key_id", "gs_access_key_id", "consumer_key", "client_id", "id")
_SECRETS = ("private_access_key", "aws_secret_access_key", "gs_secret_access_key", "secret_access_key",
            "consumer_secret", "client_secret", "secret")  # fmt: skip


class _Named(Store):
    """A store that a dictionary describes. `_KEYS`: of the documents, to the option of the provider, "" for none.

    `_OWN`: which of those without are for the class itself.
    """

    _PROVIDER: ClassVar[str]
    _CONFIG: ClassVar[Mapping[str, str]]  # what get_config gives
    _KEYS: ClassVar[Mapping[str, str]]
    _OWN: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Mapping[str, object]) -> None:
        with told():
            options = self._options(config)
            place = self._where(config, options)
        super().__init__(place)

    @classmethod
    def get_config(cls, path_to_configfile: str | None = None) -> dict[str, str]:
        """A dictionary to fill in; with a path: the section `auth` of an old configuration file."""
        config = dict(cls._CONFIG)
        if path_to_configfile is None:
            return config
        parser = configparser.ConfigParser(interpolation=None)
        try:
            with open(path_to_configfile, encoding="utf-8") as file:
                parser.read_file(file)
            return {**config, **dict(parser.items("auth"))}
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            raise StoreAccessError(f"{path_to_configfile}: {error}") from error

    def _options(self, config: Mapping[str, object]) -> dict[str, str]:
        """The provider's options as texts, which win over every other source."""
        known = values.options_of(registry.provider(self._PROVIDER))
        options: dict[str, str] = {}
        for key, value in config.items():
            option = self._KEYS.get(key, key if key in known else None)
            if option is None:
                raise StoreAccessError(unknown(f"key of {type(self).__name__}", key, {**self._KEYS, **known}))
            text = str(value).lower() if isinstance(value, bool) else str(value if value is not None else "")
            if option and text:
                options[option] = text
            elif text and key not in self._OWN and self._CONFIG.get(key) != text:
                _log.warning("%s: %s has no meaning any more", type(self).__name__, key)
        return options

    def _where(self, config: Mapping[str, object], options: dict[str, str]) -> Place:
        del config
        return self._place_of("", options)

    def _place_of(self, path: str, options: dict[str, str]) -> Place:
        env = os.environ
        name = self._PROVIDER
        config = Config("", env, {name: RemoteConfig(name, name)})
        return Place(Address(f"{name}:{path}", name, path, options), config, context_of(env))


class _Bucket(_Named):
    """A store in a bucket, which is made where it is missing; access is confined to it."""

    _OWN = frozenset({"bucket_name"})

    def _where(self, config: Mapping[str, object], options: dict[str, str]) -> Place:
        bucket = str(config.get("bucket_name") or "").strip("/")
        if not bucket:
            raise StoreAccessError(f"{type(self).__name__}: bucket_name is missing")
        return self._place_of(bucket, options)

    def __init__(self, config: Mapping[str, object]) -> None:
        super().__init__(config)
        with told():
            try:
                self._core.stat("")
            except NotFound:
                self._core.mkdir("")


class AmazonStore(_Bucket):
    """Amazon S3, or with `endpoint_url` any service that speaks it."""

    _PROVIDER = "s3"
    _CONFIG: ClassVar = {"consumer_key": "", "consumer_secret": "", "bucket_name": "", "endpoint_url": ""}
    _KEYS: ClassVar = {
        **dict.fromkeys(_IDS, "access_key_id"),
        **dict.fromkeys(_SECRETS, "secret_access_key"),
        "bucket_name": "",
    }


class BulkGetMetadataAmazonStore(AmazonStore, BulkGetMetadata):
    """The same: every store has `get_bulk_metadata`."""


class GoogleStore(_Bucket):
    """Google Cloud Storage, with an HMAC key, or with `service_account_file`."""

    _PROVIDER = "gs"
    _CONFIG: ClassVar = {"client_id": "", "client_secret": "", "bucket_name": "", "service_account_file": ""}
    _KEYS: ClassVar = {
        **dict.fromkeys(_IDS, "access_key_id"),
        **dict.fromkeys(_SECRETS, "secret_access_key"),
        "bucket_name": "",
    }


class BulkGetMetadataGoogleStore(GoogleStore, BulkGetMetadata):
    """The same: every store has `get_bulk_metadata`."""


class WebdavStore(_Named):
    """WebDAV. `url` may hold a port and a folder, which is then the root."""

    _PROVIDER = "webdav"
    _CONFIG: ClassVar = {"url": "", "user": "", "password": ""}
    _KEYS: ClassVar = {}


class BulkGetMetadataWebdavStore(WebdavStore, BulkGetMetadata):
    """The same: every store has `get_bulk_metadata`."""


class DropboxStore(_Named):
    """Dropbox. `consumer_key` is the application's, the login `refresh_token` or `access_token`.

    Without either it is what `cftool config login` left for a remote of the name dropbox: for user and password Dropbox
    gives no login any more.
    """

    _PROVIDER = "dropbox"
    _CONFIG: ClassVar = {"consumer_key": "", "consumer_secret": "", "user": "", "password": "", "root": "dropbox",
                         "refresh_token": "", "access_token": ""}  # fmt: skip
    _KEYS: ClassVar = {
        "consumer_key": "app_key",
        "consumer_secret": "app_secret",
        **dict.fromkeys(("user", "password", "root", "cache_id"), ""),
    }


class GoogleDrive(_Named):
    """Google Drive. The login is `refresh_token`, `service_account_file`, or what `cftool config login` left."""

    _PROVIDER = "gdrive"
    _CONFIG: ClassVar = {"client_id": "", "client_secret": "", "refresh_token": "", "service_account_file": ""}
    _KEYS: ClassVar = {"id": "client_id", "secret": "client_secret", "cache_id": ""}


class SugarsyncStore(_Named):
    """SugarSync. `user` and `password` are traded for a token, which lasts as long as the store; or `refresh_token`.

    The root holds the sync folders.
    """

    _PROVIDER = "sugarsync"
    _CONFIG: ClassVar = {"user": "", "password": "", "app_id": "", "access_key_id": "", "private_access_key": ""}
    _KEYS: ClassVar = {"cache_id": "", **dict.fromkeys(("user", "password", "host", "server_url", "root"), "")}

    _OWN = frozenset({"user", "password"})

    def _where(self, config: Mapping[str, object], options: dict[str, str]) -> Place:
        place = self._place_of("", options)
        answers = {key: Secret(str(config[key])) for key in ("user", "password") if config.get(key)}
        login = registry.provider(self._PROVIDER).login
        if "refresh_token" in options or len(answers) < 2 or not isinstance(login, PasswordLogin):
            return place
        provider = registry.provider(self._PROVIDER)
        layers = values.Layers(place.context.env, options)
        settings = values.settings(provider, RemoteConfig(self._PROVIDER, self._PROVIDER), layers)
        token = login.trade(settings.values, answers, provider_context(self._PROVIDER, provider.name, place.context))
        return self._place_of("", {**options, "refresh_token": token.reveal()})


class LocalHDStore(_Named):
    """A directory of this machine, `root`, which is made where it is missing."""

    _PROVIDER = "local"
    _CONFIG: ClassVar = {"root": ""}
    _KEYS: ClassVar = {}

    def _where(self, config: Mapping[str, object], options: dict[str, str]) -> Place:
        root = options.get("root", "")
        if not os.path.isabs(root):
            raise StoreAccessError("LocalHDStore: root is missing, or no absolute path")
        try:
            os.makedirs(root, exist_ok=True)
        except OSError as error:
            raise StoreAccessError(f"{root}: {error.strerror}") from error
        return Place(Address(root, None, root.rstrip("/") or "/"), Config("", os.environ), context_of(os.environ))
