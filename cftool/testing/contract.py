"""The conformance suite of stores: inherit it, give a fixture, and a provider's whole test file is twenty lines.

    class TestMine(StoreContract):
        @pytest.fixture
        def store(self):
            yield an_empty_store()

Every case runs on a store that the fixture made empty, and is chosen by the capabilities that the store declares: what
it does not declare it must refuse (`test_absent_…`). Cases that a store cannot meet are overridden by name with the
reason; nothing is skipped for any other cause. The cases live in `testing.cases`, by subject.
"""

import pytest

# Before the cases are imported, so that a failing assertion there shows its values as in a test file.
pytest.register_assert_rewrite("cftool.testing.cases")

from cftool.testing.cases.content import ContentCases  # noqa: E402 - see above
from cftool.testing.cases.names import NameCases  # noqa: E402
from cftool.testing.cases.optional import OptionalCases  # noqa: E402
from cftool.testing.cases.parallel import ParallelCases  # noqa: E402
from cftool.testing.cases.tree import TreeCases  # noqa: E402

__all__ = ["StoreContract"]


class StoreContract(ContentCases, TreeCases, NameCases, OptionalCases, ParallelCases):
    """All cases. Override the fixture `store`; tune `many`, `sizes` and `big` (see `cases.base.Base`)."""
