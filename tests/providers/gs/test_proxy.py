"""On Google's real host names, through a proxy and under a private authority, as behind a company's gateway."""

import pytest

from cftool.core.provider import Context, Secret
from cftool.core.sources import BytesSource
from cftool.testing.fake_gs import ACCESS_KEY, SECRET_KEY, FakeGS
from cftool.testing.http_fake import Authority, FakeProxy, FakeServer
from cftool_providers.gs import PROVIDER, _session, _upload

HOSTS = ("storage.googleapis.com", "oauth2.googleapis.com")


@pytest.fixture(scope="module")
def authority():
    with Authority() as ca:
        yield ca


@pytest.mark.parametrize("transport", ["curl", "requests"])
@pytest.mark.parametrize("xml", [False, True], ids=["json", "xml"])
def test_all_goes_through_the_proxy_to_the_real_names(authority, new_lab, monkeypatch, tmp_path, transport, xml):
    monkeypatch.setattr(_upload, "WHOLE", 512 * 1024)
    monkeypatch.setattr(_session, "CHUNK", 256 * 1024)
    fake = FakeGS()
    fake.make("bucket")
    lab = new_lab()
    fake.accounts = lab.fake.accounts
    with (
        FakeServer(fake.handle, tls=authority, hosts=HOSTS) as server,
        FakeProxy(resolve={f"{host}:443": ("127.0.0.1", server.port) for host in HOSTS}) as proxy,
    ):
        values = {option.name: option.default for option in PROVIDER.options}
        if xml:
            values |= {"access_key_id": ACCESS_KEY, "secret_access_key": Secret(SECRET_KEY)}
        else:
            values["service_account_file"] = lab.account("https://oauth2.googleapis.com/token")
        env = {"HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": authority.bundle}
        context = Context(remote=f"{transport}{xml}", env=env, transport=transport, state_dir=str(tmp_path / "state"))
        store = PROVIDER.open(values, context)
        try:
            data = bytes(range(256)) * 5000
            store.write("bucket/small", BytesSource(b"hello"))
            store.write("bucket/large", BytesSource(data))
            assert sorted(entry.path for entry in store.walk("bucket")) == ["bucket/large", "bucket/small"]
            with store.read("bucket/large") as download:
                assert download.read() == data
            assert [r.error for r in store.delete_many(list(store.scan("bucket"))) if r.error] == []
            assert fake.buckets == {"bucket": {}}
        finally:
            store.close()
        assert set(proxy.connected) == {f"{host}:443" for host in (HOSTS[:1] if xml else HOSTS)}
        assert proxy.forwarded == []
