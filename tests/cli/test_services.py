"""What the command does alike at every provider, over their fakes: addresses that lead nowhere, logins that end."""

import pytest

from tests.adversarial.services import KINDS, served, without_waiting


@pytest.fixture(params=KINDS)
def service(request, here, tmp_path, monkeypatch):
    """A service of each kind, with an empty directory."""
    without_waiting(monkeypatch)
    with served(request.param, tmp_path) as one:
        yield one


@pytest.mark.parametrize("flags", [(), ("--older-than", "1d"), ("--dry-run",)], ids=" ".join)
def test_cleanup_of_what_is_not_there_says_what_ls_says(run, service, flags):
    """A slip of the pen in a cron job is not to pass for a clean remote."""
    for path in ("nowhere-77", f"{service.path}/none"):
        address = f"{service.remote}:{path}"
        listed, cleaned = run("ls", address, code=3), run("cleanup", *flags, address, code=3)
        assert cleaned.err.splitlines()[0] == listed.err.splitlines()[0]
    assert run("cleanup", *flags, service.place).err.startswith("to delete 0" if "--dry-run" in flags else "deleted 0")
