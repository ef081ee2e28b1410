"""Google Cloud Storage: the JSON API with OAuth tokens, or the XML API with HMAC keys.

APIs: https://docs.cloud.google.com/storage/docs/json_api/v1, https://docs.cloud.google.com/storage/docs/xml-api/overview.
Paths are `bucket/key`; the root lists the project's buckets.

Quirks that the code knows:
* Keys are opaque: `a//b`, `/lead` and what lies below an empty component are plain files under their whole key. An
  object `x/` without content is the marker of directory `x`; one with content is a file whose name ends with the slash.
* The file's own time is in the metadata `mtime` (RFC 3339, as rclone writes it), or in `goog-reserved-file-mtime`
  (seconds, as gsutil does). The JSON API lists metadata and changes it in place; the XML API does neither: times cost a
  request there, and are set by copying the object onto itself.
* The XML API cannot list names with control characters: there they are refused, and one that is met is an error.
* A version is a generation. An object that was composed has a CRC32C and no MD5.
* An object stored with `Content-Encoding: gzip` is unpacked on its way to whoever does not accept gzip: we do, and take
  the bytes as they are stored.
* Media answers of the JSON API speak plain text where they fail: a 404 counts only after the metadata said so too.
* A resumable upload may be acknowledged in part, and its last answer may get lost: both are asked for again.
* An emulator (`STORAGE_EMULATOR_HOST`) gets no credentials but those of the configuration, and its conditional writes
  count only where they were seen to be refused.
"""

from collections.abc import Mapping

from cftool.core.provider import Context, Option, Provider, Secret
from cftool.core.store import Store

OPTIONS = (
    Option("project", "Project of new buckets and of the list of buckets; default: $GOOGLE_CLOUD_PROJECT, the key's"),
    Option("service_account_file", "JSON key of a service account; default: application default credentials"),
    Option("anonymous", "Send no credentials: public buckets", default=False, type="bool"),
    Option("access_key_id", "HMAC key (interoperability): the XML API is used then"),
    Option("secret_access_key", "Secret that belongs to the HMAC key", secret=True),
    Option("endpoint_url", "URL of the service; default: $STORAGE_EMULATOR_HOST, https://storage.googleapis.com"),
    Option("location", "Location of new buckets, such as EU or us-central1; default: the service's"),
    Option("storage_class", "Storage class of new objects and buckets, such as NEARLINE; default: the bucket's"),
    Option("create_bucket", "Create a missing bucket on the first write", default=True, type="bool"),
)


def _open(values: Mapping[str, str | int | float | bool | Secret | None], context: Context) -> Store:
    # Here and not above: naming the provider in a list must not cost the import of what it needs to run.
    from cftool_providers.gs.store import open_store

    return open_store(values, context)


PROVIDER = Provider(
    name="gs",
    summary="Google Cloud Storage",
    docs="https://docs.cloud.google.com/storage/docs/json_api/v1",
    options=OPTIONS,
    open=_open,
)
