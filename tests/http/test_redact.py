"""No secret in a log line or a message, in any shape that one is known to take."""

import pytest

from cftool.http.redact import redact, safe_url

SECRETS = [
    "Authorization: AWS4-HMAC-SHA256 Credential=AKID/20231114/r/s3/aws4_request, SignedHeaders=host, Signature=hunter2",
    "authorization: Bearer hunter2",
    "AUTHORIZATION:Basic hunter2==",
    "Proxy-Authorization: Basic hunter2",
    "{'authorization': 'Bearer hunter2', 'x': 'y'}",
    "('x-amz-security-token', 'hunter2')",
    "x-amz-security-token: hunter2",
    "Cookie: session=hunter2; other=1",
    "Set-Cookie: session=hunter2",
    "https://s3.test/b/k?X-Amz-Signature=hunter2&x=1",
    "https://s3.test/b/k?x=1&X-Amz-Credential=hunter2%2F20231114",
    "https://s3.test/b/k?X-Amz-Security-Token=hunter2",
    "https://s3.test/b/k?x-amz-signature=hunter2",
    "https://storage.test/b?GoogleAccessId=hunter2&Expires=1&Signature=hunter2",
    "https://host.test/?access_token=hunter2",
    "https://host.test/?AWSAccessKeyId=hunter2&Signature=hunter2",
    "https://host.test/cb?code=hunter2&state=1",
    "https://user:hunter2@host.test/path",
    "https://hunter2@host.test/path",
    "http://user:hunter2@proxy.test:3128",
    '{"access_token": "hunter2", "expires_in": 14400}',
    '{"refresh_token":"hunter2"}',
    "grant_type=refresh_token&refresh_token=hunter2&client_secret=hunter2",
    "client_secret=hunter2",
    "<SecretAccessKey>hunter2</SecretAccessKey>",
    "<SessionToken>hunter2</SessionToken>",
    "password: hunter2",
    "secret_access_key = 'hunter2 with blanks'",
    "Bearer hunter2hunter2",
    "token=hunter2",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_taken_out(text):
    assert "hunter2" not in redact(text)
    assert "hunter2" not in redact(f"it failed: {text}\nand then {text}")


@pytest.mark.parametrize(
    "text",
    [
        "https://s3.test/bucket/key?list-type=2&prefix=a%2Fb&continuation-token-is-not-a-secret",
        "127.0.0.1:9000: the connection was refused",
        "the code of the error is 404",
        "oauth2.googleapis.com:443: the connection was refused",
        "https://s3.test/bucket/tokens/password.txt",
    ],
)
def test_ordinary_text_is_left_alone(text):
    assert redact(text) == text


def test_a_url_is_safe_to_print():
    assert safe_url("https://u:p@s3.test/\x1b[2J?X-Amz-Signature=abc&a=1") == (
        "https://***@s3.test/\\x1b[2J?X-Amz-Signature=***&a=1"
    )
