"""The wheel holds what a user needs and nothing else, and the declared dependencies are the ones that are imported."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = [*(ROOT / "cftool").rglob("*.py"), *(ROOT / "providers").rglob("*.py")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_both_packages_their_types_and_the_licence(wheel):
    modules = {str(path.relative_to(ROOT)).removeprefix("providers/") for path in SOURCES}
    assert modules <= set(wheel)
    assert {"cftool/py.typed", "cftool_providers/py.typed"} <= set(wheel)
    assert [name for name in wheel if name.endswith("licenses/LICENSE")] != []


def test_the_wheel_holds_nothing_else(wheel):
    assert {name.split("/")[0].partition("-")[0] for name in wheel} == {"cftool", "cftool_providers"}


def test_every_entry_point_of_the_distribution_loads():
    points = [
        *(point for point in entry_points(group="cftool.providers") if point.dist.name == "cftool"),
        *(point for point in entry_points(group="console_scripts", name="cftool")),
    ]
    assert len(points) == 1 + len(PROJECT["entry-points"]["cftool.providers"])
    assert all(point.load() is not None for point in points)


def imported() -> set[str]:
    """The distributions that the sources import from, anywhere in them."""
    names: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.partition(".")[0])
    known = packages_distributions()
    foreign = names - set(sys.stdlib_module_names) - {"cftool", "cftool_providers"}
    return {known[name][0].lower() for name in foreign if name in known}


def declared(*groups: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() for group in groups for line in group}


# Distributions that come with a declared one, whose own interface hands their objects out.
COME_ALONG = {"botocore": "boto3", "certifi": "requests", "cryptography": "trustme"}


def test_what_is_imported_is_declared():
    optional = PROJECT["optional-dependencies"]
    # `cftool.testing` needs the extra `test`, as everybody does who runs it.
    groups = [
        PROJECT["dependencies"],
        *(optional[name] for name in ("s3", "fast", "google", "keyring", "fuse", "test")),
    ]
    assert imported() - declared(*groups) - set(COME_ALONG) == set()


def test_what_every_user_installs_is_imported():
    assert declared(PROJECT["dependencies"]) - imported() == set()


def test_the_version_is_said_once_and_the_same_everywhere():
    import cftool

    assert PROJECT["version"] == cftool.__version__
