"""Google Drive, the API's version 3.

API: https://developers.google.com/workspace/drive/api/reference/rest/v3. Files have ids; paths are ours.

Quirks that the code knows:
* Several files of a folder may have one name. The oldest has it; others show as `name ~1a2b3c4d.ext`, by their id.
* Names may hold a slash, or be `.`: these show as their full-width twins. The operator `name =` does not heed case.
* A query over several parents says nothing of a parent for which it names no child: such a one is asked alone. Where
  it has children after all, only single parents are asked from then on; so is it wherever a run may delete.
* Nothing is conditional: what is there is looked at before a write, and the answer to the write is looked at after it.
* A create carries an id that was fetched before, so that it can be sent again; `409 fileIdInUse` says that it arrived.
* 403 means "too fast" (`userRateLimitExceeded`, `rateLimitExceeded`), "full", "tomorrow" (750 GB a day), or "no".
* Google Docs have no bytes and no size: they are exported when they are read. Those without a chosen format show as
  special files. A shortcut to a file shows as that file; one to a folder, or to nothing, shows as a link.
"""

from collections.abc import Mapping

from cftool.core.provider import Context, OAuthLogin, Option, Provider, Secret
from cftool.core.store import Store

SCOPE = "https://www.googleapis.com/auth/drive"
EXPORT_FORMATS = "docx,xlsx,pptx,svg"
OPTIONS = (
    Option("client_id", "Client id of your OAuth application, of type desktop app"),
    Option("client_secret", "Client secret that belongs to the client id", secret=True),
    Option("refresh_token", "Refresh token; default: what `config login` has left", secret=True),
    Option(
        "service_account_file",
        "JSON key file of a service account; default: $GOOGLE_APPLICATION_CREDENTIALS where there is no client_id",
    ),
    Option("impersonate", "User that the service account acts as (domain-wide delegation)"),
    Option("root_folder_id", "Id of the folder that is the root; default: My Drive, or the shared drive's root"),
    Option("shared_drive", "Id of the shared drive to work in"),
    Option(
        "use_trash", "Move to the trash what is deleted, instead of deleting it for good", default=True, type="bool"
    ),
    Option(
        "export_formats",
        "Extensions by which Google Docs are exported, the first that fits counts; empty: none is",
        default=EXPORT_FORMATS,
    ),
    Option(
        "acknowledge_abuse",
        "Download files that Google takes for malware, as their owner",
        default=False,
        type="bool",
    ),
)


def _open(values: Mapping[str, str | int | float | bool | Secret | None], context: Context) -> Store:
    # Here and not above: naming the provider in a list must not cost the import of what it needs to run.
    from cftool_providers.gdrive.store import open_store

    return open_store(values, context)


PROVIDER = Provider(
    name="gdrive",
    summary="Google Drive",
    docs="https://developers.google.com/workspace/drive/api/reference/rest/v3",
    options=OPTIONS,
    open=_open,
    login=OAuthLogin(
        authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",  # noqa: S106 - an address
        client_id="client_id",
        client_secret="client_secret",  # noqa: S106 - the name of the option
        scopes=(SCOPE,),
        # Without them Google gives a refresh token at the very first consent only.
        parameters=(("access_type", "offline"), ("prompt", "consent")),
        register=(
            "At https://console.cloud.google.com/apis/credentials create a project, enable the Google Drive API, and "
            "create an OAuth client of the type desktop app. Publish the application: while it is in testing, logins "
            "end after 7 days."
        ),
    ),
)
