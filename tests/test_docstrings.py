"""`help(...)` of a public class says what its arguments are."""

import dataclasses
import inspect
import re

import pytest

from invprob import fidelities, operators, priors, solvers
from invprob.linop import LinearOperator
from invprob.operators import FanBeam

CLASSES = {
    f"{family.__name__.removeprefix('invprob.')}.{name}": found
    for family in (operators, priors, fidelities, solvers)
    for name, found in vars(family).items()
    if inspect.isclass(found) and not name.startswith("_")
}


def constructor_arguments(cls: type) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]


def arguments_block(docstring: str | None) -> str:
    """The entries under "Arguments:", "" where there are none."""
    found = re.search(r"^Arguments:\n((?: .*\n|\n)+)", inspect.cleandoc(docstring or "") + "\n", re.MULTILINE)
    return inspect.cleandoc("\n" + found[1]) if found else ""


def entries(block: str) -> list[str]:
    """The names in front of the colons, of which a line may explain several."""
    heads = re.findall(r"^(\w[\w, ]*): \S", block, re.MULTILINE)
    return [name for head in heads for name in head.split(", ")]


def told(cls: type) -> set[str]:
    """The arguments that a class's docstring explains, or names in backticks where another class explains them.

    A dataclass has those of its bases besides, whose fields are its own.
    """
    owners = cls.__mro__ if dataclasses.is_dataclass(cls) else (cls,)
    blocks = [arguments_block(owner.__doc__) for owner in owners]
    return {name for block in blocks for name in [*entries(block), *re.findall(r"`(\w+)`", block)]}


@pytest.mark.parametrize("name", CLASSES)
def test_every_argument_is_explained(name):
    arguments = constructor_arguments(CLASSES[name])
    if set(arguments) <= {"dtype"}:
        return
    missing = sorted(set(arguments) - told(CLASSES[name]))
    assert not missing, f"the docstring's Arguments: do not explain {', '.join(missing)}"


@pytest.mark.parametrize("name", CLASSES)
def test_nothing_is_explained_that_is_no_argument(name):
    cls = CLASSES[name]
    own = entries(arguments_block(cls.__doc__))
    assert set(own) <= set(constructor_arguments(cls))
    assert len(own) == len(set(own))


@pytest.mark.parametrize("function", [LinearOperator, LinearOperator.from_functions, LinearOperator.lift])
def test_the_doors_of_an_own_operator_are_explained(function):
    arguments = [name for name in inspect.signature(function).parameters if name != "self"]
    assert entries(arguments_block(function.__doc__)) == arguments


def test_units_and_conventions_of_a_scanner():
    block = arguments_block(FanBeam.__doc__)
    lines = dict(re.findall(r"^(\w+): (.*(?:\n .*)*)", block, re.MULTILINE))
    assert "radians" in lines["angles"]
    assert "(detectors - 1) / 2 + axis_offset" in lines["axis_offset"]
    assert "in bins" in lines["axis_offset"]
    assert "source to the axis" in lines["source_distance"]


def test_what_is_missing_is_found():
    class Example:
        """f(a, b).

        Arguments:
            a: the first one,
                with c: no entry.

        ValueError else.
        """

        def __init__(self, a, b): ...

    assert constructor_arguments(Example) == ["a", "b"]
    assert told(Example) == {"a"}
    assert told(object) == set()
