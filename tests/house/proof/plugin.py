"""Runs each row's test without what it shows. Collected once, then one forked process a row."""

import os
import sys

import pytest
from _pytest.runner import runtestprotocol

from tests.house.proof import broken

_CHILD = os.path.join(os.path.dirname(__file__), "child")
ROWS: list[tuple[str, str]] = []
WRONG: list[str] = []


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Instead of pytest's own: every row once."""
    items = {}
    for item in session.items:
        items.setdefault(item.nodeid, []).append(item)
        items.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for number, (what, test) in enumerate(ROWS, 1):
        found = items.get(test, [])
        away = f"{what}!" if "test_is_accepted" in test else what
        verdict = "has no such test" if not found else _verdict(away, found)
        if verdict:
            WRONG.append(f"{what}: {test} {verdict}")
        print(f"{number}/{len(ROWS)} {what}: {verdict or 'holds'}", flush=True)
    return True


def _verdict(what: str, items: list[pytest.Item]) -> str:
    """Empty where one of the items fails without it and all pass with it."""
    for item in items:
        if _outcome(item, None) != "passed":
            return "does not pass"
        if _outcome(item, what) == "failed":
            return ""
    return "passes without it"


def _outcome(item: pytest.Item, without: str | None) -> str:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            code = _run(item, without)
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {0: "passed", 1: "failed", 2: "skipped"}.get(status, "broke")


def _run(item: pytest.Item, without: str | None) -> int:
    if without is not None:
        os.environ["PYTHONPATH"] = os.pathsep.join([_CHILD, *filter(None, [os.environ.get("PYTHONPATH")])])
        broken.apply(without)
        if hasattr(item.module, "main"):  # what the tests imported before
            from cftool.cli import main

            item.module.main = main.main
        conftest = sys.modules.get("tests.cli.conftest") or sys.modules.get("cli.conftest")
        if conftest is not None:
            from cftool.cli import main

            conftest.main = main.main
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    reports = runtestprotocol(item, log=False, nextitem=None)
    if any(report.failed for report in reports):
        return 1
    return 2 if any(report.skipped for report in reports) else 0
