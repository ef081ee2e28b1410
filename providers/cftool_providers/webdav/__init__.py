"""WebDAV: Nextcloud, ownCloud, Apache mod_dav, `rclone serve webdav`, wsgidav, and hosts that speak it their own way.

API: https://www.rfc-editor.org/rfc/rfc4918, and Nextcloud's on top of it:
https://docs.nextcloud.com/server/latest/developer_manual/client_apis/WebDAV/index.html

Quirks that the code knows:
* A PUT that is cut leaves a stump on most servers. Only Nextcloud, ownCloud and mod_dav_fs are known to publish at
  completion; elsewhere a file goes to a temporary name beside its own and is MOVEd.
* MOVE and COPY with `Overwrite: T` replace whole directories: they go with `F` first, and what is there is looked at.
* DELETE of a collection is recursive; with `T` or without a slash as well. Kind and emptiness are asked first.
* Conditions count where this server was seen to refuse one: `rclone serve webdav` ignores them on PUT.
* Apache's ETags are weak for a second after a change and then match no If-Match; versions are compared here.
* wsgidav's ETags count whole seconds: two contents of one size within a second look alike.
* sabre (Nextcloud) answers depth infinity with depth 1 and does not say so: a directory without entries is asked again.
* Times are kept where X-OC-Mtime or a PROPPATCH was seen to have an effect; Apache stores such a property beside.
* Hosts of their own kind: GMX (types missing, quota untrue), T-Online (400 on quota), box.com and Yandex (404 for what
  is there already), 4shared (properties without namespace, 409 for directories that exist, which cannot be deleted).
"""

from collections.abc import Mapping

from cftool.core.provider import Context, Option, Provider, Secret
from cftool.core.store import Store

OPTIONS = (
    Option(
        "url", "Address of the top directory, such as https://cloud.example.com/remote.php/dav/files/me", required=True
    ),
    Option("user", "User name"),
    Option("password", "Password; an app password where the account has two factors", secret=True),
    Option("bearer_token", "Token to send instead of user and password", secret=True),
    Option(
        "vendor",
        "What the server is; auto finds out at the first contact",
        default="auto",
        choices=("auto", "nextcloud", "owncloud", "apache", "rclone", "other"),
    ),
)


def _open(values: Mapping[str, str | int | float | bool | Secret | None], context: Context) -> Store:
    # Here and not above: naming the provider in a list must not cost the import of what it needs to run.
    from cftool_providers.webdav.store import open_store

    return open_store(values, context)


PROVIDER = Provider(
    name="webdav",
    summary="Nextcloud, ownCloud and any other WebDAV server",
    docs="https://www.rfc-editor.org/rfc/rfc4918",
    options=OPTIONS,
    open=_open,
)
