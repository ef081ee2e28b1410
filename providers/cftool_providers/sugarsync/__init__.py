"""SugarSync, over its platform API (XML over HTTPS).

API: https://www.sugarsync.com/dev/api/resource-ref.html. Paths are `SYNC FOLDER/…`; the root lists the sync folders.

Quirks that the code knows:
* Files and folders have ids (links); names are only labels. Two files of one folder may have the same name: the newest
  keeps it, each other is shown with its number, `name (duplicate 6552993_17252).txt`: nothing is lost or merged.
* A new file is made without content, then its content is sent. Until that has arrived it is not `presentOnServer`, its
  size is -1, and it is shown to nobody. What others are uploading looks the same: after an hour it is ours to fill.
* A replacement goes to a temporary name, is looked at there, and takes the name before the old file leaves it.
* There are no hashes and no times of the file's own; `lastModified` is when the service got the content.
* Pages are counted by offset, so a change in between would move entries past us: each page begins with the last entry
  of the one before, and where it is another one the folder is listed anew.
* `end` is the index of the last entry, hidden ones included; the printed examples of the documentation are off by one.
* Removing a folder would orphan what is in it; so it is moved to the Deleted Files, whole, or removed when empty.
* Files cannot be in the root, sync folders cannot be moved. Making one answers without its link.
* Errors are web pages whose `<h3>` says what is wrong; "is a folder" is a 400.
"""

from collections.abc import Mapping

from cftool.core.provider import Context, Option, PasswordLogin, Provider, Secret
from cftool.core.store import Store

OPTIONS = (
    Option(
        "app_id", "Application id, such as `/sc/10061/3_21053` (https://www.sugarsync.com/developer)", required=True
    ),
    Option("access_key_id", "Access key of the developer account", required=True),
    Option("private_access_key", "Private access key that belongs to the access key", required=True, secret=True),
    Option("refresh_token", "Refresh token; default: what `config login` left in the state directory", secret=True),
    Option(
        "hard_delete",
        "Delete for good, instead of moving to the Deleted Files, from where it can be restored",
        default=False,
        type="bool",
    ),
)

_ASK = (
    Option("user", "User name of SugarSync, an e-mail address", required=True),
    Option("password", "Password; it is traded for a refresh token and kept nowhere", required=True, secret=True),
)

Values = Mapping[str, str | int | float | bool | Secret | None]


def _open(values: Values, context: Context) -> Store:
    # Here and not above: naming the provider in a list must not cost the import of what it needs to run.
    from cftool_providers.sugarsync.store import open_store

    return open_store(values, context)


def _trade(values: Values, answers: Mapping[str, Secret], context: Context) -> Secret:
    from cftool_providers.sugarsync._login import trade

    return trade(values, answers, context)


PROVIDER = Provider(
    name="sugarsync",
    summary="SugarSync",
    docs="https://www.sugarsync.com/dev/api/resource-ref.html",
    options=OPTIONS,
    open=_open,
    login=PasswordLogin(ask=_ASK, trade=_trade),
)
