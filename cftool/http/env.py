"""Proxies and CA bundles as the environment names them, read once and explicitly: no transport looks for itself.

The variables and their precedence are curl's (lower case before upper case, and HTTP_PROXY in lower case only, because
a CGI's clients can set the other), and for CA bundles those of requests, curl, OpenSSL and the AWS tools.
"""

import os
from collections.abc import Mapping

from cftool.core.errors import ConfigError

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE")
# Debian and Alpine, Fedora and RHEL, SUSE, the BSDs and macOS.
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def proxies(env: Mapping[str, str]) -> dict[str, str]:
    """{scheme: proxy URL} for http and https; empty variables count as unset."""
    fallback = env.get("all_proxy") or env.get("ALL_PROXY")
    found = {
        "http": env.get("http_proxy") or fallback,
        "https": env.get("https_proxy") or env.get("HTTPS_PROXY") or fallback,
    }
    return {scheme: url if "://" in url else f"http://{url}" for scheme, url in found.items() if url}


def no_proxy(env: Mapping[str, str]) -> str:
    """The hosts that are reached directly."""
    return env.get("no_proxy") or env.get("NO_PROXY") or ""


def bypasses(host: str, port: int, rules: str) -> bool:
    """Whether `host` (no brackets) is reached directly by the NO_PROXY list `rules`.

    An entry is `*`, a domain (itself and everything below, with or without a leading dot), an address, a network in
    CIDR notation, each but the network optionally with `:port`. Names are not resolved.
    """
    host = host.lower().rstrip(".")
    return any(_matches(host, port, rule) for rule in rules.lower().replace(",", " ").split())


def _matches(host: str, port: int, rule: str) -> bool:
    if rule == "*":
        return True
    if "/" in rule:
        return _in_network(host, rule)
    if rule.startswith("["):
        rule, _, rest = rule[1:].partition("]")
        wanted = rest.lstrip(":")
    elif rule.count(":") == 1:
        rule, _, wanted = rule.partition(":")
    else:  # no port, or a bare IPv6 address
        wanted = ""
    if wanted and wanted != str(port):
        return False
    if ":" in rule:
        return _in_network(host, rule)
    rule = rule.lstrip(".").rstrip(".")
    if not rule:
        return False
    # A suffix of an address is no domain: 0.0.1 does not cover 10.0.0.1.
    return host == rule or (host.endswith("." + rule) and not _is_address(host))


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _in_network(host: str, rule: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False


def ca_bundle(env: Mapping[str, str], explicit: str | None = None) -> tuple[str, str]:
    """(path, origin): the PEM file or directory to trust, and which setting named it.

    Raises ConfigError where a setting names what is not there: silence would fall back to another set of authorities.
    """
    if explicit:
        return _existing(explicit, "ca_bundle"), "ca_bundle"
    for variable in _BUNDLES:
        if path := env.get(variable):
            return _existing(path, variable), variable
    for path in _SYSTEM_BUNDLES:
        if os.path.exists(path):
            return path, "the system's"
    import certifi

    return certifi.where(), "certifi's"


def _existing(path: str, origin: str) -> str:
    path = os.path.expanduser(path)
    if not os.path.exists(path):
        raise ConfigError(f"{origin} names the CA bundle {path}, which does not exist")
    if not os.access(path, os.R_OK):
        raise ConfigError(f"{origin} names the CA bundle {path}, which cannot be read")
    return path


def trust_words(path: str, origin: str) -> str:
    """What is trusted, for the message of a certificate that was not: names the settings that change it."""
    named = f" ({origin})" if origin else ""
    return f"{path or 'nothing'}{named}; set ca_bundle or {_BUNDLES[0]} to the PEM file of another authority"
