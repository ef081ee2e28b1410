"""Amazon S3 and the services that speak its protocol (MinIO, Ceph, R2, Backblaze B2, Wasabi, `rclone serve s3`, …).

API: https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html. Paths are `bucket/key`; the root lists the buckets.

Quirks that the code knows:
* Keys are opaque. `a//b`, `/lead` and what lies below an empty component are plain files under their whole key. An
  object `x/` without content is the marker of directory `x`; one with content is a file whose name ends with the slash.
* The file's own time is in the user metadata `mtime` (seconds with 9 decimals, as rclone writes it); listings lack it.
* An ETag of 32 hex digits is the content's MD5, but not under SSE-KMS and SSE-C; that of a multipart upload never is.
* Redirects are not followed: the region is learnt from the answer and the request is signed anew for our own endpoint.
* `200 OK` may carry an error (CopyObject, CompleteMultipartUpload, DeleteObjects).
* Conditional writes count only where this very bucket's server was seen to refuse one (`rclone serve s3` ignores them).
* `rclone serve s3` leaves KeyCount out of an empty listing, quotes no ETags there, and escapes blanks as plus signs.
"""

from collections.abc import Mapping

from cftool.core.provider import Context, Option, Provider, Secret
from cftool.core.store import Store

OPTIONS = (
    Option("endpoint_url", "URL of the service; default: $AWS_ENDPOINT_URL_S3, $AWS_ENDPOINT_URL, then Amazon's own"),
    Option("region", "Region; default: $AWS_REGION, $AWS_DEFAULT_REGION, the profile's, then us-east-1"),
    Option("access_key_id", "Access key; default: $AWS_ACCESS_KEY_ID, then the SDK's own chain"),
    Option("secret_access_key", "Secret key that belongs to the access key", secret=True),
    Option("session_token", "Session token of temporary keys", secret=True),
    Option("profile", "Profile of the AWS configuration files (single sign-on included); needs boto3"),
    Option("role_arn", "Role to assume with the credentials found; needs boto3"),
    Option("anonymous", "Sign nothing: public buckets", default=False, type="bool"),
    Option(
        "addressing_style",
        "Where the bucket goes: into the path or into the host name; auto: host name at Amazon, else path",
        default="auto",
        choices=("auto", "path", "virtual"),
    ),
    Option("storage_class", "Storage class of new objects, such as STANDARD_IA"),
    Option(
        "server_side_encryption",
        "Encryption at rest of new objects",
        choices=("AES256", "aws:kms", "aws:kms:dsse"),
    ),
    Option("kms_key_id", "KMS key of new objects, for aws:kms"),
    Option(
        "acl",
        "Canned ACL of new objects and buckets",
        choices=(
            "private",
            "public-read",
            "public-read-write",
            "authenticated-read",
            "aws-exec-read",
            "bucket-owner-read",
            "bucket-owner-full-control",
        ),
    ),
    Option("requester_pays", "Accept that requests to buckets of others are charged to us", default=False, type="bool"),
    Option("part_size", "Part of a multipart upload, and largest upload in one request", default="16M", type="size"),
    Option("create_bucket", "Create a missing bucket on the first write", default=True, type="bool"),
    Option("ca_bundle", "PEM file of the authorities to trust; default: $AWS_CA_BUNDLE and the usual variables"),
)


def _open(values: Mapping[str, str | int | float | bool | Secret | None], context: Context) -> Store:
    # Here and not above: naming the provider in a list must not cost the import of what it needs to run.
    from cftool_providers.s3.store import open_store

    return open_store(values, context)


PROVIDER = Provider(
    name="s3",
    summary="Amazon S3 and compatible services",
    docs="https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html",
    options=OPTIONS,
    open=_open,
)
