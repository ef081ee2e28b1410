"""What the tests here share: a certificate authority, and a service by its name."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from cftool.testing.http_fake import Authority
from tests.cloudfusion import services
from tests.cloudfusion.services import FAKES, REAL, Service


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    with Authority() as ca:
        yield ca


@pytest.fixture(params=[*FAKES, *(pytest.param(name, marks=pytest.mark.real) for name in REAL)])
def service(request, tmp_path, authority) -> Iterator[Service]:
    """Each of them, in a test of its own."""
    with ExitStack() as stack:
        yield services.opened(request.param, tmp_path, authority, request, stack)
