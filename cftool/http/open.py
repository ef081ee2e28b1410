"""Makes a provider's Client from what the surroundings say: which transport, which proxies, which CA bundle.

The only place that chooses between libcurl and requests. Nothing is imported before it is chosen.
"""

import os
import select

import cftool
from cftool.core.errors import ConfigError
from cftool.core.provider import Context
from cftool.http import env
from cftool.http.client import Client
from cftool.http.types import Auth, Classify, Policy, Transport, TransportOptions

CURL, REQUESTS = "curl", "requests"


def open_client(
    context: Context,
    *,
    auth: Auth,
    classify: Classify,
    ca_bundle: str | None = None,
    policy: Policy | None = None,
    connections: int = 64,
    ceiling: int | None = None,
    name: str = "",
) -> Client:
    """A Client for the remote. Raises ConfigError for an unknown transport or a CA bundle that is not there.

    `connections` run at once at first. `context.connections` (the user's word) is the most that ever will; without it
    `ceiling` (default: twice `connections`).
    """
    policy = policy or Policy()
    most = context.connections or ceiling or 2 * connections
    path, origin = env.ca_bundle(context.env, ca_bundle)
    directory = os.path.isdir(path)
    options = TransportOptions(
        proxies=env.proxies(context.env),
        no_proxy=env.no_proxy(context.env),
        ca_file=None if directory else path,
        ca_path=path if directory else None,
        ca_origin=origin,
        connections=most,
        user_agent=f"cftool/{cftool.__version__}",
        policy=policy,
        cancelled=context.cancelled,
        pace=context.pace,
    )
    return Client(
        open_transport(context.transport or context.env.get("CFTOOL_TRANSPORT") or None, options),
        auth=auth,
        classify=classify,
        policy=policy,
        requests=context.requests,
        connections=min(connections, most),
        ceiling=most,
        name=name or context.remote,
        cancelled=context.cancelled,
    )


def open_transport(kind: str | None, options: TransportOptions) -> Transport:
    """The transport called `kind`; None: libcurl where it is there, else requests."""
    if kind not in {None, CURL, REQUESTS}:
        raise ConfigError(f"the transport {kind!r} is neither {CURL!r} nor {REQUESTS!r}")
    if kind != REQUESTS:
        try:
            if not hasattr(select, "epoll"):
                raise ImportError("this system has no epoll")
            from cftool.http.curl import CurlTransport
        except ImportError as error:
            if kind == CURL:
                raise ConfigError(f"the transport 'curl' is not available: {error}") from None
        else:
            return CurlTransport(options)
    from cftool.http.requests_transport import RequestsTransport

    return RequestsTransport(options)
