"""Endpoints, regions, addressing, and where keys come from."""

import re
import sys
import textwrap
from dataclasses import replace
from typing import ClassVar

import pytest

from cftool.core.errors import ConfigError, LoginRequired, NotFound, PermissionDenied, StoreError
from cftool.core.provider import Context, Secret
from cftool.core.sources import BytesSource
from cftool.core.types import Entry, Kind, ReadItem, WriteItem
from cftool.testing.fake_s3 import ACCESS_KEY, SECRET_KEY, FakeS3
from cftool.testing.http_fake import FakeResponse, FakeServer, mocked
from cftool.testing.targets import MemoryTarget
from cftool_providers.s3 import PROVIDER
from cftool_providers.s3._settings import host_safe, settings

from .conftest import Remembering

AMAZON = re.compile(r"^https?://")


class Amazon:
    """Amazon's endpoints over the fake service: each region's host knows its own buckets and redirects for others."""

    def __init__(self) -> None:
        self.fake = FakeS3()
        self.hosts: list[str] = []
        self.bare_redirects = False

    def handle(self, request):
        self.hosts.append(request.host)
        found = re.fullmatch(r"(?:(.+)\.)?s3\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?", request.host)
        if found is None:
            return FakeResponse(200, (("Content-Type", "text/html"),), b"<html>not Amazon</html>")
        bucket, region = found[1] or request.path.split("/")[1], found[2]
        self.fake.domain = f"s3.{region}.amazonaws.com{found[3] or ''}"
        there = self.fake.regions.get(bucket, region if bucket not in self.fake.buckets else "us-east-1")
        if bucket and there != region:
            headers = (("x-amz-bucket-region", there), ("Content-Type", "application/xml"))
            if self.bare_redirects and request.method != "HEAD":
                headers = headers[1:]
            body = self.fake.error(301, "PermanentRedirect", Endpoint="evil.test").body
            return FakeResponse(301, (*headers, ("Location", "https://evil.test/")), body)
        self.fake.region = region
        return self.fake.handle(request)


@pytest.fixture
def amazon():
    amazon = Amazon()
    with mocked(amazon.handle, AMAZON):
        yield amazon


def open_store(env=None, **options):
    values = {option.name: None for option in PROVIDER.options}
    values |= {"access_key_id": ACCESS_KEY, "secret_access_key": Secret(SECRET_KEY)} | options
    return PROVIDER.open(values, Context(env=env or {}, transport="requests", memory=Remembering()))


class TestRegions:
    def test_the_bucket_goes_into_the_host_at_amazon(self, amazon):
        amazon.fake.make("bucket", ["f"])
        store = open_store()
        assert [e.path for e in store.walk("bucket")] == ["bucket/f"]
        assert store.stat("bucket/f").size == 1
        assert set(amazon.hosts) == {"bucket.s3.us-east-1.amazonaws.com"}
        assert store.features.identity == "s3:aws"

    @pytest.mark.parametrize("bare", [False, True])
    def test_a_redirect_teaches_the_region_once(self, amazon, bare):
        amazon.bare_redirects = bare
        amazon.fake.make("bucket", ["f"])
        amazon.fake.regions["bucket"] = "eu-west-3"
        store = open_store()
        assert store.read("bucket/f").read() == b"x"
        store.write("bucket/g", BytesSource(b"y"))
        assert [e.path for e in store.walk("bucket")] == ["bucket/f", "bucket/g"]
        first = amazon.hosts.index("bucket.s3.eu-west-3.amazonaws.com")
        assert first <= 2
        assert set(amazon.hosts[first:]) == {"bucket.s3.eu-west-3.amazonaws.com"}
        assert "evil.test" not in amazon.hosts

    @pytest.mark.parametrize(
        "call", ["stat", "read", "write", "delete_many", "write_many", "read_many", "copy", "walk"]
    )
    def test_every_operation_learns_it(self, amazon, call):
        amazon.fake.make("bucket", ["f"])
        amazon.fake.regions["bucket"] = "eu-west-3"
        store = open_store()
        actions = {
            "stat": lambda: store.stat("bucket/f"),
            "read": lambda: store.read("bucket/f").read(),
            "write": lambda: store.write("bucket/g", BytesSource(b"y")),
            "delete_many": lambda: list(store.delete_many([Entry("bucket/f", Kind.FILE)])),
            "write_many": lambda: list(
                store.write_many(WriteItem(f"bucket/g{n}", BytesSource(b"y")) for n in range(9))
            ),
            "read_many": lambda: list(
                store.read_many(ReadItem(Entry("bucket/f", Kind.FILE, 1), MemoryTarget(), n) for n in range(9))
            ),
            "copy": lambda: store.copy("bucket/f", "bucket/g"),
            "walk": lambda: list(store.walk("bucket")),
        }
        result = actions[call]()
        assert not isinstance(result, list) or not any(getattr(r, "error", None) for r in result)
        assert "bucket.s3.eu-west-3.amazonaws.com" in amazon.hosts

    def test_a_large_upload_learns_it(self, amazon):
        amazon.fake.make("bucket")
        amazon.fake.regions["bucket"] = "eu-west-3"
        store = open_store(part_size=5 << 20)
        store.write("bucket/f", BytesSource(bytes((5 << 20) + 1)))
        assert len(amazon.fake.buckets["bucket"]["f"].data) == (5 << 20) + 1

    @pytest.mark.parametrize("region", ["cn-north-1", "evil.test/", "evil.test#", "", "us-gov-west-1", "UPPER"])
    def test_a_region_of_another_partition_or_none_at_all_is_not_followed(self, amazon, region):
        amazon.fake.make("bucket", ["f"])
        amazon.fake.regions["bucket"] = region
        with pytest.raises(StoreError):
            list(open_store().walk("bucket"))
        assert set(amazon.hosts) == {"bucket.s3.us-east-1.amazonaws.com"} or not region

    def test_redirects_in_a_circle_end(self, amazon):
        amazon.fake.make("bucket", ["f"])
        regions = iter(["eu-west-1", "eu-west-2"] * 50)

        def circle(request):
            amazon.hosts.append(request.host)
            return FakeResponse(301, (("x-amz-bucket-region", next(regions)),), b"")

        amazon.handle, handle = circle, amazon.handle
        with mocked(circle, re.compile(r"^https://bucket\.")), pytest.raises(StoreError):
            open_store().stat("bucket/f")
        assert len(amazon.hosts) < 9
        del handle

    def test_a_custom_endpoint_keeps_its_host_and_changes_the_signature(self, new_lab):
        lab = new_lab(region="garage")
        lab.fake.make("bucket", ["f"])
        lab.fake.regions["bucket"] = "garage"
        store = lab.open()
        assert store.read("bucket/f").read() == b"x"
        assert [e.path for e in store.scan("bucket")] == ["bucket/f"]
        assert lab.requests["GetObject"] == 2

    def test_listing_the_buckets_learns_it_too(self, new_lab):
        lab = new_lab(region="garage")
        lab.fake.make("bucket")
        assert [e.path for e in lab.open().scan("")] == ["bucket"]

    @pytest.mark.parametrize(
        ("options", "url"),
        [
            ({}, "https://bucket.s3.us-east-1.amazonaws.com/k"),
            ({"region": "cn-north-1"}, "https://bucket.s3.cn-north-1.amazonaws.com.cn/k"),
            ({"addressing_style": "path"}, "https://s3.us-east-1.amazonaws.com/bucket/k"),
            ({"endpoint_url": "http://minio:9000"}, "http://minio:9000/bucket/k"),
            ({"endpoint_url": "http://minio:9000/s3/"}, "http://minio:9000/s3/bucket/k"),
            ({"endpoint_url": "minio.example"}, "https://minio.example/bucket/k"),
            ({"endpoint_url": "https://x.test", "addressing_style": "virtual"}, "https://bucket.x.test/k"),
            ({"endpoint_url": "https://s3.eu-west-1.amazonaws.com"}, "https://bucket.s3.eu-west-1.amazonaws.com/k"),
        ],
    )
    def test_urls(self, options, url):
        store = open_store(**options)
        assert store._service.request("GET", "GetObject", "bucket", "k").url == url

    def test_a_bucket_that_cannot_be_a_host_goes_into_the_path(self):
        store = open_store()
        url = store._service.request("GET", "GetObject", "my.bucket", "a b/é//x?#").url
        assert url == "https://s3.us-east-1.amazonaws.com/my.bucket/a%20b/%C3%A9//x%3F%23"
        assert not any(map(host_safe, ("a.b", "UPPER", "a_b", "-a-", "1.2.3.4", "ab", "123")))
        assert host_safe("my-bucket-1")

    @pytest.mark.parametrize(
        ("endpoint", "identity"),
        [
            (None, "s3:aws"),
            ("https://minio.example:9000", "s3:minio.example:9000"),
            ("https://MINIO.example:443/", "s3:minio.example"),
            ("http://minio.example/s3", "s3:minio.example/s3"),
        ],
    )
    def test_identity_is_the_service_and_not_the_account(self, endpoint, identity):
        assert open_store(endpoint_url=endpoint).features.identity == identity
        assert open_store(endpoint_url=endpoint, access_key_id="other").features.identity == identity


class TestSettings:
    def of(self, env=None, **values):
        return settings(values, Context(env=env or {}))

    def test_the_environment_of_the_sdk_counts_after_the_options(self):
        env = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "x-1", "AWS_ENDPOINT_URL": "http://a:1"}
        found = self.of(env | {"AWS_ENDPOINT_URL_S3": "http://b:2", "AWS_CA_BUNDLE": "/ca"})
        assert (found.region, found.endpoint, found.ca_bundle) == ("eu-west-1", "http://b:2", "/ca")
        found = self.of(env, region="us-west-2", endpoint_url="http://c:3", ca_bundle="/own")
        assert (found.region, found.endpoint, found.ca_bundle) == ("us-west-2", "http://c:3", "/own")
        assert self.of().region == "us-east-1"

    def test_keys_come_from_one_place(self):
        env = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S", "AWS_SESSION_TOKEN": "T"}
        found = self.of(env)
        assert (found.access_key_id, found.secret_access_key, found.session_token) == ("A", "S", "T")
        found = self.of(env, access_key_id="a", secret_access_key=Secret("s"))
        assert (found.access_key_id, found.secret_access_key, found.session_token) == ("a", "s", "")
        assert self.of(env, profile="work").access_key_id == ""
        assert self.of({"AWS_ACCESS_KEY_ID": "A"}).access_key_id == ""

    @pytest.mark.parametrize(
        "values",
        [
            {"access_key_id": "only"},
            {"secret_access_key": Secret("only")},
            {"region": "no region/"},
            {"endpoint_url": "ftp://x"},
            {"endpoint_url": "https://"},
            {"endpoint_url": "https://user:pw@x"},
            {"endpoint_url": "https://x/?a=b"},
            {"endpoint_url": "https://x:port"},
            {"addressing_style": "other"},
            {"part_size": 1000},
            {"part_size": 6 * 1024**3},
        ],
    )
    def test_what_cannot_work_is_a_configuration_error(self, values):
        with pytest.raises(ConfigError) as caught:
            self.of(**values)
        assert "only" not in str(caught.value) or "only one" in str(caught.value)

    def test_secrets_do_not_print(self):
        found = self.of(access_key_id="a", secret_access_key=Secret("hidden-text"), session_token=Secret("hidden-too"))
        assert "hidden" not in repr(found)
        assert {o.name for o in PROVIDER.options if o.secret} == {"secret_access_key", "session_token"}

    def test_declares_the_options_of_the_manual(self):
        names = (
            "endpoint_url region access_key_id secret_access_key session_token profile role_arn anonymous "
            "addressing_style storage_class server_side_encryption kms_key_id acl requester_pays part_size "
            "create_bucket ca_bundle"
        )
        assert [option.name for option in PROVIDER.options] == names.split()


class TestKeys:
    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"access_key_id": "WRONG"}, "access_key_id"),
            ({"secret_access_key": Secret("wrong")}, "access_key_id"),
            ({"session_token": Secret("old")}, "log in again"),
        ],
    )
    def test_wrong_ones_ask_for_a_login(self, lab, change, text):
        lab.fake.make("bucket", ["f"])
        with pytest.raises(LoginRequired, match=text):
            list(lab.open(**change).walk("bucket"))
        assert sum(lab.requests.values()) <= 2

    def test_static_ones_do_not_import_boto3(self, new_lab):
        import subprocess

        lab = new_lab()
        lab.fake.make("bucket", ["f"])
        code = """
            import sys
            from cftool.core.provider import Context
            from cftool_providers.s3 import PROVIDER
            assert not any(m.startswith("cftool.http") for m in sys.modules), "opening a list imports too much"
            env = {"AWS_ACCESS_KEY_ID": sys.argv[2], "AWS_SECRET_ACCESS_KEY": sys.argv[3]}
            values = {option.name: None for option in PROVIDER.options} | {"endpoint_url": sys.argv[1]}
            store = PROVIDER.open(values, Context(env=env))
            assert [e.path for e in store.walk("bucket")] == ["bucket/f"]
            print([m for m in ("boto3", "botocore", "requests", "awscrt", "email", "xml.etree") if m in sys.modules])
        """
        command = [sys.executable, "-c", textwrap.dedent(code), lab.url, ACCESS_KEY, SECRET_KEY]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.stdout.strip(), done.stderr, done.returncode) == ("[]", "", 0)

    def test_anonymous_requests_are_not_signed(self, lab):
        lab.fake.make("bucket", ["f"])
        store = lab.open(anonymous=True)
        with pytest.raises(PermissionDenied):
            list(store.walk("bucket"))
        lab.fake.public = True
        assert [e.path for e in store.walk("bucket")] == ["bucket/f"]


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """An environment of its own for botocore, which reads the process's."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


class TestChain:
    KEYLESS: ClassVar = {"access_key_id": None, "secret_access_key": None}

    def test_a_profile_gives_keys_and_region(self, aws, new_lab):
        (aws / "credentials").write_text(
            f"[work]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        )
        (aws / "config").write_text("[profile work]\nregion = eu-north-1\n")
        lab = new_lab(region="eu-north-1")
        lab.fake.make("bucket", ["f"])
        store = lab.open(**self.KEYLESS, profile="work", region=None)
        assert [e.path for e in store.walk("bucket")] == ["bucket/f"]
        assert sum(lab.requests.values()) == 1

    def test_without_keys_the_message_says_what_to_do(self, aws, new_lab):
        with pytest.raises(LoginRequired, match="access_key_id"):
            list(new_lab().open(**self.KEYLESS).scan(""))

    def test_a_profile_that_is_missing_is_a_configuration_error(self, aws, new_lab):
        with pytest.raises(ConfigError, match="'nobody'"):
            list(new_lab().open(**self.KEYLESS, profile="nobody").scan(""))

    @pytest.mark.parametrize("options", [{}, {"profile": "work"}, {"role_arn": "arn:aws:iam::1:role/x"}])
    def test_without_boto3_the_message_says_so(self, aws, new_lab, monkeypatch, options):
        monkeypatch.setitem(sys.modules, "botocore.session", None)
        monkeypatch.setitem(sys.modules, "botocore", None)
        with pytest.raises(ConfigError, match="boto3"):
            list(new_lab().open(**self.KEYLESS, **options).scan(""))

    def test_a_session_that_expired_is_renewed_from_where_it_came(self, aws, new_lab):
        credentials = aws / "credentials"
        keys = f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        credentials.write_text(keys + "aws_session_token = first\n")
        lab = new_lab(token="first")
        lab.fake.make("bucket", ["f"])
        store = lab.open(**self.KEYLESS)
        assert len(list(store.walk("bucket"))) == 1
        credentials.write_text(keys + "aws_session_token = second\n")
        lab.fake.token = "second"
        assert len(list(store.walk("bucket"))) == 1
        lab.fake.token = "third"
        with pytest.raises(LoginRequired):
            list(store.walk("bucket"))

    def test_a_program_that_gives_keys(self, aws, new_lab):
        answer = f'{{"Version": 1, "AccessKeyId": "{ACCESS_KEY}", "SecretAccessKey": "{SECRET_KEY}"}}'
        script = aws / "give"
        script.write_text(f"#!/bin/sh\necho '{answer}'\n")
        script.chmod(0o755)
        (aws / "config").write_text(f"[default]\ncredential_process = {script}\n")
        lab = new_lab()
        lab.fake.make("bucket", ["f"])
        assert len(list(lab.open(**self.KEYLESS).walk("bucket"))) == 1
        script.write_text("#!/bin/sh\nexit 1\n")
        with pytest.raises(LoginRequired):
            list(lab.open(**self.KEYLESS).walk("bucket"))

    def test_a_role_is_assumed_with_the_keys_given(self, aws, new_lab, monkeypatch):
        asked = []

        def sts(request):
            asked.append(request.body)
            return FakeResponse(
                200,
                (("Content-Type", "text/xml"),),
                b'<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
                + f"<AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{SECRET_KEY}</SecretAccessKey>".encode()
                + b"<SessionToken>role-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
                b"</AssumeRoleResult></AssumeRoleResponse>",
            )

        lab = new_lab(token="role-token")
        lab.fake.make("bucket", ["f"])
        with FakeServer(sts) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
            options = {
                "access_key_id": "base",
                "secret_access_key": Secret("secret"),
                "role_arn": "arn:aws:iam::1:role/x",
            }
            assert len(list(lab.open(**options).walk("bucket"))) == 1
        assert len(asked) == 1
        assert b"role%2Fx" in asked[0]


def test_not_found_is_never_a_redirect(new_lab):
    lab = new_lab()
    lab.fake.make("bucket", ["f"])
    lab.fake.fail("HeadObject", replace(FakeResponse(302, (("Location", "http://evil.test/f"),)), body=b""))
    with pytest.raises(StoreError) as caught:
        lab.open().stat("bucket/f")
    assert not isinstance(caught.value, NotFound)
