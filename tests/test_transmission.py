"""Counts behind an absorber: the likelihood against scipy, and what weights are worth at low dose."""

import math

import numpy as np
import pytest
import torch
from cases import DOUBLE
from laws import dense, randn, relative
from scipy.optimize import brentq, minimize
from scipy.special import wrightomega
from scipy.stats import poisson
from torch import Tensor
from torch.autograd import gradcheck

from invprob.fidelities import L2, Fidelity, TransmissionPoisson
from invprob.functional import Functional
from invprob.linop import LinearOperator
from invprob.loop import solve
from invprob.operators import Gradient, Identity, ParallelBeam
from invprob.phantoms import Ellipses
from invprob.priors import NonNegative, Sum, Tikhonov, TotalVariation
from invprob.solvers import ADMM, PrimalDual, ProximalGradient, Solver

TIGHT = {"max_iter": 30000, "tol": 1e-10}


def readings(counts: Tensor, blank: Tensor | float, background: Tensor | float = 0.0) -> Functional:
    """The likelihood of readings that are items of their own."""
    column = counts.reshape(-1, 1)
    parts = (t.reshape(-1, 1) if isinstance(t, Tensor) else t for t in (blank, background))
    return TransmissionPoisson(Identity((1,), dtype=DOUBLE), column, *parts).phi


def some(count: int, seed: int, low: float, high: float) -> Tensor:
    """Numbers spread evenly over orders of magnitude."""
    return 10 ** (low + (high - low) * torch.rand(count, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed)))


# ---- the likelihood


def test_the_value_is_that_of_the_poisson_distribution():
    counts = torch.tensor([0.0, 1, 2, 30, 400, 3], dtype=DOUBLE)
    d = torch.tensor([0.3, 2.0, -1.0, 4.0, 0.1, 20.0], dtype=DOUBLE)
    for background in (0.0, 2.5):
        u = (300 * torch.exp(-d) + background).numpy()
        c = counts.numpy()
        expected = poisson.logpmf(c, np.maximum(c, background)) - poisson.logpmf(c, u)
        found = readings(counts, 300.0, background).value(d.reshape(-1, 1))
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_the_value_keeps_its_digits_near_the_minimum_and_its_sense_far_off():
    counts = torch.tensor([1e6, 1e6, 0.0, 5.0, 5.0], dtype=DOUBLE)
    d = torch.tensor([1e-6, 0.0, 800.0, -800.0, 800.0], dtype=DOUBLE).reshape(-1, 1)
    value = readings(counts, 1e6).value(d)
    assert float(value[0]) == pytest.approx(0.5e-6, rel=1e-5)  # 1/2 c d^2
    assert value[1:4].tolist() == [0, 0, math.inf]
    assert float(value[4]) == pytest.approx(5 * (800 - math.log(1e6 / 5)) - 5)


@pytest.mark.parametrize("background", [0.0, 7.0])
def test_the_curvature_holds_where_line_integrals_are_not_negative(background):
    counts, blank = torch.tensor([0.0, 3.0, 50.0, 900.0]), torch.tensor([2.0, 400.0, 30.0, 1.0])
    phi = readings(counts.double(), blank.double(), background)
    d = torch.linspace(0, 12, 4001, dtype=DOUBLE).expand(4, 4001)
    steepness = torch.stack([phi.grad(d[:, k : k + 1]) for k in range(0, 4001, 1)], dim=1)[..., 0].diff(dim=1)
    most = (steepness.abs() / (12 / 4000)).amax(1)
    constant = phi.lipschitz()
    assert bool((most <= constant * (1 + 1e-9)).all())
    assert bool((most >= 0.15 * constant).all())  # and is no wild guess
    if not background:
        assert torch.equal(constant, blank.double())
        assert phi.convex
    assert phi.convex == (background == 0)


# ---- its prox


def test_the_prox_without_background_is_wrights_omega():
    counts, blank, tau = some(300, 1, -3, 6), some(300, 2, -2, 6), some(300, 3, -7, 3)
    counts[::7] = 0
    v = 15 * randn((300,), seed=4)
    v[::5] *= 40
    expected = v - tau * counts + torch.from_numpy(wrightomega((torch.log(tau * blank) - v + tau * counts).numpy()))
    found = readings(counts, blank).prox(v.reshape(-1, 1), tau)[:, 0]
    slack = 1e-14 * (1 + v.abs() + tau * counts)  # what the closed form itself loses by cancellation
    assert bool(((found - expected).abs() <= slack).all())
    rest = tau * (counts - blank * torch.exp(-found)) + found - v
    steepness = 1 + tau * blank * torch.exp(-found)
    assert bool(((rest / steepness).abs() <= 1e-13 * (1 + found.abs())).all())


def test_the_prox_with_background_is_the_global_minimum():
    n = 300
    counts, blank, background, tau = some(n, 5, -1, 5), some(n, 6, 0, 6), some(n, 7, -2, 3), some(n, 8, -5, 2)
    v = 6 + 6 * randn((n,), seed=9)
    found = readings(counts, blank, background).prox(v.reshape(-1, 1), tau)[:, 0]
    several = 0
    for k in range(n):
        c, full, b, t, at = (float(q[k]) for q in (counts, blank, background, tau, v))

        def slope(d, c=c, full=full, b=b, t=t, at=at):
            s = full * np.exp(-d)
            return t * s * (c / (s + b) - 1) + d - at

        def objective(d, c=c, full=full, b=b, t=t, at=at):
            u = full * np.exp(-d) + b
            return t * (u - c * np.log(u)) + 0.5 * (d - at) ** 2

        grid = np.linspace(min(at, 0) - 20, max(at, math.log(full / max(c - b, 1e-9 * full))) + 20, 4000)
        signs = np.sign(slope(grid))
        zeros = [
            brentq(slope, grid[i], grid[i + 1], xtol=1e-14) for i in np.flatnonzero((signs[:-1] < 0) & (signs[1:] > 0))
        ]
        several += len(zeros) > 1
        assert float(found[k]) == pytest.approx(min(zeros, key=objective), abs=1e-10, rel=1e-10)
    assert several > 5


@pytest.mark.parametrize("background", [0.0, 4.0])
def test_steps_can_be_differentiated(background):
    phi = readings(torch.tensor([0.0, 3.0, 90.0], dtype=DOUBLE), 50.0, background)
    v = torch.tensor([[0.3], [-1.0], [2.0]], dtype=DOUBLE).requires_grad_()
    tau = torch.tensor(0.02, dtype=DOUBLE).requires_grad_()
    assert gradcheck(phi.prox, (v, tau))


# ---- the mask, and what is refused


def test_what_the_mask_leaves_out_may_be_anything():
    A = LinearOperator.from_scipy(randn((6, 4), seed=11).abs().numpy(), (2, 2), (6,))
    counts = torch.tensor([5.0, math.nan, 7.0, -3.0, 2.0, 9.0], dtype=DOUBLE)
    blank = torch.tensor([20.0, 0.0, 20.0, 20.0, math.nan, 20.0], dtype=DOUBLE)
    mask = torch.tensor([True, False, True, False, False, True])
    f = TransmissionPoisson(A, counts, blank, 0.5, mask)
    few = LinearOperator.from_scipy(dense(A)[mask].numpy(), (2, 2), (3,))
    g = TransmissionPoisson(few, counts[mask], 20.0, 0.5)
    x = randn((3, 2, 2), seed=12).abs()
    assert relative(f.value(x), g.value(x)) <= 1e-12
    assert relative(f.grad(x), g.grad(x)) <= 1e-12
    assert float(f.phi.lipschitz()) == float(g.phi.lipschitz())
    v = randn((3, 6), seed=13)
    assert torch.equal(f.phi.prox(v, 0.3)[:, ~mask], v[:, ~mask])
    assert relative(f.phi.prox(v, 0.3)[:, mask], g.phi.prox(v[:, mask], 0.3)) <= 1e-12
    q = f.weighted_least_squares()
    assert bool((q.weights > 0).eq(mask).all())
    assert bool(q.y.isfinite().all())


def test_what_cannot_be_is_refused():
    A, c = Identity((2, 3)), torch.ones(2, 3)
    spoilt = torch.tensor([[1.0, math.nan, 1.0], [1.0, 1.0, -1.0]])
    told: list[tuple[type[Exception], str, object]] = [
        (
            ValueError,
            "counts must be finite and not negative, and 2 of 6 are not: leave dead",
            lambda: TransmissionPoisson(A, spoilt, 5.0),
        ),
        (ValueError, "blank must be finite and positive, and 1 of 1 are not", lambda: TransmissionPoisson(A, c, 0.0)),
        (ValueError, "blank must be finite and positive, and 2 of 6", lambda: TransmissionPoisson(A, c, spoilt)),
        (ValueError, "background must be finite and not neg", lambda: TransmissionPoisson(A, c, 5.0, -0.1)),
        (ValueError, r"blank of shape \(2,\) does not fit \(2, 3\)", lambda: TransmissionPoisson(A, c, torch.ones(2))),
        (
            ValueError,
            r"mask of shape \(4, 2, 3\) does not fit",
            lambda: TransmissionPoisson(A, c, 5.0, mask=torch.ones(4, 2, 3) > 0),
        ),
        (ValueError, "mask must be boolean", lambda: TransmissionPoisson(A, c, 5.0, mask=c)),
        (TypeError, "TransmissionPoisson counts events", lambda: TransmissionPoisson(A, c * 1j, 5.0)),
        (ValueError, "expects data of shape", lambda: TransmissionPoisson(A, c[:, 1:], 5.0)),
    ]
    for error, sentence, make in told:
        with pytest.raises(error, match=sentence):
            make()


# ---- the quadratic form


def test_the_weights_are_the_inverse_variances():
    """Of log(I_0 / (c - b)) for Poisson c, by simulation; what no photon reached has no weight."""
    counts = torch.tensor([400.0, 2500.0, 90.0, 30.0, 0.0], dtype=DOUBLE)
    f = TransmissionPoisson(Identity((5,), dtype=DOUBLE), counts, 1e4, 30.0)
    q = f.weighted_least_squares()
    assert q.weights.tolist() == [pytest.approx(w) for w in (370**2 / 400, 2470**2 / 2500, 40.0, 0, 0)]
    assert q.y[:3].tolist() == [pytest.approx(math.log(1e4 / s)) for s in (370, 2470, 60)]
    drawn = torch.poisson(counts[:2].expand(200_000, 2), generator=torch.Generator().manual_seed(0)) - 30
    assert relative(1 / drawn.log().var(0), q.weights[:2]) <= 0.02


# ---- problems whose solution is known


def tiny(background: float) -> TransmissionPoisson:
    A = LinearOperator.from_scipy(0.4 * randn((15, 6), seed=21).abs().numpy(), (2, 3), (15,))
    mean = 200 * torch.exp(-A(randn((2, 3), seed=22).abs())) + background
    return TransmissionPoisson(A, torch.poisson(mean, generator=torch.Generator().manual_seed(0)), 200.0, background)


def least(f: Fidelity, g: Functional | None) -> tuple[float, Tensor]:
    """The minimum over positive images by scipy."""

    def both(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(numbers).reshape(2, 3)
        value, slope = f.value(x), f.grad(x)
        if g is not None:
            value, slope = value + g.value(x), slope + g.grad(x)
        return float(value), slope.flatten().numpy()

    options = {"maxiter": 10000, "ftol": 1e-16, "gtol": 1e-11}
    found = minimize(both, np.ones(6), jac=True, bounds=[(0, None)] * 6, method="L-BFGS-B", options=options)
    return float(found.fun), torch.from_numpy(found.x).reshape(2, 3)


@pytest.mark.parametrize("background", [0.0, 5.0])
@pytest.mark.parametrize(
    "solver",
    [ADMM(**TIGHT), PrimalDual(**TIGHT), ProximalGradient(**TIGHT)],
    ids=["admm", "primal-dual", "proximal-gradient"],
)
def test_a_tiny_problem_against_scipy(solver: Solver, background: float):
    f = tiny(background)
    smooth = None if isinstance(solver, ProximalGradient) else Tikhonov(3.0, Gradient((2, 3), dtype=DOUBLE))
    prior = NonNegative() if smooth is None else Sum(smooth, NonNegative())
    fun, image = least(f, smooth)
    found = solve(solver, f, prior)
    assert float(f.value(found.x) + (0 if smooth is None else smooth.value(found.x))) == pytest.approx(fun, rel=1e-6)
    assert relative(found.x, image) <= 1e-5


def low_dose(blank: float) -> tuple[ParallelBeam, Tensor, Tensor]:
    """Counts of soft tissue between two hips, so that some rays are starved, and the truth."""
    n = 48
    A = ParallelBeam((n, n), np.arange(60) * math.pi / 60, 70)
    body = Ellipses(
        torch.tensor([0.05, 0.45, 0.45, 0.02, -0.02]),
        torch.tensor([[0.0, 0.0], [-11.0, 0.0], [11.0, 0.0], [0.0, 5.0], [1.0, -6.0]]),
        torch.tensor([[21.0, 14.0], [3.5, 3.5], [3.5, 3.5], [5.0, 3.0], [4.0, 3.0]]),
        torch.tensor([0.0, 0.0, 0.0, 0.3, 0.0]),
    )
    mean = blank * torch.exp(-body.line_integrals(*A.rays()))
    counts = torch.poisson(mean, generator=torch.Generator().manual_seed(1)).float()
    return A, counts, body.image((n, n))


def soft_error(x: Tensor, truth: Tensor) -> float:
    """The relative error where there is no bone."""
    soft = truth < 0.2
    return relative(soft * x, soft * truth)


def best_error(f: Fidelity, truth: Tensor, strengths: list[float]) -> float:
    priors = [Sum(TotalVariation(lam), NonNegative()) for lam in strengths]
    solver = PrimalDual(max_iter=400, tol=1e-4)
    return min(soft_error(solve(solver, f, g).x, truth) for g in priors)


def test_weights_pay_at_low_dose():
    """Against the unweighted fit and filtered back-projection of the logarithm of the same counts."""
    A, counts, truth = low_dose(300.0)
    f = TransmissionPoisson(A, counts, 300.0)
    logs = torch.log(300 / counts.clamp(min=0.5))
    direct = min(soft_error(A.direct(logs, window=w), truth) for w in ("ramp", "hann"))
    plain = best_error(L2(A, logs), truth, [5.0, 8.0, 12.0, 20.0])
    weighted = best_error(f.weighted_least_squares(), truth, [100.0, 200.0, 400.0])
    likely = best_error(f, truth, [100.0, 200.0, 400.0])
    assert likely <= 0.7 * plain
    assert weighted <= 0.75 * plain
    assert likely <= 0.35 * direct


def test_what_is_behind_a_beam_stop_does_not_matter():
    A, counts, truth = low_dose(1e5)
    garbage = counts.clone()
    garbage[20:50, 30:36] = 1e4 * randn((30, 6), torch.float32, 31).abs()
    seen = torch.ones(60, 70)
    seen[20:50, 30:36] = 0
    images = []
    for c in (counts, garbage):
        y = torch.log(1e5 / c.clamp(min=0.5))
        images.append(solve(ADMM(max_iter=60, tol=1e-5), L2(A, y, seen), TotalVariation(0.02)).x)
        images.append(solve(PrimalDual(max_iter=60), TransmissionPoisson(A, c, 1e5, mask=seen > 0), NonNegative()).x)
    assert torch.equal(images[0], images[2])
    assert torch.equal(images[1], images[3])
    spoilt = solve(ADMM(max_iter=60, tol=1e-5), L2(A, y), TotalVariation(0.02)).x
    assert relative(images[0], truth) < 0.25 < 0.5 * relative(spoilt, truth)
