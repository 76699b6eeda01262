"""docs/reliability.md lists 48 faults, each with its tests: all of them exist."""

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\d+) \|.*\| ([^|]+) \|$", re.MULTILINE)


@cache
def functions(name: str) -> set[str]:
    tree = ast.parse((TESTS / f"{name}.py").read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def missing(tests: str) -> list[str]:
    named = re.findall(r"`(\w+)::(\w+)`", tests)
    assert named
    return [f"{file}::{name}" for file, name in named if name not in functions(file)]


def test_every_row_has_its_tests():
    rows = {int(number): tests for number, tests in ROW.findall(PAGE)}
    assert list(rows) == list(range(1, 49))
    assert [wrong for tests in rows.values() for wrong in missing(tests)] == []


def test_a_test_that_does_not_exist_is_noticed():
    assert missing("`test_rows::test_every_row_has_its_tests` `test_rows::test_nothing`") == ["test_rows::test_nothing"]
