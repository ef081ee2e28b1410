"""Where keys come from: the options, the environment, or boto3's chain, which is imported only when it is needed.

Static keys never load boto3: that would cost half a second in every cron run. Without keys, or with `profile` or
`role_arn`, botocore finds them (shared files, single sign-on, assume-role, web identity, container and instance
metadata). `load` is called by the signer when it has none, near their end, and after the service refused them.
"""

import threading
from typing import Any

from cftool.core.errors import ConfigError, LoginRequired
from cftool.http.sigv4 import Credentials
from cftool_providers.s3._settings import Settings, valid_region

_HINT = (
    "no S3 keys were found: set access_key_id and secret_access_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or a profile, or anonymous = true for public buckets"
)


class Chain:
    """Gives credentials; thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._found: Any = None
        self._last: Credentials | None = None
        self._region: str | None = None

    @property
    def static(self) -> bool:
        """Whether the keys are there already."""
        settings = self._settings
        return bool(settings.access_key_id) and not settings.role_arn

    def load(self) -> Credentials:
        """Keys that are good now. Raises ConfigError, LoginRequired."""
        settings = self._settings
        if self.static:
            return Credentials(settings.access_key_id, settings.secret_access_key, settings.session_token)
        with self._lock:
            credentials = self._freeze()
            if credentials == self._last:
                # Asked again although they look good: the service refused them. Look where they came from once more.
                self._found = None
                credentials = self._freeze()
            self._last = credentials
            return credentials

    def profile_region(self) -> str | None:
        """The region that the AWS configuration files name. Raises as `load`."""
        with self._lock:
            if self._found is None:
                self._found = self._search()
            return self._region

    def _freeze(self) -> Credentials:
        if self._found is None:
            self._found = self._search()
        try:
            frozen = self._found.get_frozen_credentials()
        except Exception as error:  # botocore's tree has no single base for what can fail here
            raise LoginRequired(f"the S3 session could not be renewed; log in again ({_say(error)})") from None
        if not frozen.access_key or not frozen.secret_key:
            raise LoginRequired(_HINT)
        expiry = getattr(self._found, "_expiry_time", None)
        return Credentials(
            frozen.access_key,
            frozen.secret_key,
            frozen.token or "",
            None if expiry is None else float(expiry.timestamp()),
        )

    def _search(self) -> Any:
        settings = self._settings
        try:
            import botocore.exceptions
            import botocore.session
        except ImportError:
            why = "profile and role_arn need" if settings.profile or settings.role_arn else "looking further needs"
            raise ConfigError(f"{_HINT} ({why} boto3: pip install 'cftool[s3]')") from None
        try:
            session = botocore.session.Session(profile=settings.profile or None)
            region = session.get_config_variable("region")
            if isinstance(region, str) and valid_region(region):
                self._region = region
            if settings.access_key_id:
                session.set_credentials(
                    settings.access_key_id, settings.secret_access_key, settings.session_token or None
                )
            found = session.get_credentials()
            if found is not None and settings.role_arn:
                found = _assume(session, found, settings)
        except botocore.exceptions.ProfileNotFound as error:
            name = settings.profile or error.kwargs.get("profile")  # AWS_PROFILE's
            raise ConfigError(f"the AWS profile {name!r} does not exist") from None
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            raise LoginRequired(f"no S3 keys could be had: {_say(error)}") from None
        if found is None:
            raise LoginRequired(_HINT)
        return found


def _assume(session: Any, source: Any, settings: Settings) -> Any:
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    region = settings.region
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=lambda service, **keywords: session.create_client(
            service, **{"region_name": region, **keywords}
        ),
        source_credentials=source,
        role_arn=settings.role_arn,
        extra_args={"RoleSessionName": "cftool"},
    )
    return DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role")


def _say(error: Exception) -> str:
    """One line; botocore's messages hold no secrets, but may hold several lines."""
    return " ".join(str(error).split())[:300]
