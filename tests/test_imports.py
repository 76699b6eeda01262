"""Imports run downwards only (DESIGN.md, section 1), read from the source of every module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import invprob

ROOT = Path(invprob.__file__).parent
# from the ground up; a module may import from its own floor and from those below
FLOORS = [
    {"errors", "files", "registry", "threads", "simd", "processor", "machine", "grid", "doubt", "status"},
    {"linop", "functional", "linalg", "transforms"},
    {"operators", "priors", "fidelities"},
    {"solvers", "loop", "certificate", "result", "sampling"},
    {"likelihood", "tuning", "training", "phantoms", "metrics", "scan", "io", "problem", "judgement"},
    {"methods"},
    {"stack", "benchmark", "report", "testing", "cli"},
]
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}
STRANGERS = [("operators", "priors")]  # of one floor, and yet they know nothing of each other
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The invprob modules a file imports, at its head or inside a function, but not for type checkers alone."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from walk(other)
            return
        yield node
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    for node in walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "invprob")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "invprob":
                yield from (f"invprob.{alias.name}" for alias in node.names)
            elif node.module and node.module.startswith("invprob."):
                yield node.module


def part(name: str) -> str:
    return name.removesuffix(".py").split("/")[0].split(".")[0]


def test_every_module_has_a_floor():
    assert {part(name) for name in MODULES} - {"__init__"} <= set(FLOOR)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__init__.py"])
def test_imports_run_downwards(name):
    own = part(name)
    for target in imported(ROOT / name):
        other = target.split(".")[1]
        assert FLOOR[other] <= FLOOR[own], f"{name} imports {target}, which stands above it"
        for pair in STRANGERS:
            assert {own, other} != set(pair), f"{name} imports {target}: {' and '.join(pair)} never import each other"


def test_the_top_level_imports_nothing_at_import():
    assert list(imported(ROOT / "__init__.py")) == []


def test_the_reader_of_imports_sees(tmp_path):
    path = tmp_path / "some.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "import invprob.io\n"
        "from invprob import linalg, priors as p\n"
        "if TYPE_CHECKING:\n    from invprob.cli import main\n"
        "else:\n    from invprob.scan import Scan\n"
        "def f():\n    from invprob.solvers.admm import ADMM\n"
        "import torch\n"
    )
    found = {"invprob.io", "invprob.linalg", "invprob.priors", "invprob.scan", "invprob.solvers.admm"}
    assert set(imported(path)) == found


def heads(path: Path) -> Iterator[str]:
    """The modules that a file imports at its head: not inside functions, not for type checkers alone."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_files_of_linop_import_one_way():
    """Operators and their algebra know each other; who is made of whom is told where it is asked for."""
    room = {path.stem: path for path in (ROOT / "linop").glob("*.py") if path.stem != "__init__"}
    below = {
        name: {m.split(".")[-1] for m in heads(path) if m.startswith("invprob.linop.")} for name, path in room.items()
    }
    assert all("linop" not in names for names in below.values()), "a file imports its own package"
    while below:
        ground = {name for name, needs in below.items() if not needs & below.keys()}
        assert ground, f"a circle among {sorted(below)}"
        below = {name: needs for name, needs in below.items() if name not in ground}


@pytest.mark.parametrize("name", [name for name in MODULES if name != "cli/main.py"])
def test_no_function_is_called_like_its_module(name):
    functions = [
        n.name for n in ast.parse((ROOT / name).read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)
    ]
    assert Path(name).stem not in functions
