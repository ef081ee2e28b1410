"""The manual and the completions are those of the program, are set without a warning, and their examples run."""

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from importlib import import_module

import pytest

from cftool.cli import exits, metrics
from cftool.core.types import Cap
from cftool.transfer import compare, events
from tests.house import contract, docs, manual, modules, pages, topics
from tests.house.features import PROVIDERS, features
from tests.servers import BIN

PAGES = sorted(str(path.relative_to(docs.ROOT)) for path in docs.ROOT.glob("man/*"))

# What the table of providers asks for, where that is a capability or a fact: hashes, precision in ns, capabilities.
ASKED = {
    "local": (set(), 1, Cap.COPY | Cap.MOVE | Cap.MOVE_DIR | Cap.WALK | Cap.IF_ABSENT | Cap.USAGE),
    "s3": (
        {"md5", "crc32", "crc32c", "crc64nvme", "sha1", "sha256"},
        1,
        Cap.COPY | Cap.WALK | Cap.IF_VERSION | Cap.IF_ABSENT | Cap.RESUME | Cap.DELETE_MANY,
    ),
    "gs": ({"md5", "crc32c"}, 1, Cap.COPY | Cap.WALK | Cap.IF_VERSION | Cap.RESUME | Cap.DELETE_MANY),
    "dropbox": (
        {"dropbox"},
        10**9,
        Cap.COPY | Cap.MOVE | Cap.MOVE_DIR | Cap.WALK | Cap.IF_VERSION | Cap.RESUME | Cap.WRITE_MANY | Cap.DELETE_MANY,
    ),
    "gdrive": (
        {"md5", "sha1", "sha256"},
        10**6,
        Cap.COPY | Cap.MOVE | Cap.MOVE_DIR | Cap.WALK | Cap.RESUME | Cap.CHANGES | Cap.DELETE_MANY,
    ),
    "webdav": (
        {"md5", "sha1"},
        10**9,
        Cap.COPY | Cap.MOVE | Cap.MOVE_DIR | Cap.WALK | Cap.IF_VERSION | Cap.RESUME,
    ),
    "sugarsync": (set(), None, Cap.COPY | Cap.MOVE | Cap.WALK),
}


def test_the_files_are_fresh() -> None:
    assert docs.stale() == {}, "run `make docs`"


def test_every_command_and_provider_has_its_page() -> None:
    from cftool import registry
    from cftool.cli import app

    wanted = {"man/cftool.1", *(f"man/cftool-{name}.1" for name in app.COMMANDS)}
    wanted |= {f"man/{name}.3" for name in modules.PACKAGES} | {f"man/cftool-{name}.7" for name in topics.FLAGS}
    assert set(PAGES) == wanted | {f"man/cftool-{name}.7" for name in registry.names()}


def test_the_wheel_has_every_page() -> None:
    shared = tomllib.loads((docs.ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    pages_in_it = {name: to for name, to in shared["shared-data"].items() if name.startswith("man/")}
    assert pages_in_it == {page: f"share/man/man{page[-1]}/{page[4:]}" for page in PAGES}


def test_every_name_that_a_program_may_import_is_on_its_page() -> None:
    for name, package in modules.PACKAGES.items():
        page = modules.page(name)
        exported = [each for each in import_module(package.module).__all__ if each != "UNLIMITED"]
        assert [each for each in exported if not re.search(rf'^(\.SS "|\\fB){each}\b', page, re.MULTILINE)] == []


def test_a_docstring_keeps_its_blocks_and_lists() -> None:
    assert modules.body("One:\n\n    a\n\n      b\n\n* c\n* d\n  e\n\nf") == [
        "One:", ".PP", ".RS", ".nf", "a", "\\&", "  b", ".fi", ".RE",
        ".IP \\(bu 2", "c", ".IP \\(bu 2", "d e", ".PP", "f",
    ]  # fmt: skip


def test_texts_and_examples_are_of_commands_that_exist() -> None:
    names = {" ".join(words) for words in manual.every()}
    assert set(pages.EXAMPLES) - names == set()
    assert set(pages.DESCRIPTIONS) - {words[0] for words in manual.every()} == set()


def test_the_exit_codes_are_those_of_the_program() -> None:
    defined = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert {code for code, _ in pages.EXIT_CODES} == defined - {exits.BROKEN_PIPE}


@pytest.mark.parametrize("provider", ASKED)
def test_what_a_provider_must_be_able_to_do_it_declares(provider: str) -> None:
    hashes, precision, caps = ASKED[provider]
    found = features(provider)
    assert (set(found.hashes), found.time_precision_ns, caps & ~found.caps) == (hashes, precision, Cap.NONE)


def test_every_capability_has_its_words() -> None:
    assert set(manual.CAPABILITIES) == set(Cap)
    assert set(ASKED) == set(PROVIDERS) - {"memory"}


def test_every_event_reason_and_way_of_comparing_has_its_words() -> None:
    words = {name: (topics.TEXTS / f"{name}.md").read_text() for name in topics.FLAGS}
    terms = {
        name: {word for _, blocks in topics.read(name).sections for block in blocks if isinstance(block, list)
               for term, _ in block for word in term.split(", ")}
        for name in topics.FLAGS
    }  # fmt: skip
    assert set(contract.EVENTS) - terms["json"] == set()
    assert [reason for reason in events.REASONS if f"`{reason}`" not in words["json"]] == []
    ways = {compare.SIZE, compare.STATE, compare.TIME, compare.HASH, compare.REQUEST, compare.SIZE_ONLY}
    assert ways - terms["copying"] == set()
    series = {term.partition("{")[0] for term in terms["json"] if term.startswith("cftool_run_")}
    assert series == set(metrics._HELP)
    listed = " ".join(flag for flag in contract._FILTERS)
    assert [flag for flag in listed.split() if flag not in words["filters"]] == []


def test_no_character_of_a_text_is_taken_for_a_request() -> None:
    assert manual.prose(r".x 'y' a\b -z") == r"\&.x \(aqy\(aq a\eb \-z"
    assert manual.prose("a `b-c` _d_\n\ne") == "a \\fBb\\-c\\fR \\fId\\fR\n.PP\ne"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_set_without_a_warning(page: str) -> None:
    command = ["groff", "-man", "-Tutf8", "-ww", "-z", str(docs.ROOT / page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_mandoc_finds_no_error(page: str) -> None:
    command = ["mandoc", "-T", "lint", "-W", "warning", str(docs.ROOT / page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


def test_the_examples_run_as_they_stand(rclone_server, tmp_path) -> None:
    mounted = shlex.quote(str(tmp_path / "mounted"))
    script = [f"trap 'umount -l {mounted} 2>/dev/null' EXIT"]
    script += ["mkdir -p papers/2026; echo 'Dear Sir' > papers/2026/letter.txt; echo Milk > papers/list.txt"]
    names = [" ".join(words) for words in manual.every()]
    if not os.access("/dev/fuse", os.W_OK) or os.geteuid() != 0:
        names = [name for name in names if not name.endswith("mount")]
    rows = [row for name in names for row in pages.EXAMPLES.get(name, ())]
    rows += [row for name in topics.FLAGS for row in topics.read(name).examples()]
    if shutil.which("jq") is None:
        rows = [row for row in rows if "| jq " not in row]
    for row in rows:
        found = re.search(r"    # exit (\d+)$", row)
        line = (row[: found.start()] if found else row).replace("DEMO", "demo").replace("backup", f"man-{os.getpid()}")
        code = found[1] if found else "0"
        script += [f"printf '$ %s\\n' {shlex.quote(line)}", line]
        script += [f'code=$?; [ "$code" = {code} ] || {{ echo "exit $code, promised {code}"; exit 99; }}']
    env = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "CFTOOL_DEMO_TYPE": "s3",
        "CFTOOL_DEMO_ENDPOINT_URL": rclone_server.url,
        "CFTOOL_DEMO_ACCESS_KEY_ID": rclone_server.access_key,
        "CFTOOL_DEMO_SECRET_ACCESS_KEY": rclone_server.secret_key,
    }
    command = ["bash", "-c", "\n".join(script)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stdout + done.stderr
