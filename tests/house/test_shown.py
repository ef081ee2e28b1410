"""Promise, program and tests name the same: `contract` was written by hand, `shown` says which test shows what."""

import ast
import re

from cftool.cli import exits
from cftool.cli.run import _EVENTS
from tests.house import contract, docs, manual
from tests.house.shown import GAPS, SHOWN, UNPROVEN


def offered() -> set[str]:
    """Every command, flag, event and exit code of the program."""
    found: set[str] = set()
    for words in manual.every():
        found.add(" ".join(words))
        for param in manual.parameters(words)[1]:
            if param.param_type_name != "argument":
                flag = param.opts[-1]
                common = param.name in manual._common() or flag == "--help"
                found.add(flag if common else f"{' '.join(words)} {flag}")
    found |= {f"event {name}" for name in _EVENTS.values()}
    for path in docs.ROOT.glob("cftool/cli/*.py"):
        found |= {f"event {name}" for name in re.findall(r'\.event\(\s*"([a-z_]+)"', path.read_text())}
    codes = {value for name, value in vars(exits).items() if name.isupper() and type(value) is int}
    return found | {f"exit {code}" for code in codes}


def exists(test: str) -> bool:
    """Whether a test of that id is written, by the source alone."""
    file, *names = test.partition("[")[0].split("::")
    path = docs.ROOT / file
    body = ast.parse(path.read_text()).body if path.exists() else []
    for name in names:
        nodes = [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
        if not nodes:
            return False
        body = nodes[0].body
    return bool(body)


def test_the_program_has_what_was_promised_and_nothing_else() -> None:
    assert offered() - contract.promised() == set()
    assert contract.promised() - offered() <= GAPS


def test_the_table_names_what_was_promised() -> None:
    tables = [set(SHOWN), set(UNPROVEN), GAPS]
    assert set().union(*tables) == contract.promised()
    assert sum(len(table) for table in tables) == len(contract.promised())


def test_every_test_of_the_table_exists() -> None:
    assert [test for test in (SHOWN | UNPROVEN).values() if not exists(test)] == []
    assert not exists("tests/house/test_shown.py::test_of_nothing")
