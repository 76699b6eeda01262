"""Fidelities beyond least squares: functionals on data space by their laws, and problems whose solution is known."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from cases import BOUND, DOUBLE, FIDELITIES, mixing, parallel
from laws import check_items_are_alone, check_pure, dense, randn, relative
from scipy.optimize import linprog, minimize
from torch import Tensor
from torch.autograd import gradcheck

from invprob.fidelities import L2, Fidelity, L1Fidelity, L2Ball, Misfit, Poisson, SobolevL2
from invprob.functional import Functional, Zero
from invprob.linop import LinearOperator, Operator
from invprob.loop import solve
from invprob.operators import Gradient, Identity
from invprob.priors import L1, Analysis, NonNegative, Sum, Tikhonov, TotalVariation
from invprob.solvers import ADMM, GradientDescent, PrimalDual, ProximalGradient

EVERY = pytest.mark.parametrize("name", FIDELITIES)
COUNTING = {"poisson": "Poisson", "transmission": "TransmissionPoisson"}  # which take real numbers only
TIGHT = {"max_iter": 6000, "tol": 1e-8}


def bound(name: str, batch: tuple[int, ...] = (), dtype: torch.dtype = DOUBLE) -> Fidelity:
    A = Identity((3, 4), dtype=dtype)
    return FIDELITIES[name](A, 2 * randn((*batch, 3, 4), dtype, 71))


def kinds(name: str, batch: tuple[int, ...] = (), seed: int = 72) -> list[Tensor]:
    dtypes = [DOUBLE] if name in COUNTING else [DOUBLE, torch.complex128]
    return [3 * randn((*batch, 3, 4), dtype, seed) for dtype in dtypes]


# ---- phi, the functional on data space


@EVERY
@pytest.mark.parametrize("tau", [0.1, 3.0])
def test_no_search_beats_the_prox(name, tau):
    phi = bound(name).phi
    for v in kinds(name):
        p = phi.prox(v, tau)

        def objective(x: Tensor, v: Tensor = v) -> float:
            return float(tau * phi.value(x) + 0.5 * (x - v).abs().square().sum())

        least, flat = objective(p), torch.view_as_real(p).flatten() if p.is_complex() else p.flatten()
        assert math.isfinite(least)
        for k in range(40):
            step = randn(flat.shape, seed=k) * 10.0 ** (-(k % 5))
            for sign in (1, -1):
                moved = flat + sign * step
                x = (torch.view_as_complex(moved.reshape(*p.shape, 2)) if p.is_complex() else moved).reshape(p.shape)
                growth = 0.5 * float((x - p).abs().square().sum())  # of a function that is 1-strongly convex
                assert objective(x) >= (least + growth) * (1 - 1e-10)


@EVERY
def test_moreau(name):
    phi = bound(name, (2,)).phi
    for sigma in (0.3, torch.tensor([0.3, 20.0], dtype=DOUBLE)):
        for v in kinds(name, (2,)):
            assert relative(phi.conjugate_prox(v, sigma), Functional.conjugate_prox(phi, v, sigma)) <= 1e-12


@EVERY
def test_firmly_nonexpansive(name):
    phi = bound(name).phi
    for v, w in zip(kinds(name, (20,)), kinds(name, (20,), seed=73), strict=True):
        for function in (phi.prox, phi.conjugate_prox):
            moved = (function(v, 0.7) - function(w, 0.7)).flatten(1)
            product = (moved.conj() * (v - w).flatten(1)).real.sum(1)
            assert bool((moved.abs().square().sum(1) <= product * (1 + 1e-9) + 1e-12).all())


@EVERY
def test_items_and_steps_are_their_own(name):
    phi = bound(name, dtype=torch.float32).phi
    v = 3 * randn((3, 3, 4), torch.float32, 74)
    check_items_are_alone(lambda t: phi.prox(t, 0.7), v, 1e-5)
    check_items_are_alone(lambda t: phi.conjugate_prox(t, 0.7), v, 1e-5)
    check_pure(lambda t: phi.prox(t, 0.7), v, own_memory=False)
    tau = torch.tensor([0.1, 1.0, 30.0], dtype=DOUBLE)
    f, x = bound(name, (3,)), kinds(name, (3,))[-1]
    for k in range(3):
        alone = FIDELITIES[name](f.A, 2 * randn((3, 3, 4), DOUBLE, 71)[k])
        assert relative(f.phi.prox(x, tau)[k], alone.phi.prox(x[k], float(tau[k]))) <= 1e-12
        assert relative(f.phi.conjugate_prox(x, tau)[k], alone.phi.conjugate_prox(x[k], float(tau[k]))) <= 1e-12
        assert float(f.value(x)[k]) == pytest.approx(float(alone.value(x[k])), rel=1e-12)


@EVERY
def test_a_fidelity_says_what_it_can_do(name):
    f, x = bound(name, (2,)), kinds(name, (2,))[0].abs()
    assert f.value(x).shape == (2,)
    if "grad" in f.supports:
        x.requires_grad_()
        (automatic,) = torch.autograd.grad(f.value(x).sum(), x)
        assert relative(f.grad(x.detach()), automatic) <= 1e-12
    else:
        with pytest.raises(TypeError, match="has no grad; it has value"):
            f.grad(x)
        assert f.lipschitz() is None
    assert f.phi.supports >= {"value", "prox"}
    assert f.start().shape == x.shape
    for twin in (copy.deepcopy(f), pickle.loads(pickle.dumps(f))):
        assert torch.equal(twin.value(x.detach()), f.value(x.detach()))
    assert f.to(torch.float32).phi.prox(x.detach().float(), 1.0).dtype == torch.float32


@EVERY
@pytest.mark.parametrize("kind", ["complex operator", "complex data", "stack"])
def test_complex_problems(name, kind):
    """All but counts take them; the value is that of phi at A x."""
    A = BOUND[kind]()
    y, x = randn((2, *A.range_shape), torch.complex128, 75), randn((2, *A.domain_shape), torch.complex128, 76)
    if name in COUNTING:
        if A.is_complex:
            with pytest.raises(TypeError, match=f"{COUNTING[name]} counts events"):
                FIDELITIES[name](A, y)
        else:
            with pytest.raises(TypeError, match="pass real images"):
                FIDELITIES[name](A, y).value(x)
        return
    f = FIDELITIES[name](A, y)
    assert torch.equal(f.value(x), f.phi.value(A(x)))
    assert f.start().dtype == torch.complex128


# ---- counts


def test_kullback_leibler_by_its_formula():
    y = torch.tensor([[0.0, 1.0, 5.0]], dtype=DOUBLE)
    x = torch.tensor([[2.0, 0.5, 4.0]], dtype=DOUBLE)
    f = Poisson(Identity((1, 3), dtype=DOUBLE), y, 0.5)
    u = x + 0.5
    expected = u.sum() - 6 - (math.log(u[0, 1]) + 5 * math.log(u[0, 2])) + 5 * math.log(5)
    assert float(f.value(x)) == pytest.approx(float(expected), rel=1e-14)
    assert float(f.value(y - 0.5)) == pytest.approx(0, abs=1e-15)
    assert relative(f.grad(x), 1 - y / u) <= 1e-15


def test_counts_at_the_border_of_the_domain():
    y = torch.tensor([[0.0, 3.0]], dtype=DOUBLE)
    f = Poisson(Identity((1, 2), dtype=DOUBLE), y)
    at = torch.tensor([[[0.0, 3.0]], [[1.0, 0.0]], [[-1e-9, 3.0]], [[1.0, -1.0]]], dtype=DOUBLE)
    assert f.value(at).tolist() == [0, math.inf, math.inf, math.inf]
    assert f.grad(at[0]).tolist() == [[1, 0]]
    assert f.grad(at[1]).tolist() == [[1, -math.inf]]
    assert f.grad(at[3])[0, 1].isnan()
    assert f.lipschitz() is None
    with pytest.raises(ValueError, match="no Lipschitz gradient"):
        solve(GradientDescent(), f)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_the_prox_of_counts_does_not_cancel(dtype):
    """u^2 - (v - tau) u - tau y = 0 to rounding over forty orders of magnitude, against 60 digits."""
    from fractions import Fraction

    def isqrt(q: Fraction) -> Fraction:
        scale = 10**120
        return Fraction(math.isqrt(q.numerator * scale * q.denominator), q.denominator * 10**60)

    values = [-1e15, -1.0, -1e-15, 0.0, 1e-15, 1.0, 1e15]
    for v in values:
        for y in (0.0, 1e-12, 1.0, 1e12):
            for tau in (1e-10, 1.0, 1e10):
                row = torch.full((1, 1), v, dtype=dtype)
                f = Poisson(Identity((1, 1), dtype=dtype), torch.full((1, 1), y, dtype=dtype))
                exact = [Fraction(float(torch.tensor(q, dtype=dtype))) for q in (v, y, tau)]
                w = Fraction(float(row - torch.tensor(tau, dtype=dtype)))
                root = (w + isqrt(w * w + 4 * exact[2] * exact[1])) / 2
                found = float(f.phi.prox(row, tau))
                assert found >= 0
                assert abs(found - float(root)) <= 8 * torch.finfo(dtype).eps * float(root)


def test_the_curvature_of_counts_holds_where_images_are_positive():
    y = randn((2, 3, 4), seed=77).abs() * torch.tensor([1.0, 30.0]).reshape(2, 1, 1)
    f = Poisson(Identity((3, 4), dtype=DOUBLE), y, 0.4)
    assert relative(f.lipschitz(), y.flatten(1).amax(1) / 0.16) <= 1e-14
    a, b = randn((2, 3, 4), seed=78).abs(), 1e-3 * randn((2, 3, 4), seed=79).abs()
    for p, q in ((a, b), (b, 2 * b)):
        change = (f.grad(p) - f.grad(q)).flatten(1).norm(dim=1)
        assert bool((change <= f.lipschitz() * (p - q).flatten(1).norm(dim=1)).all())


def test_steps_through_counts_can_be_differentiated():
    y = torch.tensor([[0.0, 2.0]], dtype=DOUBLE)
    phi = Poisson(Identity((1, 2), dtype=DOUBLE), y, 0.1).phi
    v, tau = torch.tensor([[0.3, -1.0]], dtype=DOUBLE), torch.tensor(0.2, dtype=DOUBLE)
    for function in (phi.prox, phi.conjugate_prox):
        assert gradcheck(function, (v.clone().requires_grad_(), tau.clone().requires_grad_()))


# ---- what is refused


def test_what_cannot_be_is_refused():
    A, y = mixing(), randn((2, 4)).abs()
    told: list[tuple[type[Exception], str, object]] = [
        (ValueError, "Poisson: data must be finite and not negative", lambda: Poisson(A, -y)),
        (ValueError, "Poisson: data must be finite", lambda: Poisson(A, y / 0)),
        (ValueError, "Poisson: background must be", lambda: Poisson(A, y, -0.1)),
        (ValueError, r"background of shape \(3,\) does not fit", lambda: Poisson(A, y, torch.ones(3))),
        (TypeError, "Poisson counts events", lambda: Poisson(A, y + 0j)),
        (ValueError, "L2Ball: eps must be finite and not negative", lambda: L2Ball(A, y, -1.0)),
        (ValueError, "L2Ball: eps must be finite", lambda: L2Ball(A, y, math.nan)),
        (ValueError, r"one per item, \(5,\)", lambda: L2Ball(A, y.expand(5, 2, 4), torch.ones(4))),
        (ValueError, "expects data of shape", lambda: L1Fidelity(A, y[..., 1:])),
        (ValueError, "s must be a finite number, got nan", lambda: SobolevL2(A, y, math.nan)),
        (ValueError, "length_scale must be positive", lambda: SobolevL2(A, y, 1.0, length_scale=0.0)),
        (ValueError, "spacing must be a positive number", lambda: SobolevL2(A, y, 1.0, spacing=[1.0, 1.0, 1.0])),
        (ValueError, "spacing must be a positive number", lambda: SobolevL2(A, y, 1.0, spacing=-1.0)),
        (ValueError, 'boundary must be "periodic" or "neumann"', lambda: SobolevL2(A, y, 1.0, boundary="zero")),
        (ValueError, 'symbol must be "spectral" or "fd"', lambda: SobolevL2(A, y, 1.0, symbol="wavelet")),
        (ValueError, r"axes=\(2,\) must name some of the 2", lambda: SobolevL2(A, y, 1.0, axes=[2])),
        (ValueError, "names an axis twice", lambda: SobolevL2(A, y, 1.0, axes=[1, -1])),
        (ValueError, "choose another unit", lambda: SobolevL2(A, y, 300.0, length_scale=1e3)),
    ]
    for error, sentence, make in told:
        with pytest.raises(error, match=sentence):
            make()


# ---- problems whose solution is known


def tall() -> LinearOperator:
    return LinearOperator.from_scipy(randn((40, 6), seed=81).numpy(), (2, 3), (40,))


@pytest.mark.parametrize("solver", [ADMM(**TIGHT), PrimalDual(**TIGHT)], ids=["admm", "primal-dual"])
def test_outliers_against_linear_programming(solver):
    A, truth = tall(), randn((2, 3), seed=82)
    y = A(truth)
    y[::8] += 50 * randn((5,), seed=83)
    M, n, m = dense(A).numpy(), 6, 40
    lp = linprog(
        np.r_[np.zeros(n), np.ones(m)],
        A_ub=np.block([[M, -np.eye(m)], [-M, -np.eye(m)]]),
        b_ub=np.r_[y.numpy(), -y.numpy()],
        bounds=[(None, None)] * n + [(0, None)] * m,
    )
    found = solve(solver, L1Fidelity(A, y))
    assert found.status == "converged"
    assert float(L1Fidelity(A, y).value(found.x)) == pytest.approx(lp.fun, rel=1e-6)
    assert relative(found.x, truth) <= 1e-6  # outliers in an eighth of the data leave no trace
    assert relative(solve(ADMM(**TIGHT), L2(A, y), L1(1e-9)).x, truth) > 1


@pytest.mark.parametrize("solver", [ADMM(**TIGHT), PrimalDual(**TIGHT)], ids=["admm", "primal-dual"])
@pytest.mark.parametrize("kind", [DOUBLE, torch.complex128])
def test_the_ball_is_the_penalty_of_the_same_residual(solver, kind):
    """min TV subject to |A x - y| <= eps and min 1/2 |A x - y|^2 + lam TV have one solution if eps is its residual."""
    A = LinearOperator.from_scipy(randn((14, 12), kind, 84).numpy(), (3, 4), (14,))
    y = randn((2, 14), kind, 85)
    penalised = solve(ADMM(**TIGHT), L2(A, y), TotalVariation(0.8))
    eps = torch.linalg.vector_norm(A(penalised.x) - y, dim=-1)
    f = L2Ball(A, y, eps)
    found = solve(solver, f, TotalVariation(1.0))
    assert found.status == "converged"
    assert relative(torch.linalg.vector_norm(A(found.x) - y, dim=-1), eps) <= 1e-6
    assert relative(found.x, penalised.x) <= 1e-5


def by_scipy(f: Fidelity, g: Functional, start: Tensor) -> float:
    """The least value on positive images, g smooth."""

    def both(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(numbers).reshape(start.shape)
        return float(f.value(x) + g.value(x)), (f.grad(x) + g.grad(x)).flatten().numpy()

    bounds = [(0, None)] * start.numel()
    options = {"maxiter": 10000, "ftol": 1e-15, "gtol": 1e-10}
    return float(
        minimize(both, start.flatten().numpy(), jac=True, bounds=bounds, method="L-BFGS-B", options=options).fun
    )


def counts() -> tuple[LinearOperator, Tensor]:
    A = LinearOperator.from_scipy(randn((15, 6), seed=86).abs().numpy(), (2, 3), (15,))
    mean = A(3 * randn((2, 3), seed=87).abs()) + 0.5
    return A, torch.poisson(mean, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("solver", [ADMM(**TIGHT), PrimalDual(**TIGHT)], ids=["admm", "primal-dual"])
def test_counts_against_scipy(solver):
    A, y = counts()
    f, g = Poisson(A, y, 0.5), Tikhonov(0.3, Gradient((2, 3), dtype=DOUBLE))
    found = solve(solver, f, Sum(g, NonNegative()))
    assert found.status == "converged"
    least = by_scipy(f, g, torch.ones(2, 3, dtype=DOUBLE))
    assert float(f.value(found.x) + g.value(found.x)) == pytest.approx(least, rel=1e-6)


def test_counts_over_a_background_by_gradients():
    A, y = counts()
    f = Poisson(A, y, 4.0)
    found = solve(ProximalGradient(**TIGHT), f, NonNegative())
    assert found.status == "converged"
    assert float(f.value(found.x)) == pytest.approx(by_scipy(f, Zero(), torch.ones(2, 3, dtype=DOUBLE)), rel=1e-6)


def test_counts_with_total_variation():
    """Both splitting solvers find one image, near which no search finds a better one."""
    A, y = counts()
    f, g = Poisson(A, y), TotalVariation(0.7)
    one, two = (solve(solver, f, g).x for solver in (ADMM(**TIGHT), PrimalDual(**TIGHT)))
    assert relative(one, two) <= 1e-5
    least = float(f.value(one) + g.value(one))

    def objective(numbers: np.ndarray) -> float:
        x = torch.from_numpy(np.array(numbers)).reshape(2, 3)
        return min(float(f.value(x) + g.value(x)), 1e9)

    for start in (one, torch.ones_like(one)):
        options = {"maxiter": 5000, "maxfev": 5000, "xatol": 1e-9, "fatol": 1e-12}
        searched = minimize(objective, start.flatten().numpy(), method="Nelder-Mead", options=options)
        assert searched.fun >= least * (1 - 1e-7)
    alike = Analysis(L1(0.0, ndim=3), Gradient((2, 3), dtype=DOUBLE))
    assert float(f.value(one)) > float(f.value(solve(PrimalDual(**TIGHT), f, alike).x))


# ---- nonlinear operators


class Square(Operator):
    """y = x^2 at two of three places."""

    def __init__(self) -> None:
        super().__init__((3,), (2,), dtype=DOUBLE)

    def _forward(self, x: Tensor) -> Tensor:
        return x[..., :2] ** 2


def test_a_misfit_needs_no_linear_operator():
    y = torch.tensor([[4.0, 9.0], [1.0, 1.0]], dtype=DOUBLE)
    A = Square()
    f = Misfit(A, L2(Identity((2,), dtype=DOUBLE), y).phi)
    x = randn((2, 3), seed=88)
    assert relative(f.grad(x)[:, :2], 2 * x[:, :2] * (x[:, :2] ** 2 - y)) <= 1e-14
    assert not bool(f.grad(x)[:, 2].any())
    assert f.supports == {"value", "grad"}
    assert not f.convex
    assert f.lipschitz() is None
    start = torch.tensor([1.5, 2.5, 7.0], dtype=DOUBLE).expand(2, 3)
    found = solve(GradientDescent(step_size=0.02, tol=1e-9), f, x0=start)
    assert found.status == "converged"
    assert relative(found.x, torch.tensor([[2.0, 3.0, 7.0], [1.0, 1.0, 7.0]], dtype=DOUBLE)) <= 1e-7
    for solver in (ADMM(), PrimalDual()):
        with pytest.raises(TypeError, match="needs a fidelity"):
            solve(solver, f, L1(1.0, ndim=1), x0=start)


def test_a_fidelity_without_data_starts_at_one_item():
    f = Fidelity(parallel(), Tikhonov(1.0))
    assert f.y is None
    assert f.start().shape == f.A.domain_shape
