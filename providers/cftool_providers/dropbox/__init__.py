"""Dropbox, by its HTTP API v2, without the SDK.

API: https://www.dropbox.com/developers/documentation/http/documentation, and the same as data in
https://github.com/dropbox/dropbox-api-spec.

Quirks that the code knows:
* Names are one under case folding and Unicode composition, and keep the case they were made with. `path_display` may
  have the parents' case wrong; the last component of `name` is right, so that paths are joined from names.
* A file that is written over with the same content is not written: it keeps its old time and its old revision.
* Deleting a folder deletes what is in it. An empty one is looked at first, and the service has no condition for it.
* Copy and move never replace. Where a file is in the way its new content goes through here, so that the old one is
  replaced in one step; a change of case alone is refused.
* The argument of a request with a body is a header: JSON in ASCII, DEL escaped. The edge in front of the service may
  refuse a long one (400, 413, 431); batches get smaller then.
* Writes of one account are taken one after the other; too many at once are refused, in whole or entry by entry.
* A listing goes on with what changes meanwhile: an entry that comes twice, or goes after it came, makes it invalid.
* Documents of Paper and the like have no content to download; they are listed as what is no file.
* Upload sessions cannot be listed or aborted; they end by themselves after 7 days.
"""

from collections.abc import Mapping

from cftool.core.provider import Context, OAuthLogin, Option, Provider, Secret
from cftool.core.store import Store

OPTIONS = (
    Option("app_key", "Key of your application, of https://www.dropbox.com/developers/apps"),
    Option("app_secret", "Secret of the application; not needed for a login by cftool", secret=True),
    Option("refresh_token", "Refresh token of a login elsewhere; default: what cftool config login got", secret=True),
    Option("access_token", "Access token to use as it is, without app_key: it ends after some hours", secret=True),
    Option("namespace", "Id of the namespace that paths begin at, or root for the team's space; default: your own"),
)

# Dropbox compares the redirect with those that were registered, port and all.
PORTS = (53682,)

LOGIN = OAuthLogin(
    authorize_url="https://www.dropbox.com/oauth2/authorize",
    token_url="https://api.dropboxapi.com/oauth2/token",  # noqa: S106 - an address
    client_id="app_key",
    client_secret=None,  # PKCE stands for it
    parameters=(("token_access_type", "offline"),),
    ports=PORTS,
    register=(
        "register an application at https://www.dropbox.com/developers/apps (scoped access; permissions"
        " account_info.read, files.metadata.write, files.content.write, files.content.read, sharing.write; redirect"
        f" http://localhost:{PORTS[0]}/), then set its app_key"
    ),
    shows_code=True,
)


def _open(values: Mapping[str, str | int | float | bool | Secret | None], context: Context) -> Store:
    # Here and not above: naming the provider in a list must not cost the import of what it needs to run.
    from cftool_providers.dropbox.store import open_store

    return open_store(values, context)


PROVIDER = Provider(
    name="dropbox",
    summary="Dropbox",
    docs="https://www.dropbox.com/developers/documentation/http/documentation",
    options=OPTIONS,
    open=_open,
    login=LOGIN,
)
