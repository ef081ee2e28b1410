"""Proxies, their exceptions, and CA bundles, as the environment names them."""

import pytest

from cftool.core.errors import ConfigError
from cftool.http import env


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {}),
        ({"https_proxy": "http://p:1"}, {"https": "http://p:1"}),
        ({"HTTPS_PROXY": "http://p:1"}, {"https": "http://p:1"}),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1"}, {"https": "http://lower:1"}),
        ({"http_proxy": "http://p:1"}, {"http": "http://p:1"}),
        ({"HTTP_PROXY": "http://attacker:1"}, {}),
        ({"ALL_PROXY": "http://p:1"}, {"http": "http://p:1", "https": "http://p:1"}),
        (
            {"all_proxy": "http://l:1", "ALL_PROXY": "http://u:1", "https_proxy": "http://s:1"},
            {"http": "http://l:1", "https": "http://s:1"},
        ),
        ({"https_proxy": "", "HTTPS_PROXY": ""}, {}),
        ({"https_proxy": "proxy.test:3128"}, {"https": "http://proxy.test:3128"}),
    ],
)
def test_proxies(variables, expected):
    assert env.proxies(variables) == expected


def test_no_proxy_is_read_in_both_cases():
    assert env.no_proxy({"NO_PROXY": "a"}) == "a"
    assert env.no_proxy({"NO_PROXY": "a", "no_proxy": "b"}) == "b"
    assert env.no_proxy({}) == ""


@pytest.mark.parametrize(
    ("host", "port", "rules", "direct"),
    [
        ("s3.test", 443, "", False),
        ("s3.test", 443, "*", True),
        ("s3.test", 443, "s3.test", True),
        ("S3.Test", 443, "s3.TEST", True),
        ("s3.test.", 443, "s3.test", True),
        ("a.s3.test", 443, "s3.test", True),
        ("a.s3.test", 443, ".s3.test", True),
        ("s3.test", 443, ".s3.test", True),
        ("nots3.test", 443, "s3.test", False),
        ("s3.test", 443, "other.test, s3.test", True),
        ("s3.test", 443, "other.test s3.test", True),
        ("s3.test", 443, "s3.test:443", True),
        ("s3.test", 443, "s3.test:8443", False),
        ("10.1.2.3", 80, "10.0.0.0/8", True),
        ("11.1.2.3", 80, "10.0.0.0/8", False),
        ("s3.test", 80, "10.0.0.0/8", False),
        ("10.1.2.3", 80, "10.1.2.3", True),
        ("10.1.2.3", 80, "2.3", False),
        ("10.1.2.3", 80, "10.1.2.3/99", False),
        ("::1", 80, "::1", True),
        ("::1", 80, "[::1]", True),
        ("::1", 80, "[::1]:80", True),
        ("::1", 80, "[::1]:81", False),
        ("fe80::1", 80, "fe80::/10", True),
        ("s3.test", 80, ".", False),
        ("s3.test", 80, ",,", False),
    ],
)
def test_hosts_that_are_reached_directly(host, port, rules, direct):
    assert env.bypasses(host, port, rules) is direct


def test_ca_bundles_by_precedence(tmp_path):
    files = {}
    for name in ("explicit", "requests", "curl", "openssl", "aws"):
        files[name] = str(tmp_path / name)
        (tmp_path / name).write_text("pem")
    variables = {
        "REQUESTS_CA_BUNDLE": files["requests"],
        "CURL_CA_BUNDLE": files["curl"],
        "SSL_CERT_FILE": files["openssl"],
        "SSL_CERT_DIR": str(tmp_path),
        "AWS_CA_BUNDLE": files["aws"],
    }
    assert env.ca_bundle(variables, files["explicit"]) == (files["explicit"], "ca_bundle")
    for variable in list(variables):
        assert env.ca_bundle(variables) == (variables[variable], variable)
        del variables[variable]
    path, origin = env.ca_bundle({})
    assert path
    assert origin in {"the system's", "certifi's"}


def test_a_system_without_a_bundle_falls_back_to_certifi(monkeypatch):
    import certifi

    monkeypatch.setattr(env, "_SYSTEM_BUNDLES", ("/nonexistent",))
    assert env.ca_bundle({}) == (certifi.where(), "certifi's")


def test_a_bundle_that_is_not_there_is_an_error_and_no_fallback(tmp_path):
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(ConfigError, match=r"SSL_CERT_FILE names the CA bundle .*missing\.pem, which does not exist"):
        env.ca_bundle({"SSL_CERT_FILE": missing})
    with pytest.raises(ConfigError, match="ca_bundle names"):
        env.ca_bundle({}, missing)


def test_a_bundle_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "secret.pem"
    path.write_text("pem")
    monkeypatch.setattr(env.os, "access", lambda path, mode: False)
    with pytest.raises(ConfigError, match="cannot be read"):
        env.ca_bundle({}, str(path))
