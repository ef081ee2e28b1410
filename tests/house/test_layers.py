"""The import rules of CONTRIBUTING.md hold, and the tool that enforces them notices when they do not."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROVIDERS_MAY_IMPORT = ("cftool.core", "cftool.disk", "cftool.http")


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    env = {**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'providers'}"}
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("cftool", "cftool_providers", cache_dir=None)


@pytest.fixture
def copied_tree(tmp_path: Path) -> Path:
    for folder in ("cftool", "providers"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_import_contracts_are_kept_by_this_tree(copied_tree):
    done = lint_imports(copied_tree)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("cftool/core/paths.py", "import cftool.transfer.api", "layers, high to low"),
        ("cftool/config/__init__.py", "import cftool.http.types", "layers, high to low"),
        ("cftool/disk/__init__.py", "import cftool.http.types", "layers, high to low"),
        ("cftool/stack.py", "import cftool.cli.main", "layers, high to low"),
        ("cftool/wrap/__init__.py", "import cftool_providers.s3", "cftool never imports a provider"),
        (
            "providers/cftool_providers/memory/__init__.py",
            "import cftool.config",
            "providers use core, disk and http only",
        ),
        (
            "providers/cftool_providers/s3/__init__.py",
            "import cftool_providers.local",
            "providers never import each other",
        ),
        ("cftool/transfer/api.py", "import rich.table", "terminal libraries only in cli"),
        ("providers/cftool_providers/s3/__init__.py", "import requests", "sockets only in http"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(copied_tree, module, statement, contract):
    planted = copied_tree / module
    planted.write_text(planted.read_text() + f"\n\ndef _planted() -> None:\n    {statement}\n")
    done = lint_imports(copied_tree)
    assert (done.returncode, f"{contract} BROKEN" in done.stdout) == (1, True), done.stdout


def providers() -> list[str]:
    """The packages of our own providers, as their entry points name them."""
    points = [point for point in entry_points(group="cftool.providers") if point.dist.name == "cftool"]
    return sorted(point.value.partition(":")[0] for point in points)


def test_every_provider_is_found_by_its_entry_point(graph):
    packages = sorted(graph.find_children("cftool_providers"))
    assert providers() == packages


@pytest.mark.parametrize("provider", providers())
def test_a_provider_imports_core_disk_and_http_only(graph, provider):
    found = {
        imported
        for module in {provider, *graph.find_descendants(provider)}
        for imported in graph.find_modules_directly_imported_by(module)
    }
    allowed = (*PROVIDERS_MAY_IMPORT, provider)
    foreign = [
        name for name in sorted(found) if not any(name == root or name.startswith(root + ".") for root in allowed)
    ]
    assert foreign == []
