"""Corners where rooms of the core meet: batches beside nothing, batches of operators, real unknowns of complex data."""

import math

import pytest
import torch
from laws import randn, relative
from torch import Tensor

from invprob import Scan, reconstruct, solve
from invprob.fidelities import L2, HalfSquaredDistance, Misfit
from invprob.likelihood import Laplace
from invprob.linop import LinearOperator, Operator, vstack
from invprob.operators import Blur, Identity, Mask, ParallelBeam
from invprob.priors import L1, TotalVariation
from invprob.problem import Problem, pyramid
from invprob.solvers import GaussNewton, ProximalGradient

DOUBLE = torch.float64
VIEWS = torch.arange(24) * math.pi / 24


class Echo(Operator):
    """Real decay rates (n,) to complex echoes (3, n): exp(-(1 + i) k x)."""

    def __init__(self, n: int) -> None:
        super().__init__((n,), (3, n), dtype=DOUBLE, complex_range=True)

    def _forward(self, x: Tensor) -> Tensor:
        k = torch.tensor([0.5, 1.0, 1.5], dtype=DOUBLE)[:, None]
        return torch.exp(-(1 + 1j) * k * x.unsqueeze(-2))


class Unmatched(LinearOperator):
    """The identity with an adjoint that is only nearly one."""

    matched = False

    def __init__(self) -> None:
        super().__init__((4,), (4,), dtype=DOUBLE)

    def _forward(self, x: Tensor) -> Tensor:
        return x.clone()

    def _adjoint(self, y: Tensor) -> Tensor:
        return 1.1 * y


class Exponential(Operator):
    def __init__(self) -> None:
        super().__init__((4,), (4,), dtype=DOUBLE)

    def _forward(self, x: Tensor) -> Tensor:
        return x.exp()


def test_an_item_of_zeros_beside_another_stays_zero():
    A = LinearOperator.from_functions(lambda x: x.cumsum(-1), None, (6, 5), (6, 5))
    y = randn((2, 6, 5), torch.float32)
    y[0] = 0
    x = A.direct(y)
    assert not bool(x[0].any())
    assert relative(x[1], A.direct(y[1])) <= 1e-5
    assert not bool(reconstruct(Scan(A, y), "tv", strength=1e-2).x[0].any())


def test_norms_of_operators_made_of_a_batch_are_a_batch():
    masks = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(0)) > 0.3
    blur = Blur((6, 5), torch.rand(3, 3, generator=torch.Generator().manual_seed(1)), "zero", dtype=DOUBLE)
    both = Mask(masks, ndim=2, dtype=DOUBLE) @ blur
    each = [Mask(mask, dtype=DOUBLE) @ blur for mask in masks]
    assert both.parameter_batch == (2,)
    assert relative(both.norm(), torch.stack([A.norm() for A in each])) <= 1e-4
    assert bool((both.norm_bound() >= torch.stack([A.norm() for A in each])).all())
    assert reconstruct(Scan(both, both(randn((2, 6, 5)).abs())), "tv", strength=1e-2).x.isfinite().all()


def test_real_unknowns_of_complex_data():
    truth = torch.tensor([0.4, 0.8, 1.2], dtype=DOUBLE)
    A = Echo(3)
    y = A(truth)
    found = solve(GaussNewton(tol=1e-8), Misfit(A, HalfSquaredDistance(y, None, 2)), L1(1e-6, ndim=1), x0=0.7 * truth)
    assert not found.x.is_complex()
    assert relative(found.x, truth) <= 1e-4
    J = A.linearised(truth)
    linear = solve(ProximalGradient(tol=1e-10), L2(J, J(truth)))
    assert relative(linear.x, truth) <= 1e-6
    u, v = randn((3,)), randn((3, 3), torch.complex128)
    for W in (2 * J, vstack([J, J]), J + J, J.lift((2,)), Identity((3, 3), dtype=DOUBLE) @ J):
        x = u.expand(W.domain_shape)
        data = v.repeat(W.range_shape[0] // 3, 1) if len(W.range_shape) == 2 else v.expand(W.range_shape)
        back = W.adjoint(data)
        assert not back.is_complex()
        assert float((W(x).conj() * data).sum().real) == pytest.approx(float((x * back).sum()), rel=1e-12)


def test_the_point_of_a_neighbour_does_not_choose_the_way():
    A = LinearOperator.from_functions(lambda x: x[..., :3] - x[..., 3:6], None, (8,), (3,), dtype=DOUBLE)

    class Bent(Operator):
        def __init__(self) -> None:
            super().__init__((8,), (8,), dtype=DOUBLE)

        def _forward(self, x: Tensor) -> Tensor:
            return x + 0.1 * x**3

    B = A @ Bent()
    x0, truth = randn((8,), seed=1), randn((8,), seed=2)
    rest = randn((8,), seed=3)
    solver = GaussNewton(max_iter=1)
    alone = solve(solver, Misfit(B, HalfSquaredDistance(B(truth), None, 1)), x0=x0).x
    y, start = torch.stack([B(truth), B(rest)]), torch.stack([x0, rest])
    beside = solve(solver, Misfit(B, HalfSquaredDistance(y, None, 1)), x0=start).x
    assert relative(beside[0], alone) <= 1e-9


def test_an_unmatched_pair_inside_a_chain_is_refused():
    chain = Unmatched() @ Exponential()
    assert not chain.matched
    with pytest.raises(ValueError, match="needs a true adjoint"):
        solve(
            GaussNewton(), Misfit(chain, HalfSquaredDistance(torch.ones(4, dtype=DOUBLE), None, 1)), x0=torch.zeros(4)
        )


def test_weights_are_inverse_variances_for_every_likelihood():
    """Laplace noise of variance sigma^2 / w: at the truth the misfit is that of the noise."""
    n, sigma = 40_000, 0.3
    w = torch.where(torch.arange(n) % 2 == 0, 100.0, 1.0).double()
    generator = torch.Generator().manual_seed(4)
    u = torch.rand(n, generator=generator, dtype=DOUBLE) - 0.5
    noise = -u.sign() * torch.log1p(-2 * u.abs()) / math.sqrt(2)  # of variance 1
    y = sigma * noise / w.sqrt()
    problem = Problem(Identity((n,), dtype=DOUBLE), y, torch.tensor(sigma, dtype=DOUBLE) / 1.0, w, likelihood=Laplace())
    zero = torch.zeros(n, dtype=DOUBLE)
    assert float(problem.residual_to_noise(zero)) == pytest.approx(1, abs=0.02)
    assert float(problem.noise_seen(zero)) == pytest.approx(sigma, rel=0.02)


def test_filtered_back_projection_of_wrapped_scanners():
    A = ParallelBeam((16, 16), VIEWS, 23)
    y = A(randn((16, 16), torch.float32).abs())
    x = reconstruct(Scan(A, y), "fbp").x
    assert relative(reconstruct(Scan(2 * A, 2 * y), "fbp").x, x) <= 1e-5
    assert relative(reconstruct(Scan(A.lift((2,)), torch.stack([y, y])), "fbp").x[1], x) <= 1e-5
    with pytest.raises(ValueError, match="takes the plain ramp alone"):
        reconstruct(Scan(2 * A, 2 * y), "fbp", window="hann")


def test_slices_and_colours_do_not_keep_a_scan_from_coarser_grids(monkeypatch):
    from invprob import problem as room

    monkeypatch.setattr(room, "SMALLEST", 8)
    A = ParallelBeam((16, 16), VIEWS, 23)
    for lifted in (A, A.lift((3,), channels="slices"), A.lift((3,), channels="colour")):
        levels = pyramid(Problem(lifted, torch.zeros(lifted.range_shape), None))
        assert [level.A.domain_shape[-1] for level in levels] == [8, 16]


def test_readings_that_count_only_where_nothing_is_measured_are_refused():
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0] = True
    with pytest.raises(ValueError, match="zero wherever the operator measures"):
        Scan(Mask(mask), torch.ones(4, 4), weights=(~mask).float())


def test_shared_edges_are_isotropic():
    with pytest.raises(ValueError, match="shared edges are vectors"):
        TotalVariation(ndim=3, axes=2, shared_edges=True, isotropic=False)
    with pytest.raises(ValueError, match="3 spacings for 2 axes"):
        TotalVariation(ndim=2, spacing=(1.0, 1.0, 2.0))
