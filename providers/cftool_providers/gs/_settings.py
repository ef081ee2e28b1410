"""What the options and the environment say, checked once, as one frozen value. No I/O.

Called by `open_store`; everything else in this package reads `Settings` and never the environment.
"""

import os
import re
from collections.abc import Mapping

from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError
from cftool.core.provider import Context, Secret
from cftool.http.urls import host_header, host_port, split

Values = Mapping[str, str | int | float | bool | Secret | None]

MIB = 1024 * 1024
ENDPOINT = "https://storage.googleapis.com"
MAX_OBJECT = 5 * 1024 * 1024 * MIB
SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"
_WORD = re.compile(r"[A-Za-z0-9_-]{1,60}")  # of a location or a storage class
_PROJECT = re.compile(r"[a-z0-9.:_-]{1,100}")


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """One remote's configuration. `emulator`: the endpoint came from STORAGE_EMULATOR_HOST."""

    endpoint: str
    emulator: bool
    project: str
    service_account_file: str
    anonymous: bool
    access_key_id: str
    secret_access_key: str
    location: str
    storage_class: str
    create_bucket: bool

    @property
    def hmac(self) -> bool:
        """Whether the XML API is used, with signed requests."""
        return bool(self.access_key_id)

    @property
    def own_service(self) -> bool:
        """Whether it is Google's own, which is known to obey conditions."""
        return self.endpoint == ENDPOINT

    @property
    def identity(self) -> str:
        """What every run and machine calls this service by; both APIs are the same service."""
        if self.own_service:
            return "gs:google"
        scheme, authority, target = split(self.endpoint)
        return "gs:" + host_header(scheme, authority).lower() + target.rstrip("/")


def settings(values: Values, context: Context) -> Settings:
    """Check the options; raises ConfigError."""
    env = context.env

    def text(name: str, *variables: str) -> str:
        value = values.get(name)
        if isinstance(value, Secret):
            value = value.reveal()
        if value is not None and value != "":
            return str(value).strip()
        return next((env[variable].strip() for variable in variables if env.get(variable)), "")

    def flag(name: str, default: bool) -> bool:
        value = values.get(name)
        return default if value is None else bool(value)

    access, secret = text("access_key_id"), text("secret_access_key")
    if bool(access) != bool(secret):
        raise ConfigError("access_key_id and secret_access_key belong together: only one of them is set")
    anonymous, account = flag("anonymous", default=False), text("service_account_file")
    ways = [name for name, given in (("access_key_id", access), ("service_account_file", account)) if given]
    if len(ways) > 1 or (ways and anonymous):
        ways += ["anonymous"] if anonymous else []
        raise ConfigError(f"{' and '.join(ways)} exclude each other: they are different ways to log in")
    project = text("project", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")
    if project and not _PROJECT.fullmatch(project):
        raise ConfigError(f"the project {project!r} is no project's id or number")
    explicit, host = text("endpoint_url"), env.get("STORAGE_EMULATOR_HOST", "").strip()
    return Settings(
        endpoint=_endpoint(explicit, "endpoint_url", "https")
        or _endpoint(host, "STORAGE_EMULATOR_HOST", "http")
        or ENDPOINT,
        emulator=not explicit and bool(host),
        project=project,
        service_account_file=os.path.expanduser(account),
        anonymous=anonymous,
        access_key_id=access,
        secret_access_key=secret,
        location=_word("location", text("location")),
        storage_class=_word("storage_class", text("storage_class").upper()),
        create_bucket=flag("create_bucket", default=True),
    )


def _word(name: str, value: str) -> str:
    if value and not _WORD.fullmatch(value):
        raise ConfigError(f"{name} is {value!r}, which is no {name.replace('_', ' ')}")
    return value


def _endpoint(url: str, origin: str, default_scheme: str) -> str:
    if not url:
        return ""
    if "://" not in url:
        url = f"{default_scheme}://{url}"
    scheme, authority, target = split(url)
    if scheme not in {"http", "https"} or not authority:
        raise ConfigError(f"{origin} is {url!r}, which is no http or https URL")
    if "@" in authority:
        raise ConfigError(f"{origin} carries a user name or password; keys belong into the options")
    if "?" in target or "#" in target:
        raise ConfigError(f"{origin} is {url!r}; it must end with the host or a path")
    host_port(scheme, authority)  # raises where the port is no number
    return f"{scheme}://{authority}{target.rstrip('/')}"
