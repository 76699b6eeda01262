"""The downward-import rule: every module imports from its own floor or from floors below, read from the source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "invprob"
FLOORS = [  # from the ground up; a name stands for the module or the whole package of that name
    {
        "module",
        "errors",
        "registry",
        "kernel",
        "bases",
        "linalg",
        "linop",
        "algebra",
        "adapters",
        "functional",
        "transforms",
    },
    {"operators", "priors", "fidelities"},
    {"solvers", "certificate", "solve"},
    {"multilevel", "tuning", "phantoms", "metrics", "scan", "io"},
    {"methods", "verdict"},
    {"report", "cli", "benchmark"},
]
LEVEL = {name: k for k, names in enumerate(FLOORS) for name in names}
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def room(dotted: str) -> str:
    """Return the module or package just below invprob."""
    return dotted.split(".")[1]


def imports(tree: ast.AST) -> set[str]:
    """Return the modules of invprob imported anywhere but under TYPE_CHECKING."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module == "invprob"
            found.update(f"invprob.{alias.name}" if whole else node.module for alias in node.names)
        found |= imports(node)
    return {name for name in found if name.startswith("invprob.")}


def name_of(path: Path) -> str:
    return ".".join(("invprob", *path.relative_to(PACKAGE).with_suffix("").parts))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_downwards(path):
    here = room(name_of(path))
    assert here in LEVEL, f"{here} stands on no floor: give it one in this test"
    for target in imports(ast.parse(path.read_text(encoding="utf-8"))):
        there = room(target)
        if there == "__version__":
            continue
        assert LEVEL[there] <= LEVEL[here], f"{name_of(path)} imports upwards: {target}"
        assert {here, there} != {"operators", "priors"}, f"{name_of(path)} imports {target}: the families do not mix"


def test_the_reader_of_imports_reads():
    source = (
        "if TYPE_CHECKING:\n    from invprob.cli import a\ndef f():\n    from invprob import linop\nimport invprob.io.x"
    )
    assert imports(ast.parse(source)) == {"invprob.linop", "invprob.io.x"}
