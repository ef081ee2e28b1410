"""The conformance suite over S3: the fake service on both transports, and with the habits of other services."""

import pytest

from cftool.testing.contract import StoreContract
from cftool.testing.fake_s3 import Habits
from cftool.wrap.prefix import PrefixStore

MIB = 1024 * 1024


class S3Contract(StoreContract):
    transport = "curl"
    habits = Habits()
    probe = True
    part = 5 * MIB
    sizes = (0, 1, 4096, 65_537, 512 * 1024, 512 * 1024 + 1, 5 * MIB, 5 * MIB + 1)

    @pytest.fixture
    def store(self, new_lab):
        lab = new_lab(self.habits, transport=self.transport)
        lab.fake.make("bucket")
        s3 = lab.open(part_size=self.part)
        if self.probe:
            s3.probe("bucket")
        yield PrefixStore(s3, "bucket")
        assert lab.fake.uploads == {}, "an upload was left behind"


class TestOverLibcurl(S3Contract):
    pass


class TestOverRequests(S3Contract):
    transport = "requests"
    many = 1_010
    big = 600_001


class TestLikeRcloneServe(S3Contract):
    """No conditions, no checksums, sparse listings."""

    habits = Habits(
        conditions=False,
        full_checksums=False,
        omit_zero_count=True,
        bare_etags=True,
        indent=True,
        ranges_as_200=True,
        initiate_root="InitiateMultipartUpload",
    )
    probe = False


class TestLikeOthers(S3Contract):
    """Keys as %20, an order of elements that only the slow decoder reads, encrypted with KMS."""

    habits = Habits(plus_for_blank=False, pretty_order=True, kms=True, page=300)
