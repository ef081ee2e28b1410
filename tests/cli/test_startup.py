"""What a start imports: cron calls cftool every minute, so that each module here is a decision."""

import subprocess
import sys

import pytest

SLOW = {
    "boto3", "botocore", "requests", "urllib3", "pycurl", "rich", "pydantic", "pydantic_core", "tomlkit", "keyring",
    "platformdirs", "http", "asyncio", "multiprocessing", "awscrt", "defusedxml", "sqlite3", "ssl", "xml",
    "shellingham.posix", "unittest", "concurrent",
}  # fmt: skip


def imported(*words: str) -> set[str]:
    """The modules after a command, without those that Python itself has at its start."""
    script = (
        "import sys, os; before = set(sys.modules)\n"
        "from cftool.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "os.write(2, ' '.join(set(sys.modules) - before).encode())\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, check=True)
    return set(done.stderr.decode().split())


def test_the_version_imports_nothing(here):
    assert imported("--version") <= {"cftool", "cftool.cli", "cftool.cli.main", "atexit", "gc"}


@pytest.mark.parametrize("words", [("ls", "."), ("ls", "-l", "."), ("stat", "."), ("mkdir", "x"), ("ls", "--help")])
def test_a_local_command_imports_nothing_slow(here, words):
    found = {name.partition(".")[0] for name in imported(*words)}
    assert sorted(found & SLOW) == []


def test_a_listing_imports_only_its_own_command_and_no_engine(here):
    found = imported("ls", ".")
    assert {name for name in found if name.startswith("cftool.cli.cmd_")} == {"cftool.cli.cmd_ls"}
    assert {name for name in found if name.startswith(("cftool.transfer", "cftool.http", "cftool_providers."))} <= {
        "cftool_providers.local",
        "cftool_providers.local.store",
    }
    # A ceiling with room for a few modules of the standard library, not for a package.
    assert len(found) < 230


def test_a_listing_reads_no_configuration_where_the_address_is_local(here, monkeypatch):
    monkeypatch.setenv("CFTOOL_CONFIG", "/nonexistent")
    imported("ls", ".")
