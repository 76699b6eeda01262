"""The names at the top of the package: what scripts rely on."""

import importlib
import subprocess
import sys
from types import FunctionType, ModuleType

import pytest

import invprob

KINDS = {
    "Result": type,
    "Scan": type,
    "__version__": str,
    "iterate": FunctionType,
    "load_scan": FunctionType,
    "metrics": ModuleType,
    "phantoms": ModuleType,
    "reconstruct": FunctionType,
    "save_result": FunctionType,
    "solve": FunctionType,
}


def test_the_public_names_are_these():
    assert sorted(invprob.__all__) == sorted(KINDS)
    assert set(invprob.__all__) <= set(dir(invprob))


@pytest.mark.parametrize(("name", "kind"), KINDS.items(), ids=KINDS)
def test_every_name_is_what_it_should_be(name, kind):
    assert isinstance(getattr(invprob, name), kind)


@pytest.mark.parametrize(
    "line",
    [
        "import invprob.solve",
        "from invprob.solve import conclude",
        "from invprob import solve",
        "import invprob.solvers",
        "invprob.reconstruct",
        "import invprob.io, invprob.methods",
    ],
)
def test_solve_stays_the_function_whatever_is_imported_first(line):
    script = (
        f"import invprob; {line}; assert callable(invprob.solve), invprob.solve; assert callable(invprob.reconstruct)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_submodules_and_unknown_names():
    assert importlib.import_module("invprob.solve").conclude
    from invprob import registry

    assert isinstance(registry, ModuleType)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = invprob.nonsense
