"""The conformance suite over Google Cloud Storage: both APIs of the fake service, both transports, other habits."""

import pytest

from cftool.testing.contract import StoreContract
from cftool.testing.fake_gs import Habits
from cftool.wrap.prefix import PrefixStore
from cftool_providers.gs import _session, _upload

KIB = 1024


class GsContract(StoreContract):
    transport = "curl"
    xml = False
    habits = Habits()
    probe = True
    many = 1_010
    sizes = (0, 1, 4096, 65_537, 512 * KIB, 512 * KIB + 1, 1024 * KIB, 1024 * KIB + 1)

    @pytest.fixture
    def store(self, new_lab, monkeypatch):
        monkeypatch.setattr(_upload, "WHOLE", 1024 * KIB)
        monkeypatch.setattr(_session, "CHUNK", 512 * KIB)
        monkeypatch.setattr(_session, "STREAM_CHUNK", 256 * KIB)
        lab = new_lab(self.habits, transport=self.transport, xml=self.xml)
        lab.fake.make("bucket")
        gs = lab.open()
        if self.probe:
            gs.probe("bucket")
        yield PrefixStore(gs, "bucket")
        left = [key for key in lab.fake.buckets["bucket"] if ".cftool-" in key]
        assert left == [], "parts or probes were left behind"
        assert all(session.done for session in lab.fake.sessions.values()), "a session was left behind"


class TestJsonOverLibcurl(GsContract):
    pass


class TestJsonOverRequests(GsContract):
    transport = "requests"
    big = 600_001


class TestXmlOverLibcurl(GsContract):
    xml = True


class TestXmlOverRequests(GsContract):
    xml = True
    transport = "requests"
    big = 600_001


class TestWithoutConditions(GsContract):
    """An emulator's: it ignores conditions and gives small pages."""

    habits = Habits(conditions=False, page=300, one_hash_header=True)


class TestWithPartialChunks(GsContract):
    """A service that stores less of a chunk than was sent."""

    habits = Habits(partial=True, rewrite_rounds=3)
