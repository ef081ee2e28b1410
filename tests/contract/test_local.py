"""The conformance suite over `local` in the stack that commands use; the bare provider has it among its own tests."""

import pytest

from cftool.stack import Metadata, build
from cftool.testing.contract import StoreContract
from cftool_providers.local.store import LocalStore


class TestLocalStack(StoreContract):
    many = 200

    @pytest.fixture
    def store(self, tmp_path):
        store = build(LocalStore(str(tmp_path)), root="some/tree", metadata=Metadata(3600))
        store.mkdir("")
        yield store
        store.close()
