"""What the documentation says is so: links lead somewhere, tables match the program, commands run as they stand."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from cftool.cli import exits
from tests.house import docs
from tests.servers import BIN, S3Server

ROOT = docs.ROOT
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {part for part in path.relative_to(ROOT).parts if part.startswith(".")} and "build" not in path.parts
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"<!-- tested -->\n```sh\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = [target.partition("#")[0] for target in LINK.findall(page.read_text())]
    local = [target for target in targets if target and "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_pages_of_a_project_are_there() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"} <= names
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


def test_the_generated_parts_are_fresh() -> None:
    text = docs.README.read_text()
    assert docs.renewed(text) == text, "run `make docs`"


def test_a_stale_part_is_noticed() -> None:
    text = docs.README.read_text()
    stale = text.replace("| `cftool ls` |", "| `cftool dir` |")
    assert stale != text
    assert docs.renewed(stale) == text


def test_the_exit_codes_of_the_manual_are_those_of_the_program() -> None:
    section = docs.README.read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    defined = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert defined - {exits.BROKEN_PIPE} == documented


def statements(block: str) -> list[tuple[str, int]]:
    """The lines of a block, each with the exit code that a comment at its end promises."""
    lines = [line for line in block.splitlines() if line.strip()]
    promised = [re.search(r"#\s*exit (\d+)$", line) for line in lines]
    return [(line, int(found[1]) if found else 0) for line, found in zip(lines, promised, strict=True)]


def test_the_tour_runs_as_it_stands(rclone_server: S3Server, tmp_path: Path) -> None:
    blocks = BLOCK.findall(docs.README.read_text())
    assert len(blocks) >= 6
    script = ["set -u"]
    for block in blocks:
        for line, code in statements(block):
            script += [f"printf '$ %s\\n' {shlex.quote(line)}", line.partition("    # exit")[0]]
            script += [f'code=$?; [ "$code" = {code} ] || {{ echo "exit $code, promised {code}"; exit 99; }}']
    text = "\n".join(script)
    for old, new in (
        ("http://127.0.0.1:8333", rclone_server.url),
        ("access_key_id=demo", f"access_key_id={rclone_server.access_key}"),
        ("DEMO_SECRET=demo-secret", f"DEMO_SECRET={rclone_server.secret_key}"),
        ("demo:backup", f"demo:tour-{os.getpid()}"),
    ):
        assert old in text
        text = text.replace(old, new)
    env = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", text], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stdout + done.stderr
