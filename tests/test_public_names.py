"""The names at the top of the package: what scripts rely on."""

import ast
import importlib
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import invprob

KINDS = {
    "Result": type,
    "Scan": type,
    "__version__": str,
    "iterate": FunctionType,
    "load_result": FunctionType,
    "load_scan": FunctionType,
    "metrics": ModuleType,
    "phantoms": ModuleType,
    "reconstruct": FunctionType,
    "save_report": FunctionType,
    "save_result": FunctionType,
    "save_scan": FunctionType,
    "show": FunctionType,
    "solve": FunctionType,
    "testing": ModuleType,
    "watch": FunctionType,
}


def test_the_public_names_are_these():
    assert sorted(invprob.__all__) == sorted(KINDS)
    assert set(invprob.__all__) <= set(dir(invprob))
    assert not [name for name in dir(invprob) if name.startswith("_") and name != "__version__"]


def test_every_listed_name_can_be_reached():
    for name in dir(invprob):
        assert getattr(invprob, name) is not None


@pytest.mark.parametrize(("name", "kind"), KINDS.items(), ids=KINDS)
def test_every_name_is_what_it_should_be(name, kind):
    assert isinstance(getattr(invprob, name), kind)


def test_submodules_and_unknown_names():
    assert importlib.import_module("invprob.loop").conclude
    from invprob import registry

    assert isinstance(registry, ModuleType)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = invprob.nonsense


def test_names_that_are_loaded_on_first_use_are_told_to_type_checkers():
    for package in (invprob, invprob.io):
        tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
        block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
        told = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert told == set(package.__all__) - {"__version__"}
        for name in package.__all__:
            assert getattr(package, name) is not None
