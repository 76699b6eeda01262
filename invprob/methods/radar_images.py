"""The recipes of radar without iterations: back-projection, matched-filter, kirchhoff, range-migration."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from invprob.methods.reporting import Progress, direct_result
from invprob.operators.radar.base import Radar
from invprob.operators.radar.near_field import NearFieldMIMO
from invprob.operators.radar.planar_sar import PlanarSAR
from invprob.problem import Problem


def back_projection(problem: Problem) -> Iterator[Progress]:
    """Back-projection: sum e^(+i kappa (R_t + R_r)) y over all readings, in the scale that explains them best."""
    A, seen = _radar(problem, "back-projection"), _seen(problem)
    yield _finished(problem, A.back_project(seen), "back-projecting")


def matched_filter(problem: Problem) -> Iterator[Progress]:
    """The matched filter A^H y, which weighs echoes by their amplitudes, in the scale that explains the data best."""
    A, seen = _radar(problem, "matched-filter"), _seen(problem)
    yield _finished(problem, A.adjoint(seen), "matched filtering")


def kirchhoff(problem: Problem) -> Iterator[Progress]:
    """Kirchhoff's migration of the data of planar arrays (Zhuge, Yarovoy, Savelyev & Ligthart 2010), in that scale.

    ValueError for antennas in no plane and for lists of pairs.
    """
    A = _radar(problem, "kirchhoff")
    if not isinstance(A, NearFieldMIMO):
        raise ValueError(f"kirchhoff is for arrays (NearFieldMIMO), not for {type(A).__name__}: use range-migration")
    yield _finished(problem, A.kirchhoff(_seen(problem)), "Kirchhoff's migration")


def range_migration(problem: Problem) -> Iterator[Progress]:
    """Range migration of a monostatic scan on a plane (Lopez-Sanchez & Fortuny-Guasch 2000), in that scale.

    ValueError for other geometries.
    """
    A = _radar(problem, "range-migration")
    if not isinstance(A, PlanarSAR):
        raise ValueError(
            f"range-migration is for scans on a plane (PlanarSAR), not for {type(A).__name__}: use kirchhoff"
        )
    yield _finished(problem, A.range_migration(_seen(problem)), "range migration")


def _radar(problem: Problem, name: str) -> Radar:
    A = problem.linear
    if not isinstance(A, Radar):
        raise ValueError(f"{name} is for radars (NearFieldMIMO, PlanarSAR), not for {type(A).__name__}: use direct")
    return A


def _seen(problem: Problem) -> Tensor:
    """Return the weighted data, 0 where nothing counts."""
    return problem.force()


def _finished(problem: Problem, image: Tensor, phase: str) -> Progress:
    A, of = _radar(problem, phase), problem.quadratic()
    x = A.explaining(image, of.y, of.weights)
    return Progress(phase, 1, 1, 0.0, lambda: direct_result(problem, x, {}), lambda: x)
