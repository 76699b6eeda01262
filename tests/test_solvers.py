"""Solvers and the loop: they agree with each other and with references, item by item, and tell the truth."""

import copy
import dataclasses
import json
import math
import weakref
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from cases import DOUBLE, classes_of, matrix
from laws import dense, randn, relative
from scipy.optimize import lsq_linear, minimize, nnls
from torch import Tensor
from torch.autograd import gradcheck

from invprob import linalg
from invprob.certificate import adjoint_mismatch, certify_image
from invprob.fidelities import L2, Fidelity
from invprob.functional import Functional, Zero
from invprob.linop import LinearOperator, normal
from invprob.loop import CHECK_EVERY, STATUS, Result, conclude, iterate, solve
from invprob.operators import Gradient, Identity, ParallelBeam
from invprob.priors import L1, Analysis, Box, Denoiser, NonNegative, Prior, Sum, Tikhonov, TotalVariation
from invprob.solvers import (
    ADMM,
    CSALSA,
    HQS,
    ConjugateGradient,
    GaussNewton,
    GradientDescent,
    PrimalDual,
    ProximalGradient,
    Solver,
)

TIGHT = {"max_iter": 5000, "tol": 1e-8}


def tall(kind: torch.dtype = DOUBLE, scale: float = 1.0) -> LinearOperator:
    """A 20 x 12 matrix of condition about 6, on images (3, 4)."""
    return LinearOperator.from_scipy(scale * randn((20, 12), kind, 51).numpy(), (3, 4), (20,))


def data(A: LinearOperator, batch: tuple[int, ...] = (), seed: int = 52) -> Tensor:
    """Data of an image with a step in it, with noise."""
    x = (torch.arange(12).reshape(3, 4) > 5) + 0.3 * randn((*batch, 3, 4), A.domain_dtype, seed)
    return A(x) + 0.3 * randn((*batch, *A.range_shape), A.range_dtype, seed + 1)


def D() -> Gradient:
    return Gradient((3, 4), dtype=DOUBLE)


PROBLEMS: dict[str, Callable[[], tuple[Fidelity, Functional]]] = {
    "least squares": lambda: (L2(tall(), data(tall())), Zero()),
    "tikhonov": lambda: (L2(tall(), data(tall())), Tikhonov(3.0, D())),
    "tikhonov by analysis": lambda: (L2(tall(), data(tall())), Analysis(Tikhonov(3.0, ndim=3), D())),
    "l1": lambda: (L2(tall(), data(tall())), L1(5.0)),
    "weighted l1": lambda: (L2(tall(), data(tall()), randn((20,), seed=60).abs()), L1(5.0)),
    "complex l1": lambda: (L2(tall(torch.complex128), data(tall(torch.complex128))), L1(5.0)),
    "total variation": lambda: (L2(tall(), data(tall())), TotalVariation(2.0, tol=1e-11, max_iter=200)),
    "anisotropic by analysis": lambda: (L2(tall(), data(tall())), Analysis(L1(2.0, ndim=3), D())),
    "nonnegative": lambda: (L2(tall(), data(tall()) - 8), NonNegative()),
    "box": lambda: (L2(tall(), data(tall())), Box(0.1, 0.8)),
    "nonnegative total variation": lambda: (L2(tall(), data(tall()) - 5), Sum(TotalVariation(2.0), NonNegative())),
    "elastic net": lambda: (L2(tall(), data(tall())), Sum(L1(3.0), Tikhonov(2.0))),
}

SOLVERS: dict[str, Callable[..., Solver]] = {
    "admm": ADMM,
    "admm-balanced": lambda **s: ADMM(balance=True, relaxation=1.0, **s),
    "primal-dual": PrimalDual,
    "proximal-gradient": ProximalGradient,
    "proximal-gradient-plain": lambda **s: ProximalGradient(accelerate=False, **s),
    "proximal-gradient-no-restart": lambda **s: ProximalGradient(restart=False, **s),
    "proximal-gradient-search": lambda **s: ProximalGradient(backtracking=True, **s),
    "proximal-gradient-search-fast": lambda **s: ProximalGradient(backtracking=True, accelerate=True, **s),
    "gradient-descent": GradientDescent,
    "conjugate-gradient": ConjugateGradient,
    "gauss-newton": GaussNewton,
    "hqs": HQS,  # takes denoisers only: its problems are those of plug-and-play
}


def fits(solver: Solver, problem: str) -> bool:
    """Whether the solver takes the problem; what is refused is another test's business."""
    f, g = PROBLEMS[problem]()
    try:
        solver.init(f, g, f.start())
    except (TypeError, ValueError):
        return False
    return True


PAIRS = [(s, p) for s, make in SOLVERS.items() for p in PROBLEMS if fits(make(), p)]
# one problem per solver, for the laws of the loop
ONE_EACH = [
    ("admm", "nonnegative total variation"),
    ("admm-balanced", "l1"),
    ("primal-dual", "nonnegative total variation"),
    ("proximal-gradient", "l1"),
    ("proximal-gradient-plain", "box"),
    ("proximal-gradient-search", "l1"),
    ("proximal-gradient-search-fast", "l1"),
    ("gradient-descent", "tikhonov"),
    ("conjugate-gradient", "tikhonov"),
    ("gauss-newton", "tikhonov"),
]


def value(f: Functional, g: Functional, x: Tensor) -> Tensor:
    return f.value(x) + g.value(x)


def test_every_solver_is_tried_on_most_problems():
    tried = {type(make()) for make in SOLVERS.values()}
    # C-SALSA bounds the misfit instead of minimising it (tests/test_radar.py)
    assert set(classes_of(Solver, "invprob.solvers")) - {CSALSA} <= tried
    count = {s: sum(pair[0] == s for pair in PAIRS) for s in SOLVERS}
    assert count["admm"] >= 8
    assert count["primal-dual"] == len(PROBLEMS)
    assert count["proximal-gradient"] >= 8
    assert count["gradient-descent"] >= 3
    assert count["conjugate-gradient"] >= 3


# ---- agreement


def by_scipy(f: Fidelity, problem: str) -> Tensor | None:
    """The minimiser by an algorithm of another family, where scipy has one."""
    A, y = dense(f.A).numpy(), f.y.numpy()
    if problem == "least squares":
        return torch.from_numpy(np.linalg.lstsq(A, y, rcond=None)[0])
    if problem in ("tikhonov", "tikhonov by analysis"):
        C = dense(D()).numpy()
        return torch.from_numpy(np.linalg.solve(A.T @ A + 3 * C.T @ C, A.T @ y))
    if problem == "nonnegative":
        return torch.from_numpy(nnls(A, y)[0])
    if problem == "box":
        return torch.from_numpy(lsq_linear(A, y, (0.1, 0.8), tol=1e-14).x)
    if problem in ("l1", "elastic net"):  # x = a - b with a, b >= 0 makes |x| = a + b linear
        lam, mu = (5.0, 0.0) if problem == "l1" else (3.0, 2.0)
        H, q = A.T @ A + mu * np.eye(12), A.T @ y

        def both(ab: np.ndarray) -> tuple[float, np.ndarray]:
            x = ab[:12] - ab[12:]
            g = H @ x - q
            return 0.5 * x @ H @ x - q @ x + lam * ab.sum(), np.concatenate([g + lam, -g + lam])

        options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 5000}
        ab = minimize(both, np.zeros(24), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 24, options=options).x
        return torch.from_numpy(ab[:12] - ab[12:])
    return None


@cache
def reference(problem: str) -> Tensor:
    """scipy's answer, else the primal-dual method's after a long run."""
    f, g = PROBLEMS[problem]()
    found = by_scipy(f, problem)
    if found is not None:
        return found.reshape(3, 4)
    return solve(PrimalDual(max_iter=20000, tol=1e-11), f, g).x


@cache
def solved(solver: str, problem: str) -> Result:
    return solve(SOLVERS[solver](**TIGHT), *PROBLEMS[problem]())


@pytest.mark.parametrize(("solver", "problem"), PAIRS)
def test_all_agree(solver, problem):
    f, g = PROBLEMS[problem]()
    result, expected = solved(solver, problem), reference(problem)
    assert result.status == "converged"
    assert relative(result.x, expected) <= 1e-5
    if any(isinstance(part, NonNegative) for part in g.modules()):
        expected = expected.clamp(min=0)
    assert float(value(f, g, result.x)) <= float(value(f, g, expected)) * (1 + 1e-6)
    for constraint in [part for part in g.modules() if isinstance(part, Box)]:
        assert float(constraint.value(result.x)) == 0


@pytest.mark.parametrize(("solver", "problem"), PAIRS)
def test_a_converged_result_has_a_small_gap(solver, problem):
    f, g = PROBLEMS[problem]()
    certificate = solved(solver, problem).certificate
    if certificate.duality_gap is None:
        assert solver.startswith(("proximal", "gradient", "conjugate"))  # without multipliers for what C_i sees
        assert any(term.operator is not None for term in g.terms(f.start())) or problem == "elastic net"
    else:
        assert float(certificate.duality_gap) <= 1e-4
        assert float(certificate.stationarity) <= 1e-4


# ---- scale


@pytest.mark.parametrize(("solver", "problem"), ONE_EACH)
@pytest.mark.parametrize("c", [1e-8, 1e8])
@pytest.mark.parametrize("what", ["data", "operator"])
def test_scale(solver, problem, c, what):
    """y -> c y makes x -> c x; A -> c A makes x -> x / c; both with the weight that keeps the balance."""
    f, g = PROBLEMS[problem]()
    plain = solve(SOLVERS[solver](tol=1e-5), f, g)
    if what == "data":
        f2, size, weights = L2(f.A, c * f.y), c, {"one": c, "two": 1.0, "bound": c}
    else:
        f2, size, weights = L2(tall(scale=c), f.y), 1 / c, {"one": c, "two": c**2, "bound": 1 / c}
    scaled = {
        "nonnegative total variation": lambda: Sum(TotalVariation(2.0 * weights["one"]), NonNegative()),
        "l1": lambda: L1(5.0 * weights["one"]),
        "box": lambda: Box(0.1 * weights["bound"], 0.8 * weights["bound"]),
        "tikhonov": lambda: Tikhonov(3.0 * weights["two"], D()),
    }[problem]()
    result = solve(SOLVERS[solver](tol=1e-5), f2, scaled)
    assert relative(result.x / size, plain.x) <= 1e-4
    assert result.status == plain.status == "converged"
    assert abs(int(result.n_iter) - int(plain.n_iter)) <= 0.02 * int(plain.n_iter) + 1


@pytest.mark.parametrize(("solver", "problem"), ONE_EACH)
def test_zero_data_give_the_zero_image(solver, problem):
    f, g = PROBLEMS[problem if problem != "box" else "l1"]()
    result = solve(SOLVERS[solver](), L2(f.A, torch.zeros_like(f.y)), g)
    assert result.status == "converged"
    assert not bool(result.x.any())


# ---- items


def batched(problem: str, y: Tensor) -> tuple[Fidelity, Functional]:
    f, g = PROBLEMS[problem]()
    return L2(f.A, y), g


@pytest.mark.parametrize(("solver", "problem"), ONE_EACH)
def test_items_are_alone(solver, problem):
    f, _ = PROBLEMS[problem]()
    y = torch.stack([f.y, 0.1 * f.y.flip(0), torch.zeros_like(f.y), 1e6 * f.y.roll(3)])
    make = SOLVERS[solver](tol=1e-6, max_iter=300)
    together = solve(make, *batched(problem, y))
    assert together.x.shape == (4, 3, 4)
    for k in range(4):
        alone = solve(make, *batched(problem, y[k]))
        assert float((together.x[k] - alone.x).norm()) <= 1e-9 * float(alone.x.norm()) + 1e-12
        assert int(together.n_iter[k]) == int(alone.n_iter)
        assert together.item_status[k] == alone.status
    assert len(set(together.n_iter.tolist())) > 1


@pytest.mark.parametrize("solver", ["admm", "primal-dual", "proximal-gradient", "gradient-descent"])
def test_steps_are_per_item(solver):
    """A neighbour with enormous weights, or a strong prior, changes nothing: not even the number of steps."""
    A = tall()
    y = data(A, (2,))
    weights = torch.stack([torch.ones(20, dtype=DOUBLE), 1e6 * torch.ones(20, dtype=DOUBLE)])
    lam = torch.tensor([3.0, 3e6], dtype=DOUBLE)
    make = SOLVERS[solver](tol=1e-8, max_iter=4000)
    prior = L1 if solver == "admm" else Tikhonov
    together = solve(make, L2(A, y, weights), prior(lam))
    for k in range(2):
        alone = solve(make, L2(A, y[k], weights[k]), prior(float(lam[k])))
        assert relative(together.x[k], alone.x) <= 1e-9
        assert int(together.n_iter[k]) == int(alone.n_iter)


@pytest.mark.parametrize(("solver", "problem"), ONE_EACH)
def test_finished_items_stay(solver, problem):
    f, _ = PROBLEMS[problem]()
    y = torch.stack([torch.zeros_like(f.y), f.y])
    if problem == "box":
        y[0] = f.A(torch.full((3, 4), -1.0, dtype=DOUBLE))
    seen = list(iterate(SOLVERS[solver](tol=1e-6, max_iter=200), *batched(problem, y)))
    first = next(k for k, step in enumerate(seen) if step.codes[0] != 0)
    assert first < len(seen) - 1
    for step in seen[first + 1 :]:
        assert torch.equal(step.state.x[0], seen[first].state.x[0])
        assert int(step.n_iter[0]) == first + 1
    assert seen[-1].finished
    assert not any(step.finished for step in seen[:-1])


def test_status_per_item():
    f, g = PROBLEMS["l1"]()
    y = torch.stack([torch.zeros_like(f.y), f.y])
    result = solve(ProximalGradient(), L2(f.A, y), g, max_iter=3, tol=1e-12)
    assert result.item_status == ("converged", "max_iter")
    assert result.status == "max_iter"
    assert result.message == STATUS["max_iter"]
    assert result.n_iter.tolist() == [1, 3]
    assert result.history["iteration"].tolist() == [3]
    assert result.history["residual"].shape == result.history["objective"].shape == (1, 2)


# ---- resuming, purity


def leaves(state: object) -> list[Tensor]:
    fields = [getattr(state, field.name) for field in dataclasses.fields(state)]
    flat = [part for value in fields for part in (value if isinstance(value, tuple) else (value,))]
    return [torch.as_tensor(part) for part in flat]


@pytest.mark.parametrize(("solver", "problem"), ONE_EACH)
def test_resuming_is_as_if_never_stopped(solver, problem):
    f, _ = PROBLEMS[problem]()
    y = torch.stack([f.y, torch.zeros_like(f.y), f.y.flip(0)])
    make = SOLVERS[solver](tol=1e-9)
    whole = solve(make, *batched(problem, y), max_iter=15)
    part = solve(make, *batched(problem, y), max_iter=6)
    rest = solve(make, *batched(problem, y), state=copy.deepcopy(part.state), max_iter=9)
    for a, b in zip(leaves(whole.state), leaves(rest.state), strict=True):
        assert torch.equal(a, b)
    assert whole.item_status == rest.item_status


def test_resuming_what_has_converged_changes_nothing():
    f, g = PROBLEMS["l1"]()
    done = solve(ADMM(), f, g)
    again = solve(ADMM(), f, g, state=done.state)
    assert again.status == "converged"
    assert torch.equal(again.x, done.x)
    assert again.state is done.state
    further = solve(ADMM(), f, g, state=done.state, tol=1e-9)
    assert further.n_iter > done.n_iter


@pytest.mark.parametrize(("solver", "problem"), ONE_EACH)
def test_steps_are_pure(solver, problem):
    f, g = PROBLEMS[problem]()
    make = SOLVERS[solver]()
    state = make.init(f, g, f.start())
    for _ in range(3):
        before = [t.clone() for t in leaves(state)]
        following, again = make.step(f, g, state), make.step(f, g, state)
        for a, b in zip(leaves(following), leaves(again), strict=True):
            assert torch.equal(a, b)
        for a, b in zip(before, leaves(state), strict=True):
            assert torch.equal(a, b)
        state = following
    first, second = solve(make, f, g), solve(make, f, g)
    assert torch.equal(first.x, second.x)
    assert first.certificate.as_dict() == second.certificate.as_dict()


@pytest.mark.parametrize(("solver", "problem"), ONE_EACH)
def test_any_start_leads_to_the_minimiser(solver, problem):
    f, g = PROBLEMS[problem]()
    for x0 in (10 * randn((3, 4), torch.float32), torch.ones(3, 4, dtype=torch.int64)):
        found = solve(SOLVERS[solver](max_iter=5000, tol=1e-7), f, g, x0=x0)
        assert found.x.dtype == DOUBLE
        assert relative(found.x, reference(problem)) <= 1e-4
    spread = solve(SOLVERS[solver](max_iter=2), *batched(problem, f.y.expand(2, 20)), x0=randn((3, 4)))
    assert spread.x.shape == (2, 3, 4)


# ---- prepared once


class Counted(Identity):
    """The identity that counts what is asked of it, with a closed form or without."""

    def __init__(self, *, closed: bool) -> None:
        super().__init__((3, 4), dtype=DOUBLE)
        self.closed = closed
        self.asked: list[str] = []

    def gram(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        self.asked.append("gram")
        return super().gram(x, weights)

    def gram_diagonal(self, weights: Tensor | None = None) -> linalg.Diagonal | None:
        self.asked.append("diagonal")
        return super().gram_diagonal(weights) if self.closed else None


@pytest.mark.parametrize("closed", [True, False])
def test_a_closed_form_is_solved_once_a_step(closed, monkeypatch):
    """Boyd's x-update and nothing else: one product with the inverse diagonal, and none with M itself."""
    solved = []
    real = normal._multiplied
    monkeypatch.setattr(normal, "_multiplied", lambda *a, **k: solved.append(1) or real(*a, **k))
    A = Counted(closed=closed)
    f, g = L2(A, randn((3, 4))), TotalVariation(0.1) if closed else L1(0.1)
    solver = ADMM(tol=0.0)
    state = solver.init(f, g, f.start())
    step = solver.prepared(f, g, state)
    step(state)
    A.asked.clear()
    solved.clear()
    for n in range(1, 4):
        state = step(state)
        assert len(solved) == (n if closed else 0)
        assert A.asked.count("gram") >= (0 if closed else n)
        assert not closed or "gram" not in A.asked
        assert "diagonal" not in A.asked


@pytest.mark.parametrize("solver", ["admm", "primal-dual"])
def test_operators_of_priors_are_built_once_a_solve(solver, monkeypatch):
    """How many gradients total variation makes does not depend on how many steps follow."""
    made = []
    real = Gradient.__init__
    monkeypatch.setattr(Gradient, "__init__", lambda self, *a, **k: made.append(self) or real(self, *a, **k))
    f, g = L2(tall(), data(tall())), TotalVariation(2.0)
    make = SOLVERS[solver](tol=0.0)
    state = make.init(f, g, f.start())
    step = make.prepared(f, g, state)
    made.clear()
    for _ in range(25):  # beyond the refreshing of the remainder
        state = step(state)
    assert not made


def test_the_systems_of_half_quadratic_splitting_are_built_once_a_level(monkeypatch):
    made = []
    real = linalg.NormalSystem.__init__
    monkeypatch.setattr(linalg.NormalSystem, "__init__", lambda self, *a, **k: made.append(self) or real(self, *a, **k))
    solver = HQS(steps=4, max_iter=12, tol=0.0)
    f, g = L2(tall(), data(tall())), Denoiser(lambda x, sigma: 0.9 * x, lam=0.1)
    state = solver.init(f, g, f.start())
    step = solver.prepared(f, g, state)
    for _ in range(12):
        state = step(state)
    assert len(made) == 4


@pytest.mark.parametrize(
    ("solver", "problem"), [*ONE_EACH, ("admm-balanced", "nonnegative total variation"), ("hqs", "denoiser")]
)
@pytest.mark.parametrize("closed", [True, False])
def test_a_step_from_outside_is_that_of_the_loop(solver, problem, closed):
    """Bit for bit, a batch of two, beyond the refreshing of the remainder and the end of balancing."""
    if problem == "denoiser":
        f, g = L2(tall(), data(tall(), (2,))), Denoiser(lambda x, sigma: 0.9 * x, lam=0.1)
    else:
        f, g = batched(problem, data(tall(), (2,)))
    if closed:
        f = L2(Identity((3, 4), dtype=DOUBLE), f.y[..., :12].reshape(2, 3, 4))
    make = SOLVERS[solver](max_iter=55, tol=0.0)
    state = make.init(f, g, f.start())
    for seen in iterate(make, f, g):
        with torch.no_grad():
            state = make.step(f, g, state)
        for a, b in zip(leaves(state), leaves(seen.state), strict=True):
            assert torch.equal(a, b)
        if seen.codes.any():
            break  # an item at rest is kept by the loop, not by the solver
    assert state.iteration >= (1 if closed and "gradient" in solver else 8)


@pytest.mark.parametrize("solver", ["admm", "admm-balanced", "primal-dual"])
@pytest.mark.parametrize("closed", [True, False])
def test_what_is_prepared_is_differentiated_as_well(solver, closed):
    """Unrolling through one prepared step gives the gradients of unrolling through `step`, twice over."""
    A = Identity((3, 4), dtype=DOUBLE) if closed else tall()
    y = (data(tall())[:12].reshape(3, 4) if closed else data(A)).requires_grad_()
    lam, mu = (torch.tensor(c, dtype=DOUBLE, requires_grad=True) for c in (0.3, 0.2))
    f, g = L2(A, y), Sum(TotalVariation(lam), Tikhonov(mu))
    make = SOLVERS[solver]()
    first = make.init(f, g, 0.1 * torch.ones(3, 4, dtype=DOUBLE))
    step = make.prepared(f, g, first)
    apart = joined = first
    for _ in range(3):
        apart, joined = make.step(f, g, apart), step(joined)
    assert torch.equal(apart.x, joined.x)
    wanted = torch.autograd.grad(apart.x.square().sum(), (y, lam, mu), retain_graph=True)
    for _ in range(2):
        found = torch.autograd.grad(joined.x.square().sum(), (y, lam, mu), retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))
    assert bool(wanted[0].any())


def test_a_run_holds_no_more_than_it_needs():
    """A thousand iterations keep a few states alive, not a thousand."""
    alive: list[weakref.ref] = []

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Watched(GradientDescent):
        def step(self, f, g, state):
            alive.append(weakref.ref(state))
            assert sum(ref() is not None for ref in alive) <= 4
            return super().step(f, g, state)

    f, g = PROBLEMS["tikhonov"]()
    solve(Watched(tol=0.0, max_iter=50), f, g)
    assert len(alive) == 50


# ---- leaving early


def test_leaving_early_keeps_the_best():
    f, g = PROBLEMS["l1"]()
    solver = ProximalGradient()
    values = []
    for step in iterate(solver, f, g):
        values.append(float(value(f, g, step.state.x)))
        if step.state.iteration == CHECK_EVERY - 3:
            break
    result = conclude(step, solver, f, g)
    assert result.status == "stopped"
    assert result.message == STATUS["stopped"]
    assert float(value(f, g, result.x)) == min(values) < float(value(f, g, f.start()))
    assert float(result.certificate.objective) == min(values)


def test_iterate_builds_no_graph():
    A = tall()
    y = data(A).requires_grad_()
    for step in iterate(ProximalGradient(max_iter=3), L2(A, y), L1(1.0)):
        assert not step.state.x.requires_grad


# ---- divergence


class Poisoned(Prior):
    """Soft-thresholding that fails for good where the image is large."""

    def _value(self, x: Tensor) -> Tensor:
        return x.abs().sum((-2, -1))

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        bad = v.abs().amax((-2, -1), keepdim=True) > 100
        return torch.where(bad, torch.nan, v)


@pytest.mark.parametrize("solver", ["admm", "primal-dual", "proximal-gradient"])
def test_what_is_not_a_number_is_noticed_in_its_item(solver):
    A = tall()
    y = data(A, (2,))
    y[0] *= 1e6
    x0 = torch.zeros(2, 3, 4, dtype=DOUBLE)
    result = solve(SOLVERS[solver](max_iter=500, tol=1e-6), L2(A, y), Poisoned(1.0), x0=x0)
    assert result.item_status == ("diverged", "converged")
    assert result.status == "diverged"
    assert result.message == STATUS["diverged"]
    assert bool(result.x.isfinite().all())
    assert int(result.n_iter[0]) < 50
    # the lost item is looked at once more, not at every iteration of its neighbours
    assert len(result.history["iteration"]) <= int(result.n_iter[1]) // CHECK_EVERY + 2
    alone = solve(SOLVERS[solver](max_iter=500, tol=1e-6), L2(A, y[1]), Poisoned(1.0))
    assert relative(result.x[1], alone.x) <= 1e-9


def test_a_step_too_large_is_noticed_and_the_best_kept():
    """Under weights the true constant is unknown, so the step is let through, flagged, and caught in the act."""
    A = tall()
    weights = torch.ones(20, dtype=DOUBLE)
    weights[0] = 0
    f, g = L2(A, data(A), weights), Tikhonov(1.0)
    for solver in (GradientDescent(step_size=1.0), ProximalGradient(step_size=1.0)):
        result = solve(solver, f, g)
        assert result.status == "diverged"
        assert int(result.n_iter) <= 60
        assert float(value(f, g, result.x)) <= float(value(f, g, f.start()))
        flag = next(a for a in result.certificate.assumptions if "step_size" in a.statement)
        assert flag.holds is False


def test_an_expansive_denoiser_is_noticed():
    """It has no value; that the data are missed a thousand times worse than by zero tells."""
    f = L2(tall(), data(tall()))
    result = solve(ProximalGradient(accelerate=False), f, Denoiser(lambda v, sigma: 1.5 * v, lam=1.0))
    assert result.status in ("diverged", "converged")
    grows = solve(ADMM(), f, Denoiser(lambda v, sigma: -3 * v, lam=1.0))
    assert grows.status == "diverged"
    assert int(grows.n_iter) <= 200
    assert bool(grows.x.isfinite().all())
    assert float(f.value(grows.x)) <= 1e3 * float(f.value(f.start()))


def test_data_that_are_not_numbers():
    f, g = PROBLEMS["l1"]()
    y = torch.stack([f.y, torch.full_like(f.y, torch.nan)])
    result = solve(PrimalDual(), L2(f.A, y), g)
    assert result.item_status == ("converged", "diverged")
    assert bool(result.x.isfinite().all())


def test_a_constraint_not_yet_met_is_not_divergence():
    """Two constraints and an image that meets one at a time: the objective is infinite, the run is sound."""
    A = tall()
    g = Sum(Analysis(Box(-0.1, 0.1, ndim=3), D()), Box(0.0, 0.4), TotalVariation(0.1))
    for solver in (ADMM(max_iter=300, tol=1e-14), PrimalDual(max_iter=1000, tol=1e-14)):
        result = solve(solver, L2(A, data(A)), g)
        assert result.status == "max_iter"
        assert bool(result.certificate.objective.isposinf())
        nearly = float((D()(result.x).abs() - 0.1).clamp(min=0).max())
        assert nearly <= 0.05
        assert float(result.x.norm()) > 0.1  # and not the start


def test_starting_at_the_minimum_of_consistent_data_is_not_divergence():
    A = tall()
    x = randn((3, 4))
    result = solve(ADMM(tol=1e-9), L2(A, A(x)), L1(1e-3), x0=x)
    assert result.status == "converged"


# ---- steps


def test_step_sizes_that_cannot_converge_are_refused():
    f, _ = PROBLEMS["l1"]()
    top = float(torch.linalg.matrix_norm(dense(f.A), 2)) ** 2
    for make, limit, prior in (
        (lambda s: GradientDescent(step_size=s), 2.0, Zero()),
        (lambda s: ProximalGradient(step_size=s, accelerate=False), 2.0, L1(1.0)),
        (lambda s: ProximalGradient(step_size=s), 4 / 3, L1(1.0)),
    ):
        for bad in (1.05 * limit / top, 0.0, -1.0, math.nan, math.inf):
            with pytest.raises(ValueError, match="cannot converge; it must lie in"):
                solve(make(bad), f, prior)
        result = solve(make(0.9 * limit / top), f, prior, tol=1e-8)
        assert result.status == "converged"
        flag = next(a for a in result.certificate.assumptions if "step_size" in a.statement)
        assert flag.holds is False  # it works, but no theorem covers it
        assert next(
            a for a in solve(make(0.9 / top), f, prior).certificate.assumptions if "step_size" in a.statement
        ).holds


def test_the_refused_step_does_diverge():
    """The limits are the true ones: just above them the iteration grows."""
    A = Identity((3, 4), dtype=DOUBLE)
    f = L2(A, randn((3, 4)), torch.ones(1, dtype=DOUBLE))
    for solver, step in ((GradientDescent, 2.1), (ProximalGradient, 1.5)):
        with pytest.raises(ValueError, match="cannot converge"):
            solve(solver(step_size=step), f)
        state = solver(step_size=1.0).init(f, Zero(), f.start())
        state = dataclasses.replace(state, step_size=torch.tensor(step, dtype=DOUBLE))
        plain = solver() if solver is GradientDescent else solver(restart=False)
        for _ in range(300):
            state = plain.step(f, Zero(), state)
        assert float(state.x.norm()) > 1e3


def test_a_legal_step_under_uneven_weights_is_not_refused():
    """Lip(grad f) = |A^H W A| may lie far below max w |A|^2."""
    A = ParallelBeam((3, 3), [0.0, 0.5, 1.0], 5, dtype=DOUBLE)
    weights = torch.ones(3, 5, dtype=DOUBLE)
    weights[0, 0] = 1e6  # a ray beside the image
    M, w = dense(A), weights.flatten()
    top = float(torch.linalg.matrix_norm(M.T @ (w[:, None] * M), 2))
    f = L2(A, A(torch.ones(3, 3, dtype=DOUBLE)), weights)
    result = solve(GradientDescent(step_size=1 / top, max_iter=5000, tol=1e-6), f)
    assert result.status == "converged"


def test_what_a_solver_lacks_is_named():
    f, g = PROBLEMS["l1"]()
    smooth = Tikhonov(1.0)
    start = f.start()
    told = [
        (TypeError, "GradientDescent needs the grad of L1, which has value, prox", GradientDescent(), f, g),
        (TypeError, "ProximalGradient needs the prox of Sum, which has value", ProximalGradient(), f, Sum(g, g)),
        (TypeError, "ConjugateGradient needs a quadratic prior, L1 is none", ConjugateGradient(), f, g),
        (TypeError, "ConjugateGradient minimises quadratic fidelities", ConjugateGradient(), smooth, smooth),
        (TypeError, "PrimalDual needs a fidelity", PrimalDual(), smooth, g),
        (TypeError, "ADMM needs a fidelity", ADMM(), L1(1.0), smooth),
        (ValueError, "ADMM has nothing to split", ADMM(), f, smooth),
        (ValueError, "ADMM: 2 values of rho for 1 terms", ADMM(rho=[1.0, 2.0]), f, g),
        (ValueError, "L1 has ndim=3: give the prior ndim=2 or lift", ADMM(), f, L1(ndim=3)),
        (ValueError, "no Lipschitz gradient, so no step is safe", ProximalGradient(), Rough(f.A, f.phi), g),
    ]
    for error, sentence, solver, fidelity, prior in told:
        with pytest.raises(error, match=sentence):
            solver.init(fidelity, prior, start)
    for make in (ADMM, PrimalDual, ProximalGradient):
        with pytest.raises(ValueError, match="start image of shape"):
            make().init(f, g, torch.zeros(4))
        with pytest.raises(ValueError, match="FromScipy expects an image"):
            make().init(f, g, torch.zeros(4, 3))
    with pytest.raises(ValueError, match="give x0"):
        solve(GradientDescent(), smooth, smooth)


class Rough(Fidelity):
    """A fidelity that knows no Lipschitz constant."""

    def lipschitz(self) -> None:
        return None


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ADMM(max_iter=0), "max_iter"),
        (lambda: ADMM(tol=-1.0), "tol"),
        (lambda: PrimalDual(tol=math.nan), "tol"),
        (lambda: ADMM(rho=0.0), "rho"),
        (lambda: ADMM(rho=torch.tensor([1.0, -1.0])), "rho"),
        (lambda: ADMM(relaxation=2.0), "relaxation"),
        (lambda: ADMM(x_accuracy=1.0), "x_accuracy"),
        (lambda: ADMM(x_steps=0), "x_steps"),
        (lambda: PrimalDual(balance=0.0), "balance"),
    ],
)
def test_settings_that_cannot_be(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def test_settings_of_admm_change_the_way_not_the_end():
    f, g = PROBLEMS["nonnegative total variation"]()
    for solver in (
        ADMM(rho=3.0),
        ADMM(rho=torch.tensor(30.0)),
        ADMM(rho=[1.0, 10.0]),
        ADMM(relaxation=1.0),
        ADMM(x_accuracy=1e-6),
        ADMM(x_accuracy=1e-6, x_steps=1),
    ):
        result = solve(dataclasses.replace(solver, max_iter=3000, tol=1e-6), f, g)
        assert relative(result.x, reference("nonnegative total variation")) <= 1e-4


def test_conjugate_gradients_stop_at_the_noise():
    A = tall()
    y = data(A, (2,))
    noise = torch.tensor([0.3, 3.0], dtype=DOUBLE) * 20**0.5
    result = solve(ConjugateGradient(discrepancy=noise, tol=1e-12), L2(A, y))
    misfit = torch.linalg.norm(A(result.x) - y, dim=-1)
    assert result.status == "converged"
    assert bool((misfit <= noise).all())
    before = solve(ConjugateGradient(tol=0.0, max_iter=int(result.n_iter[0]) - 1), L2(A, y[0]))
    assert float(torch.linalg.norm(A(before.x) - y[0])) > float(noise[0])


def test_conjugate_gradients_without_tolerance_do_not_run_off():
    f = L2(ParallelBeam((4, 4), [0.0, 0.8], 5), randn((2, 5), torch.float32))
    result = solve(ConjugateGradient(tol=0.0, max_iter=300), f)
    least = torch.linalg.pinv(dense(f.A).double()) @ f.y.double().flatten()
    assert relative(result.x.double().flatten(), least) <= 1e-3


def test_an_operator_that_is_zero():
    A = 0 * tall()
    for solver, g in (
        (PrimalDual(), L1(1.0)),
        (ProximalGradient(), L1(1.0)),
        (ADMM(), L1(1.0)),
        (GradientDescent(), Zero()),
        (ConjugateGradient(), Zero()),
    ):
        result = solve(solver, L2(A, torch.ones(20, dtype=DOUBLE)), g)
        assert result.status == "converged"
        assert not bool(result.x.any())


# ---- derivatives through steps


UNROLLED = {
    "admm": lambda lam: TotalVariation(lam),
    "admm-balanced": lambda lam: L1(lam),
    "primal-dual": lambda lam: Sum(TotalVariation(lam), NonNegative()),
    "proximal-gradient": lambda lam: L1(lam),
    "proximal-gradient-plain": lambda lam: L1(lam),
    "gradient-descent": lambda lam: Tikhonov(lam, D()),
    "conjugate-gradient": lambda lam: Tikhonov(lam, D()),
}


@pytest.mark.parametrize("solver", UNROLLED)
@pytest.mark.parametrize("closed", [True, False])
def test_steps_can_be_differentiated(solver, closed):
    """Unrolling is calling `step`: the derivative in the data and the weight is that of differences."""
    A = Identity((3, 4), dtype=DOUBLE) if closed else tall()
    y = (data(tall())[:12].reshape(3, 4) if closed else data(A)).detach()
    lam = torch.tensor(0.3, dtype=DOUBLE)
    settings = {"x_accuracy": 1e-13, "rho": 1.0} if "admm" in solver else {}  # the derivative is of the exact solve

    def unrolled(y: Tensor, lam: Tensor) -> Tensor:
        f, g = L2(A, y), UNROLLED[solver](lam)
        make = SOLVERS[solver](**settings)
        state = make.init(f, g, 0.1 * torch.ones(3, 4, dtype=DOUBLE))
        for _ in range(3):
            state = make.step(f, g, state)
        return state.x

    assert gradcheck(unrolled, (y.requires_grad_(), lam.requires_grad_()), atol=1e-6)


# ---- the certificate


GAPPED = [(s, p) for s, p in PAIRS if s in ("admm", "primal-dual", "proximal-gradient-plain", "gradient-descent")]


@pytest.mark.parametrize(("solver", "problem"), GAPPED)
def test_the_gap_bounds_the_suboptimality(solver, problem):
    """At any time: F(x) - min F <= gap F(x), also where the dual is far from feasible."""
    f, g = PROBLEMS[problem]()
    least = float(value(f, g, reference(problem)))
    known = 0
    for n in (1, 2, 5, 20, 100):
        result = solve(SOLVERS[solver](tol=0.0, max_iter=n), f, g)
        gap, objective = result.certificate.duality_gap, float(value(f, g, result.x))
        if gap is None or not math.isfinite(objective) or not math.isfinite(least):
            continue
        assert objective - least <= float(gap) * objective + 1e-9 * abs(least)
        known += 1
    if known:
        assert float(gap) < 1e3


def test_the_certificate_says_what_is():
    f, g = PROBLEMS["l1"]()
    y = torch.stack([f.y, 2 * f.y])
    f = L2(f.A, y)
    result = solve(ADMM(), f, g, noise=torch.tensor([0.3, 0.6], dtype=DOUBLE))
    c = result.certificate
    misfit = torch.linalg.norm(f.A(result.x) - y, dim=-1)
    assert c.data_residual.tolist() == pytest.approx((misfit / torch.linalg.norm(y, dim=-1)).tolist())
    assert c.residual_to_noise.tolist() == pytest.approx((misfit / torch.tensor([0.3, 0.6]) / 20**0.5).tolist())
    assert c.objective.tolist() == pytest.approx(value(f, g, result.x).tolist())
    true = float(torch.linalg.matrix_norm(dense(f.A), 2))
    assert 0.97 * true <= c.norm <= true * (1 + 1e-12) <= c.norm_bound * (1 + 2e-12)
    assert c.norm_bound_kind == f.A.norm_bound_kind
    assert c.adjoint_mismatch <= 1e-15
    assert torch.equal(c.fixed_point_residual, result.state.residual)
    statements = {a.statement: a.holds for a in c.assumptions}
    assert statements["f is convex"] is statements["g is convex"] is statements["A^H is the adjoint of A"] is True
    plain = json.loads(json.dumps(c.as_dict()))
    assert plain["norm"] == c.norm
    assert plain["assumptions"][0]["statement"] == "f is convex"
    short = certify_image(f, result.x, 0.3)
    assert torch.equal(short.data_residual, c.data_residual)
    assert short.duality_gap is None


def test_a_wrong_adjoint_is_flagged():
    good = tall()
    wrong = LinearOperator.from_functions(good, lambda y: 1.1 * good.adjoint(y.roll(1)), (3, 4), (20,), dtype=DOUBLE)
    assert adjoint_mismatch(good) <= 1e-15
    assert adjoint_mismatch(wrong) > 1e-2
    f = L2(wrong, data(good))
    with pytest.raises(ValueError, match=r"the adjoint of FromFunctions.* is not that of its forward map"):
        solve(PrimalDual(max_iter=5), f, L1(1.0))
    wrong.matched = False
    for make in (ADMM, PrimalDual, ProximalGradient):
        with pytest.raises(ValueError, match="needs a true adjoint; FromFunctions"):
            solve(make(), f, L1(1.0))
        with pytest.raises(ValueError, match="needs a true adjoint"):
            solve(make(), L2(2 * wrong, f.y), L1(1.0))


def test_what_is_not_convex_gets_no_gap():
    f, _ = PROBLEMS["l1"]()
    c = solve(ADMM(max_iter=5), f, Denoiser(lambda v, sigma: v, lam=1.0)).certificate
    assert (c.duality_gap, c.objective) == (None, None)
    assert next(a for a in c.assumptions if a.statement == "g is convex").holds is None


def test_matrix_helper_is_what_it_says():
    assert matrix(torch.float32).dtype == np.float32
    singular = torch.linalg.svdvals(dense(tall()))
    assert float(singular[0] / singular[-1]) < 10
