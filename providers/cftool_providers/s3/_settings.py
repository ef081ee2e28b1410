"""What the options and the SDK's environment say, checked once, as one frozen value. No I/O.

Called by `open_store`; everything else in this package reads `Settings` and never the environment.
"""

import re
from collections.abc import Mapping

from cftool.core.dataclass import dataclass
from cftool.core.errors import ConfigError
from cftool.core.provider import Context, Secret
from cftool.http.types import Header
from cftool.http.urls import host_header, host_port, split

Values = Mapping[str, str | int | float | bool | Secret | None]

MIB = 1024 * 1024
DEFAULT_PART_SIZE = 16 * MIB
MIN_PART_SIZE = 5 * MIB  # the service's, for all parts but the last
MAX_PART_SIZE = 5 * 1024 * MIB
MAX_PARTS = 10_000
MAX_OBJECT = 5 * 1024 * 1024 * MIB
MAX_COPY = 5 * 1024 * MIB  # of one CopyObject, and of one UploadPartCopy

# A region becomes part of a host name that gets signed requests: nothing but this may pass.
_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_NUMERIC = re.compile(r"[0-9.]+")


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """One remote's configuration. `endpoint` is None at Amazon, where the region makes it."""

    endpoint: str | None
    region: str
    region_given: bool
    access_key_id: str
    secret_access_key: str
    session_token: str
    profile: str
    role_arn: str
    anonymous: bool
    addressing: str
    storage_class: str
    encryption: str
    kms_key_id: str
    acl: str
    requester_pays: bool
    part_size: int
    create_bucket: bool
    ca_bundle: str | None

    @property
    def identity(self) -> str:
        """What every run and machine calls this service by."""
        if self.endpoint is None:
            suffix = partition(self.region)
            return "s3:aws" if suffix == "aws" else f"s3:{suffix}"
        scheme, authority, target = split(self.endpoint)
        return "s3:" + host_header(scheme, authority).lower() + target.rstrip("/")

    def base(self, region: str) -> tuple[str, str, str]:
        """Scheme, authority, and path prefix of the endpoint in `region`."""
        if self.endpoint is not None:
            scheme, authority, target = split(self.endpoint)
            return scheme, authority, target.rstrip("/")
        suffix = "amazonaws.com.cn" if partition(region) == "aws-cn" else "amazonaws.com"
        return "https", f"s3.{region}.{suffix}", ""

    def virtual(self, bucket: str) -> bool:
        """Whether the bucket goes into the host name."""
        if self.addressing == "path" or not host_safe(bucket):
            return False
        return self.addressing == "virtual" or self.endpoint is None or _is_amazon(self.endpoint)

    def object_headers(self) -> tuple[Header, ...]:
        """Headers of every request that makes an object."""
        pairs = (
            ("x-amz-storage-class", self.storage_class),
            ("x-amz-server-side-encryption", self.encryption),
            ("x-amz-server-side-encryption-aws-kms-key-id", self.kms_key_id),
            ("x-amz-acl", self.acl),
        )
        return tuple((name, value) for name, value in pairs if value)

    def access_headers(self) -> tuple[Header, ...]:
        """Headers of every request."""
        return (("x-amz-request-payer", "requester"),) if self.requester_pays else ()


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

    access, secret, token = text("access_key_id"), text("secret_access_key"), text("session_token")
    profile = text("profile")
    if not (access or secret or profile or text("role_arn")):
        # All three from one place: a token of the environment must not meet keys of the configuration.
        access = env.get("AWS_ACCESS_KEY_ID", "").strip()
        secret = env.get("AWS_SECRET_ACCESS_KEY", "").strip()
        token = env.get("AWS_SESSION_TOKEN", "").strip()
        if not (access and secret):
            access = secret = token = ""
    if bool(access) != bool(secret):
        raise ConfigError("access_key_id and secret_access_key belong together: only one of them is set")
    region = text("region", "AWS_REGION", "AWS_DEFAULT_REGION")
    if region and not valid_region(region):
        raise ConfigError(f"the region {region!r} is no name of a region")
    addressing = text("addressing_style") or "auto"
    if addressing not in {"auto", "path", "virtual"}:
        raise ConfigError(f"addressing_style is {addressing!r}; it can be auto, path or virtual")
    return Settings(
        endpoint=_endpoint(text("endpoint_url", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")),
        region=region or "us-east-1",
        region_given=bool(region),
        access_key_id=access,
        secret_access_key=secret,
        session_token=token,
        profile=profile,
        role_arn=text("role_arn"),
        anonymous=flag("anonymous", default=False),
        addressing=addressing,
        storage_class=text("storage_class"),
        encryption=text("server_side_encryption"),
        kms_key_id=text("kms_key_id"),
        acl=text("acl"),
        requester_pays=flag("requester_pays", default=False),
        part_size=_part_size(values.get("part_size")),
        create_bucket=flag("create_bucket", default=True),
        ca_bundle=text("ca_bundle", "AWS_CA_BUNDLE") or None,
    )


def _part_size(value: object) -> int:
    if value is None:
        return DEFAULT_PART_SIZE
    if not isinstance(value, (int, float)) or not MIN_PART_SIZE <= value <= MAX_PART_SIZE:
        raise ConfigError("part_size must be between 5 MiB and 5 GiB")
    return int(value)


def _endpoint(url: str) -> str | None:
    if not url:
        return None
    if "://" not in url:
        url = "https://" + url
    scheme, authority, target = split(url)
    if scheme not in {"http", "https"} or not authority:
        raise ConfigError(f"the endpoint_url {url!r} is no http or https URL")
    if "@" in authority:
        raise ConfigError("the endpoint_url carries a user name or password; keys belong into the options")
    if "?" in target or "#" in target:
        raise ConfigError(f"the endpoint_url {url!r} must end with the host or a path")
    host_port(scheme, authority)  # raises where the port is no number
    return f"{scheme}://{authority}{target.rstrip('/')}"


def _is_amazon(endpoint: str) -> bool:
    scheme, authority, _ = split(endpoint)
    host = host_port(scheme, authority)[0].lower()
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def host_safe(bucket: str) -> bool:
    """Whether the bucket can be a label of a host name; with a dot the certificate would not match."""
    return _HOST_LABEL.fullmatch(bucket) is not None and _NUMERIC.fullmatch(bucket) is None


def valid_region(region: str) -> bool:
    """Whether it looks like a region: it becomes part of a host name."""
    return _REGION.fullmatch(region) is not None


def partition(region: str) -> str:
    """Amazon's partition of a region; accounts and credentials never cross it."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
