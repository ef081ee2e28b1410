"""link: one URL a line; who has no links says so."""

import urllib.request

import pytest

from tests.servers import boto3_client, new_bucket


def test_links_are_lines_and_one_that_fails_stops_no_other(run, fake_s3):
    fake_s3.make("bucket", ["a", "b b"], b"content")
    ran = run("link", "lab:bucket/a", "lab:bucket/missing", "lab:bucket/b b", "--expires", "1h30m", code=3)
    assert len(ran.lines) == 2
    for line in ran.lines:
        with urllib.request.urlopen(line, timeout=20) as answer:
            assert answer.read() == b"content"
        assert "X-Amz-Expires=5400&" in line
    (event,) = run("link", "lab:bucket/a", "--json").events
    assert (event["event"], event["path"], event["expires"]) == ("link", "lab:bucket/a", None)
    assert event["url"].startswith("http://")


@pytest.mark.parametrize(("expires", "code"), [("8d", 1), ("0", 1), ("soon", 2)])
def test_how_long_is_possible(run, fake_s3, expires, code):
    fake_s3.make("bucket", ["a"])
    ran = run("link", "lab:bucket/a", "--expires", expires, code=code)
    assert ran.out == b""
    assert ran.err.count("\n") == 1


def test_what_has_no_links_is_1(run, here):
    (here / "f").write_text("x")
    assert run("link", "f", code=1).err == "cftool: f: there are no links to files here\n"
    run("link", "memory:f", code=1)


def test_directories_have_none(run, fake_s3):
    fake_s3.make("bucket", ["d/a"])
    for path in ("lab:bucket", "lab:bucket/d", "lab:bucket/d/", "lab:bucket/d/a/"):
        run("link", path, code=1)


@pytest.mark.real
@pytest.mark.parametrize("kind", ["rclone", "moto"])
def test_servers_of_somebody_else_take_them(run, request, kind, monkeypatch, here):
    server = request.getfixturevalue(f"{kind}_server")
    for name, value in server.cftool_environment("real").items():
        monkeypatch.setenv(name, value)
    bucket = new_bucket(server, create=True)
    (here / "f").write_text("shared")
    run("cp", "f", f"real:{bucket}/a b/f")
    assert boto3_client(server).get_object(Bucket=bucket, Key="a b/f")["Body"].read() == b"shared"
    (url,) = run("link", f"real:{bucket}/a b/f").lines
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.read() == b"shared"
    if kind == "rclone":
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(url.replace("604800", "604799"), timeout=20)
