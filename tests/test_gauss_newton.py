"""Gauss-Newton: against scipy, closed forms and the Cramer-Rao bound; its steps, spaces, priors and certificate."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from laws import dense, randn, relative
from scipy.optimize import least_squares
from test_nonlinear import COMPLEX, DOUBLE, Intensity, Phase, Squares, matrix
from torch import Tensor

from invprob.fidelities import L2, HalfSquaredDistance, HalfSquaredSobolev, KullbackLeibler, L1Fidelity, Misfit
from invprob.functional import Zero
from invprob.grid import Grid
from invprob.linop import Operator
from invprob.loop import iterate, solve
from invprob.methods import gauss_newton
from invprob.priors import L1, Denoiser, NonNegative, Sum, Tikhonov, TotalVariation
from invprob.problem import Problem
from invprob.solvers import GaussNewton, GradientDescent
from invprob.solvers.local_model import LocalModel

TIMES = torch.linspace(0.02, 0.3, 10, dtype=DOUBLE)
SIGMA = 0.01


class Decay(Operator):
    """Echoes M exp(-t / T) of an image (2, H, W) of magnetisation M and relaxation time T."""

    def __init__(self, shape=(6, 7)) -> None:
        super().__init__((2, *shape), (len(TIMES), *shape), dtype=DOUBLE)

    @property
    def grid(self) -> Grid:
        return Grid.of_pixels(2)

    def _forward(self, x: Tensor) -> Tensor:
        return x[..., :1, :, :] * torch.exp(-TIMES.to(x.dtype).reshape(-1, 1, 1) / x[..., 1:, :, :])


def misfit(A, y, weights=None) -> Misfit:
    return Misfit(A, HalfSquaredDistance(y, weights, len(A.range_shape)))


def maps(shape=(6, 7), seed=0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    u = torch.rand(2, *shape, dtype=DOUBLE, generator=g)
    return torch.stack([0.5 + u[0], 0.06 + 0.1 * u[1]])


def guess(shape=(6, 7), m=1.0, t=1.0) -> Tensor:
    return torch.stack([torch.full(shape, m), torch.full(shape, 0.1 * t)]).to(DOUBLE)


def echoes(truth: Tensor, sigma: float = SIGMA, seed: int = 1) -> Tensor:
    clean = Decay(tuple(truth.shape[-2:]))(truth)
    return clean + sigma * randn(clean.shape, seed=seed)


class Pixel(Operator):
    """The same of one pixel: (M, T) to its echoes. An image is a batch."""

    def __init__(self) -> None:
        super().__init__((2,), TIMES.shape, dtype=DOUBLE)

    def _forward(self, x: Tensor) -> Tensor:
        return x[..., :1] * torch.exp(-TIMES / x[..., 1:])


def pixels(count: int, sigma: float = SIGMA) -> tuple[Tensor, Tensor]:
    truth = maps((count, 1)).squeeze(-1).T.contiguous()
    clean = Pixel()(truth)
    return truth, clean + sigma * randn(clean.shape, seed=1)


def by_scipy(data: np.ndarray, start: list[float]) -> np.ndarray:
    times, tight = TIMES.numpy(), {"xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14}
    return least_squares(lambda p: p[0] * np.exp(-times / p[1]) - data, start, method="lm", **tight).x


def test_every_pixel_is_that_of_scipy():
    _, y = pixels(12)
    one_by_one = torch.from_numpy(np.stack([by_scipy(data, [1.0, 0.1]) for data in y.numpy()]))
    found = solve(GaussNewton(tol=1e-9), misfit(Pixel(), y), Zero(1), x0=torch.tensor([1.0, 0.1]))
    assert found.status == "converged"
    assert float((found.x / one_by_one - 1).abs().max()) <= 1e-6
    image = y.T.reshape(-1, 3, 4)  # all in one item
    found = solve(GaussNewton(tol=1e-9), misfit(Decay((3, 4)), image), Zero(3), x0=guess((3, 4)))
    assert found.status == "converged"
    assert float((found.x.reshape(2, 12).T / one_by_one - 1).abs().max()) <= 1e-6


def test_the_errors_are_at_the_cramer_rao_bound():
    truth = torch.tensor([1.0, 0.1], dtype=DOUBLE).expand(4000, 2)
    y = Pixel()(truth) + SIGMA * randn((4000, len(TIMES)), seed=1)
    found = solve(GaussNewton(), misfit(Pixel(), y), Zero(1), x0=torch.tensor([0.8, 0.13]))
    assert found.status == "converged"
    slopes = torch.stack([torch.exp(-TIMES / 0.1), TIMES / 0.01 * torch.exp(-TIMES / 0.1)], 1)
    bound = torch.linalg.inv(slopes.T @ slopes / SIGMA**2).diagonal().sqrt()
    rmse = (found.x - truth).square().mean(0).sqrt()
    assert bool((abs(rmse / bound - 1) <= 0.05).all())


@pytest.mark.parametrize("m", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("t", [0.1, 1.0, 10.0])
def test_starts_ten_times_off_arrive(m, t):
    truth, y = pixels(20)
    near = solve(GaussNewton(), misfit(Pixel(), y), Zero(1), x0=truth)
    far = solve(GaussNewton(), misfit(Pixel(), y), Zero(1), x0=torch.tensor([m, 0.1 * t]))
    assert far.status == "converged"
    assert relative(far.x, near.x) <= 1e-5


def test_quadratic_convergence_where_data_can_be_met():
    """The residual of a step is about the square of the one before, and the objective never rises."""
    truth = maps((3, 4))
    f = misfit(Decay((3, 4)), echoes(truth, 0.0))
    steps = list(iterate(GaussNewton(tol=1e-9), f, Zero(3), x0=guess((3, 4))))
    assert relative(steps[-1].best, truth) <= 1e-6
    before, after = (float(step.state.residual) for step in steps[-2:])
    assert after <= min(300 * before**2, before / 100)
    objectives = [float(step.state.objective) for step in steps]
    assert all(b <= a for a, b in pairwise(objectives))


def test_undamped_it_solves_linear_problems_in_one_step():
    A, lam = matrix(8, (2, 3)), 0.3
    y = randn((8,))
    f, g = L2(A, y), Tikhonov(lam)
    solver = GaussNewton(damping=0.0, inner_tol=1e-13)
    state = solver.step(f, g, solver.init(f, g, torch.zeros(2, 3, dtype=DOUBLE)))
    M = dense(A)
    expected = torch.linalg.solve(M.T @ M + lam * torch.eye(6, dtype=DOUBLE), M.T @ y)
    assert relative(state.x.flatten(), expected) <= 1e-12


@pytest.mark.parametrize("lam", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["weights", "sobolev", "complex"])
def test_both_spaces_give_one_direction(kind, lam):
    if kind == "complex":
        A, y = matrix(3, (2, 3), COMPLEX) @ Phase(), randn((3,), COMPLEX)
        A, y = matrix(2, (2, 3), COMPLEX) @ Phase(), y[:2]
    else:
        A, y = matrix(4, (2, 3)) @ Squares(), randn((4,))
    phi = HalfSquaredSobolev(y, -0.5, 1) if kind == "sobolev" else HalfSquaredDistance(y, randn(y.shape).abs(), 1)
    g = Tikhonov(lam) if lam else Zero(2)
    model = LocalModel.at(Misfit(A, phi), g, 1 + 0.3 * randn((2, 3)))
    mu, tol = torch.tensor(0.1, dtype=DOUBLE), torch.tensor(1e-14, dtype=DOUBLE)
    d = model.direction(mu, tol)
    assert model._shift(mu) is not None
    assert relative(model.hessian(d) + mu * d, -model.gradient) <= 1e-10


def test_phase_retrieval():
    """|F x|^2 of a complex image: up to a global phase; zero tells no direction."""
    x = randn((2, 3), COMPLEX, 8)
    F = randn((40, 6), COMPLEX, 3)

    class Pattern(Operator):
        degree = 2.0

        def __init__(self):
            super().__init__((2, 3), (40,), dtype=DOUBLE, complex_domain=True)

        def _forward(self, x):
            return (x.flatten(-2) @ F.T).abs().square()

    A = Pattern()
    f = misfit(A, A(x))
    with pytest.raises(ValueError, match="give another x0"):
        solve(GaussNewton(), f)
    found = solve(GaussNewton(tol=1e-10), f, x0=x + 0.5 * randn((2, 3), COMPLEX, 9))
    assert found.status == "converged"
    turn = torch.vdot(found.x.flatten(), x.flatten())
    assert relative(found.x * turn / turn.abs(), x) <= 1e-8
    assert found.certificate.adjoint_mismatch <= 1e-12
    assert found.certificate.derivative_error <= 1e-9


def test_items_are_alone_and_steps_are_pure():
    solver, A = GaussNewton(tol=1e-7), Pixel()
    _, y = pixels(3)
    x0 = torch.tensor([[1.0, 0.1], [3.0, 0.2], [0.5, 0.07]], dtype=DOUBLE)
    f, beside = misfit(A, y), misfit(A, torch.cat([y[:2], 1e6 * y[2:]]))
    together, loud = solve(solver, f, Zero(1), x0=x0), solve(solver, beside, Zero(1), x0=x0)
    for k in range(3):
        alone = solve(solver, misfit(A, y[k]), Zero(1), x0=x0[k])
        assert relative(together.x[k], alone.x) <= 1e-7
        assert abs(int(together.n_iter[k]) - int(alone.n_iter)) <= 1
    assert relative(loud.x[:2], together.x[:2]) <= 1e-7
    state = solver.init(f, Zero(1), x0)
    first, second = (solver.step(f, Zero(1), state) for _ in range(2))
    assert torch.equal(first.x, second.x)
    assert torch.equal(state.x, x0)
    spread = solve(solver, f, Zero(1), x0=x0[0])  # one start for all items
    assert relative(spread.x, together.x) <= 1e-5


def test_the_scale_of_data_and_image_goes_through():
    A = matrix(9, (2, 3)) @ Squares()
    y, x0 = A(1 + 0.2 * randn((2, 3))) + 0.1 * randn((9,)), torch.ones(2, 3, dtype=DOUBLE)
    plain = solve(GaussNewton(tol=1e-10), misfit(A, y), x0=x0).x
    assert relative(solve(GaussNewton(tol=1e-10), misfit(A, 4e6 * y), x0=2e3 * x0).x, 2e3 * plain) <= 1e-9


def test_a_smooth_prior_of_bounded_curvature_is_majorised():
    """Stationary points of f + g by steps with a bound of the Hessian of g are those of gradient descent."""
    A = matrix(9, (2, 3)) @ Squares()
    f = misfit(A, A(1 + 0.2 * randn((2, 3))) + 0.1 * randn((9,)))
    g = Sum(Tikhonov(0.2), Huber(0.5))
    found = solve(GaussNewton(tol=1e-6), f, g, x0=torch.ones(2, 3, dtype=DOUBLE))
    assert found.status == "converged"
    x = found.x.clone().requires_grad_()
    (f.value(x) + g.value(x)).backward()
    assert float(torch.linalg.vector_norm(x.grad)) <= 1e-5 * float(torch.linalg.vector_norm(f.grad(0 * found.x + 1)))


class Huber(Tikhonov):
    """sqrt(1 + x^2), whose gradient has the Lipschitz constant 1, but which is not quadratic."""

    def _value(self, x):
        return (1 + x * x).sqrt().sum((-2, -1))

    def _grad(self, x):
        return x / (1 + x * x).sqrt()

    def normal_term(self):
        return None

    def lipschitz(self):
        return self.lam


def test_a_prior_with_a_prox_goes_to_admm():
    """A(x) = x^2 entry by entry: each entry solves x (x^2 - y) 2 + lam sign(x) = 0 by itself."""
    y, lam = torch.tensor([[4.0, 1.0, 0.3], [2.0, 0.05, 9.0]], dtype=DOUBLE), 0.2
    found = solve(GaussNewton(tol=1e-8), misfit(Squares(), y), L1(lam), x0=torch.ones(2, 3, dtype=DOUBLE))
    assert found.status == "converged"
    grid = torch.linspace(0, 4, 400001, dtype=DOUBLE).reshape(-1, 1, 1)
    expected = grid[(0.5 * (grid**2 - y) ** 2 + lam * grid).argmin(0)].squeeze()
    assert relative(found.x, expected) <= 1e-5
    assert found.certificate.stationarity <= 1e-6


def test_total_variation_and_a_constraint_for_maps():
    truth = guess((6, 6))
    truth[0, :, 3:] = 0.6
    truth[1, 3:, :] = 0.14
    y = echoes(truth, 0.05)
    f = misfit(Decay((6, 6)), y)
    g = Sum(TotalVariation(torch.tensor(0.05, dtype=DOUBLE), ndim=3, axes=2), NonNegative(3))
    plain = solve(GaussNewton(), f, Zero(3), x0=guess((6, 6)))
    smooth = solve(GaussNewton(tol=1e-3, max_iter=30), f, g, x0=guess((6, 6)), noise=0.05)
    assert smooth.status == "converged"
    assert bool((smooth.x >= 0).all())
    assert float((smooth.x - truth)[0].norm()) < 0.7 * float((plain.x - truth)[0].norm())
    objectives = [
        float(f.value(x) + g.value(x)) for x in (guess((6, 6)), smooth.x, smooth.x + 1e-3 * randn((2, 6, 6)).abs())
    ]
    assert objectives[1] < min(objectives[0], objectives[2])
    assert 0.8 < float(smooth.certificate.residual_to_noise) < 1.2


def test_counts_by_the_hessian_of_their_likelihood():
    """Poisson counts of mean x^2 + b: maximum likelihood is x^2 = y - b."""
    y = torch.tensor([[4.0, 7.0, 3.0], [2.0, 5.0, 9.0]], dtype=DOUBLE)
    f = Misfit(Squares(), KullbackLeibler(y, torch.full((2, 3), 0.5, dtype=DOUBLE), 2))
    found = solve(GaussNewton(tol=1e-9), f, x0=torch.ones(2, 3, dtype=DOUBLE))
    assert found.status == "converged"
    assert relative(found.x, (y - 0.5).sqrt()) <= 1e-8


def test_what_will_not_do_is_refused():
    f, x0 = misfit(Squares(), randn((2, 3)).abs()), torch.ones(2, 3, dtype=DOUBLE)
    with pytest.raises(TypeError, match=r"needs a misfit phi\(A\(x\)\)"):
        GaussNewton().init(Zero(2), Zero(2), x0)
    with pytest.raises(TypeError, match="needs the value"):
        GaussNewton().init(f, Denoiser(lambda v, s: v, 0.1), x0)
    with pytest.raises(TypeError, match="needs the grad"):
        GaussNewton().init(L1Fidelity(matrix(5, (2, 3)), randn((5,))), Zero(2), x0)
    with pytest.raises(ValueError, match="expects an image"):
        GaussNewton().init(f, Zero(2), torch.ones(3, 3))
    for wrong in ({"damping": -1.0}, {"inner_tol": 1.0}, {"inner_steps": 0}, {"max_iter": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            GaussNewton(**wrong)


# ---- the certificate


def test_the_certificate_of_a_nonlinear_problem():
    truth, A = maps(), Decay()
    y = echoes(truth)
    result = solve(GaussNewton(), misfit(A, y), Zero(3), x0=guess(), noise=SIGMA)
    facts = result.certificate
    residual = A(result.x) - y
    assert facts.data_residual.item() == pytest.approx(float(residual.norm() / y.norm()), rel=1e-9)
    assert facts.residual_to_noise.item() == pytest.approx(float(residual.norm()) / SIGMA / math.sqrt(y.numel()))
    assert 0.8 < float(facts.residual_to_noise) < 1.0  # two unknowns per pixel take their share of ten echoes
    J = A.linearised(result.x)
    assert facts.stationarity.item() == pytest.approx(float(J.adjoint(residual).norm() / J.adjoint(y).norm()), rel=1e-6)
    assert float(facts.stationarity) <= 1e-6
    assert facts.adjoint_mismatch <= 1e-12
    assert facts.derivative_error <= 1e-8
    assert facts.norm is None
    assert facts.as_dict()["derivative_error"] == facts.derivative_error
    other = solve(GradientDescent(step_size=1e-3, max_iter=3), misfit(A, y), Zero(3), x0=guess())
    assert float(other.certificate.stationarity) > 1e-3


def test_a_wrong_derivative_is_found_out():
    class Wrong(Squares):
        def jvp(self, x, u):
            return 1.9 * x * u

        def vjp(self, x, v):
            return 1.9 * x * v

    f = misfit(Wrong(), randn((2, 3)).abs())
    facts = solve(GaussNewton(max_iter=5), f, x0=torch.ones(2, 3, dtype=DOUBLE)).certificate
    assert facts.adjoint_mismatch <= 1e-12  # a pair, but not the derivative
    assert facts.derivative_error == pytest.approx(0.1 / 1.9, rel=1e-3)


# ---- the recipe


def last(events):
    *_, event = events
    return event.result()


def test_the_recipe():
    truth = maps()
    result = last(gauss_newton(Problem(Decay(), echoes(truth), torch.tensor(SIGMA)), x0=guess()))
    assert result.status == "converged"
    assert result.settings["solver"] == "GaussNewton"
    assert relative(result.x, solve(GaussNewton(), misfit(Decay(), echoes(truth)), Zero(3), x0=guess()).x) <= 1e-4
    assert 0.8 < float(result.certificate.residual_to_noise) < 1.0


def test_the_size_of_the_start_does_not_matter_where_a_degree_is_known():
    A = matrix(9, (2, 3)) @ Squares()
    y = A(1 + 0.2 * randn((2, 3)))
    one, two = (last(gauss_newton(Problem(A, y, None), x0=c * torch.ones(2, 3))).x for c in (1.0, 1e4))
    assert relative(two, one) <= 1e-6


@pytest.mark.parametrize("prior", ["slopes", "tv"])
def test_the_recipe_with_a_prior(prior):
    truth = guess((8, 9))
    truth[0, :, 4:] = 0.7
    y = echoes(truth, 0.05)
    problem = Problem(Decay((8, 9)), y, None)
    strength = {"slopes": 1e-3, "tv": 2e-3}[prior]
    found = last(gauss_newton(problem, x0=guess((8, 9)), strength=strength, prior=prior, tol=1e-3))
    plain = last(gauss_newton(problem, x0=guess((8, 9))))
    errors = [(result.x - truth).flatten(1).norm(dim=1) for result in (found, plain)]
    assert bool((errors[0] < 0.85 * errors[1]).all())


def test_the_recipe_refuses_in_words():
    y = randn((5,))
    with pytest.raises(ValueError, match="is for nonlinear operators"):
        next(gauss_newton(Problem(matrix(5, (2, 3)), y, None)))
    with pytest.raises(ValueError, match="strength a number"):
        next(gauss_newton(Problem(matrix(5, (4,)) @ Squares((4,)), y, None), strength=-1.0))
    with pytest.raises(ValueError, match="give another x0"):
        next(gauss_newton(Problem(Intensity(), randn((7,)).abs(), None)))
