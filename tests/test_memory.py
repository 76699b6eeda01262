"""Memory does not grow with the iterations, for any solver and a few methods; `python -m faults memory` tries all."""

import sys
import weakref
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.memory import MANY, Peaks, grows, peaks, peaks_of_method, problems
from invprob.fidelities import L2
from invprob.loop import iterate, solve
from invprob.priors import TotalVariation
from invprob.solvers import ADMM, ConjugateGradient, PrimalDual, ProximalGradient

SCAN = problems(side=512)["blur"]  # so large that what a process takes for itself, some megabytes, is no matter
FIDELITY = L2(SCAN.operator, SCAN.data)
PRIOR = TotalVariation(lam=0.01)

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell its peaks")


@pytest.mark.parametrize(
    ("solver", "prior"),
    [
        (ADMM(), PRIOR),
        (PrimalDual(), PRIOR),
        (ProximalGradient(), None),
        (ConjugateGradient(), None),
    ],
    ids=lambda given: type(given).__name__,
)
def test_memory_does_not_grow_with_the_iterations(solver, prior):
    found = peaks(lambda n: solve(solver, FIDELITY, prior, max_iter=n, tol=0.0), SCAN)
    assert found.many > found.image  # it has been measured
    assert not grows(found)
    assert found.multiple < 40


@pytest.mark.parametrize("method", ["least-squares"])
def test_memory_of_methods(method):
    found = peaks_of_method(method, SCAN)
    assert not grows(found)
    assert 1 < found.multiple < 64


def test_a_state_kept_of_every_iteration_is_noticed():
    def hoarding(n):
        return list(iterate(ProximalGradient(max_iter=n, tol=0.0), FIDELITY, None))

    found = peaks(hoarding, SCAN)
    assert grows(found)
    assert not grows(Peaks(found.few, found.few + MANY, found.image, found.data))


def test_where_a_run_began_is_not_kept():
    state = ADMM().init(FIDELITY, PRIOR, SCAN.data)
    began = weakref.ref(state.z[0])
    steps = iterate(ADMM(max_iter=3, tol=0.0), FIDELITY, PRIOR, state=state)
    del state
    for _ in range(3):
        step = next(steps)
    assert step.state.iteration == 3
    assert began() is None
