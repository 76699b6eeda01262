"""What is to be measured: a suite, its methods, and the units of work, each with a key to be found again by."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from invprob import registry
from invprob.benchmark.problems import PROBLEMS, QUICK, STANDARD, Problem
from invprob.phantoms.scenes import phantom

__all__ = ["BASELINE", "Kind", "Method", "Suite", "Unit", "full", "quick", "registered", "standard", "units"]

Kind = Literal["baseline", "classical", "learned", "peer"]
BASELINE = "direct"  # A.direct, the field's plain reconstruction

_ROOT = Path(__file__).parents[1]
# what numbers do not depend on: how they are told
_TELLING = ("cli/", "report/", "benchmark/")
_MEASURING = tuple(f"benchmark/{name}.py" for name in ("measurement", "noise", "peers", "problems"))
_LIBRARIES = ("torch", "numpy", "scipy", "numba")


@dataclass(frozen=True)
class Method:
    """A name for people and its `target`: a registered name, or `"module:function"` of a recipe of your own."""

    name: str
    target: str
    kind: Kind = "classical"


@dataclass(frozen=True)
class Suite:
    """Problems by methods; pictures of `size` pixels along a side, and how many of them test and validate.

    Problems say which shape their images have in a suite of that size. `tries` strengths are tried on the validation
    images, for every method that has one.
    """

    problems: tuple[Problem, ...]
    methods: tuple[Method, ...]
    size: int
    tests: int
    validations: int
    tries: int

    @property
    def facts(self) -> dict[str, int]:
        """What numbers of two runs have to share to be comparable."""
        return {"size": self.size, "tests": self.tests, "validations": self.validations, "tries": self.tries}

    def resized(self, **numbers: int) -> Suite:
        """Return the suite with another size, tests, validations or tries."""
        facts = self.facts | numbers
        return Suite(self.problems, self.methods, **facts)


@dataclass(frozen=True)
class Unit:
    """One method on all images of one problem."""

    problem: Problem
    method: Method
    size: int
    tests: int
    validations: int
    tries: int

    def key(self, mode: str) -> str:
        """Return the digest of problem, method, settings and code, by which a result is found again."""
        facts = {
            "problem": describe(self.problem),
            "method": [self.method.name, self.method.target, describe(_recipe(self.method.target))],
            "settings": [self.size, self.tests, self.validations, self.tries, mode],
            "code": code_version(),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def registered() -> tuple[Method, ...]:
    """Return the baseline and all methods of the registry but samplers, which take their time and are named."""
    return tuple(
        Method(name, name, _kind(name)) for name, method in registry.METHODS.items() if method.kind != "sampler"
    )


def _kind(name: str) -> Kind:
    """Return the kind of a registered method; direct ones but the baseline compete as classical methods."""
    return (
        "baseline"
        if name == BASELINE
        else "learned"
        if registry.METHODS[name].kind in ("learned", "sampler")
        else "classical"
    )


def quick(methods: Sequence[Method] | None = None) -> Suite:
    """Return the suite for minutes: one problem or so per family, small images."""
    problems = tuple(problem for problem in PROBLEMS if problem.name in QUICK)
    return Suite(problems, tuple(registered() if methods is None else methods), 56, tests=3, validations=1, tries=3)


def standard(methods: Sequence[Method] | None = None) -> Suite:
    """Return the suite to judge methods by, under an hour on two cores: a problem per family, eight images of each."""
    problems = tuple(problem for problem in PROBLEMS if problem.name in STANDARD)
    return Suite(problems, tuple(registered() if methods is None else methods), 128, tests=8, validations=1, tries=3)


def full(methods: Sequence[Method] | None = None) -> Suite:
    """Return the suite for hours: every problem, larger images and more of them."""
    return Suite(PROBLEMS, tuple(registered() if methods is None else methods), 160, tests=12, validations=3, tries=8)


def units(suite: Suite) -> Iterator[Unit]:
    """Yield the units of work, problem by problem."""
    for problem in suite.problems:
        for method in suite.methods:
            yield Unit(problem, method, **suite.facts)


def describe(thing: Any) -> str:
    """Return what identifies a function or a problem: its name, its arguments, and its source if it is not ours."""
    if isinstance(thing, partial):
        arguments = ", ".join(f"{key}={describe(value)}" for key, value in sorted(thing.keywords.items()))
        return f"{describe(thing.func)}({', '.join(map(describe, thing.args))}; {arguments})"
    if isinstance(thing, Problem):
        parts = (thing.instrument, thing.noise, thing.shape, *map(phantom, thing.scenes))
        return f"{thing.name} {thing.scenes} {' '.join(map(describe, parts))}"
    if callable(thing):
        return f"{thing.__module__}:{thing.__qualname__}{_foreign(thing)}"
    return repr(thing)


def _foreign(function: Callable[..., Any]) -> str:
    """Return the digest of the file that a function comes from, where it is not in this package."""
    try:
        source = inspect.getsourcefile(function)
    except TypeError:  # built in
        source = None
    if source is None or _ROOT in Path(source).resolve().parents:
        return ""
    return f" sha256:{hashlib.sha256(Path(source).read_bytes()).hexdigest()}"


def _recipe(target: str) -> Any:
    """Return the function behind a target, or the target itself where it cannot be loaded, as is told when it runs."""
    try:
        return registry.resolve(target) if ":" in target else registry.load(registry.METHODS, target)
    except (ImportError, AttributeError, ValueError):
        return target


@cache
def code_version() -> str:
    """Return a digest of all code and weights that numbers depend on, and of the versions of the libraries below."""
    digest = hashlib.sha256()
    for path in sorted([*_ROOT.rglob("*.py"), *_ROOT.rglob("*.safetensors")]):
        name = path.relative_to(_ROOT).as_posix()
        if not name.startswith(_TELLING) or name in _MEASURING:
            digest.update(name.encode() + path.read_bytes())
    for library in _LIBRARIES:
        digest.update(f"{library} {metadata.version(library)}".encode())
    return digest.hexdigest()[:16]
