"""One call for everything: which laws a thing has to keep, and how well it keeps them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from invprob.fidelities import Misfit
from invprob.functional import Functional
from invprob.linop import LinearOperator, Operator
from invprob.testing.data_laws import DATA_RULES, RECONSTRUCTION_RULES
from invprob.testing.denoiser_laws import DENOISER_RULES, DenoiserProbe
from invprob.testing.functional_laws import FUNCTIONAL_RULES
from invprob.testing.functional_probe import FunctionalProbe
from invprob.testing.linear_laws import LINEAR_RULES
from invprob.testing.normal_laws import NORMAL_RULES
from invprob.testing.operator_laws import OPERATOR_RULES
from invprob.testing.operator_probe import OperatorProbe
from invprob.testing.prox_laws import PROX_RULES
from invprob.testing.report import Law, Report
from invprob.testing.rules import judged

Denoiser = Callable[[Tensor, Tensor], Tensor]
OF_OPERATORS = OPERATOR_RULES + DATA_RULES
OF_LINEAR_OPERATORS = OPERATOR_RULES + LINEAR_RULES + NORMAL_RULES + DATA_RULES + RECONSTRUCTION_RULES
OF_FUNCTIONALS = FUNCTIONAL_RULES + PROX_RULES


def check(
    thing: Operator | Functional | Denoiser, *, only: str | Sequence[str] | None = None, **options: Any
) -> Report:
    """Return the laws of an operator, a functional (prior, fidelity) or a denoiser D(v, sigma); all of them are kept.

    Arguments:
        thing, only, options: as for `examine`, whose laws they are.

    LawError, an AssertionError, naming each broken law, the number that says so and what to look at; its `report` holds
    all laws.
    """
    report = examine(thing, only=only, **options)
    report.raise_for_failures()
    return report


def examine(
    thing: Operator | Functional | Denoiser, *, only: str | Sequence[str] | None = None, **options: Any
) -> Report:
    """Return the laws of an operator, a functional or a denoiser, kept or broken, each with the number that decided.

    Tolerances are those of the thing's precision: 1e-6 in float32 and 1e-12 in float64 for an adjoint. Operators of up
    to half a million entries are compared with their dense matrix, larger ones tried on random images. No global
    random state is touched.

    Arguments:
        thing: an `Operator`, a `Functional`, or a function D(v, sigma).
        only: the name or names of the laws to ask for; all by default.
        options: what the things are tried with, by name:
            seed: of the random images, 0 by default.
            around: for operators, an image near which nonlinear ones are tried, as for those of positive images.
            pickles: for operators and functionals, whether a pickled copy must work, too; no by default, as functions
                defined on the spot cannot be.
            shape: for functionals and denoisers, that of an item; by default that of a functional's operator, else a
                small one.
            dtype: for functionals and denoisers, the precision they are tried in.
            make, degree, real, positive, convex, constraint, tol: for functionals alone (`FunctionalProbe`).

    TypeError for what is none of these and for options it does not have, ValueError for laws that do not exist.
    """
    if isinstance(thing, Operator):
        rules = OF_LINEAR_OPERATORS if isinstance(thing, LinearOperator) else OF_OPERATORS
        return Report(repr(thing), judged(rules, _probe("operators", OperatorProbe, thing, options), only))
    if isinstance(thing, Functional):
        laws = judged(OF_FUNCTIONALS, _probe("functionals", FunctionalProbe, thing, options), only)
        return Report(_named(thing), laws + _of_data(thing, only, options))
    if callable(thing):
        return Report(_named(thing), judged(DENOISER_RULES, _probe("denoisers", DenoiserProbe, thing, options), only))
    raise TypeError(f"testing: {type(thing).__name__} is no Operator, Functional or function D(v, sigma)")


def _probe(what: str, kind: Callable[..., Any], thing: object, options: dict[str, Any]) -> Any:
    """Return a probe of a thing; TypeError for options that things of its kind do not have."""
    known = list(inspect.signature(kind).parameters)[1:]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"testing: {what} have no option {', '.join(unknown)}; they have only, {', '.join(known)}")
    return kind(thing, **options)


def _of_data(thing: Functional, only: str | Sequence[str] | None, options: dict[str, Any]) -> tuple[Law, ...]:
    """Return the laws of a fidelity's functional on data space."""
    if not isinstance(thing, Misfit):
        return ()
    apart = {name: value for name, value in options.items() if name not in ("shape", "make", "tol")}
    probe = FunctionalProbe(thing.phi, shape=thing.A.range_shape, **apart)
    probe.own_batch = _batch_of_data(thing)
    return tuple(replace(law, name=f"{law.name} of phi") for law in judged(OF_FUNCTIONALS, probe, only))


def _batch_of_data(thing: Misfit) -> Any:
    y = getattr(thing.phi, "y", None)
    return () if y is None else y.shape[: y.ndim - len(thing.A.range_shape)]


def _named(thing: object) -> str:
    name = getattr(thing, "__name__", None)
    text = name if name is not None else repr(thing)
    return " ".join(text.split())
