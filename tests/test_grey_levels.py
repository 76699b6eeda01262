"""Bounds per pixel and few grey values: the closed forms against brute force."""

import numpy as np
import pytest
import torch

from invprob.fidelities import L2
from invprob.loop import solve
from invprob.operators import ParallelBeam
from invprob.priors import Box, GreyLevels, Sum, TotalVariation
from invprob.solvers import ADMM

DOUBLE = torch.float64
LEVELS = (0.0, 0.4, 1.0)


def potential(x: np.ndarray, lam: float) -> np.ndarray:
    a, b, c = LEVELS
    inside = np.where(x <= b, (x - a) * (b - x), (x - b) * (c - x))
    return np.where((x < a) | (x > c), np.inf, 0.5 * lam * inside)


def test_values_are_zero_on_the_levels_and_by_the_formula_between():
    x = torch.tensor([[0.0, 0.4], [1.0, 0.4]], dtype=DOUBLE)
    assert float(GreyLevels(LEVELS, 3.0).value(x)) == 0
    x = torch.tensor([[0.1, 0.3], [0.7, 1.0]], dtype=DOUBLE)
    assert float(GreyLevels(LEVELS, 3.0).value(x)) == pytest.approx(potential(x.numpy(), 3.0).sum())
    assert float(GreyLevels(LEVELS, 0.0).value(x + 0.1)) == np.inf


@pytest.mark.parametrize("step", [0.0, 0.3, 0.99, 1.0, 2.5])
def test_the_prox_is_the_least_of_a_fine_grid(step):
    v = torch.linspace(-0.5, 1.5, 41, dtype=DOUBLE).reshape(1, 41)
    found = GreyLevels(LEVELS, 2.0).prox(v, step / 2.0)
    grid = np.linspace(0, 1, 20001)
    for at, x in zip(v.flatten().tolist(), found.flatten().tolist(), strict=True):
        cost = potential(grid, step) + 0.5 * (grid - at) ** 2
        mine = potential(np.array([x]), step)[0] + 0.5 * (x - at) ** 2
        assert mine <= cost.min() + 1e-12


def test_items_have_their_own_weights_and_nothing_is_outside_of_the_support():
    support = torch.tensor([[True, True], [False, True]])
    v = torch.full((2, 2, 2), 0.55, dtype=DOUBLE)
    found = GreyLevels((0.0, 1.0), torch.tensor([0.0, 2.0]), support=support).prox(v, 1.0)
    assert found[0].tolist() == [[0.55, 0.55], [0.0, 0.55]]
    assert found[1].tolist() == [[1.0, 1.0], [0.0, 1.0]]
    assert float(GreyLevels((0.0, 1.0), support=support).value(v[0])) == np.inf


def test_levels_that_do_not_rise_are_refused():
    for bad in ((1.0,), (0.0, 0.0), (1.0, 0.0)):
        with pytest.raises(ValueError, match="in rising order"):
            GreyLevels(bad)


def test_a_box_has_bounds_per_pixel_and_per_item():
    lower = torch.tensor([[0.0, -1.0], [0.0, 0.5]])
    upper = torch.tensor([1.0, 2.0]).reshape(2, 1, 1).expand(2, 2, 2)
    v = torch.tensor([[-3.0, -3.0], [0.5, 9.0]]).expand(2, 2, 2)
    box = Box(lower, upper)
    assert box.prox(v, 1.0).tolist() == [[[0, -1], [0.5, 1]], [[0, -1], [0.5, 2]]]
    assert box.value(box.prox(v, 1.0)).tolist() == [0, 0]
    assert box.value(v).tolist() == [np.inf, np.inf]
    with pytest.raises(ValueError, match=r"lower 0\.0 to 2\.0 must not exceed upper 1\.0"):
        Box(torch.tensor([0.0, 2.0]), 1.0)


def test_admm_keeps_an_image_within_its_support():
    A = ParallelBeam((24, 24), torch.linspace(0, 1, 12, dtype=DOUBLE), 36, dtype=DOUBLE)
    row, column = torch.meshgrid(torch.arange(24) - 11.5, torch.arange(24) - 11.5, indexing="ij")
    disc = row**2 + column**2 < 64
    f = L2(A, A(disc.double()))
    bounded = solve(ADMM(max_iter=60, tol=1e-6), f, Sum(TotalVariation(0.1), Box(0.0, disc.double())))
    free = solve(ADMM(max_iter=60, tol=1e-6), f, Sum(TotalVariation(0.1), Box(0.0)))
    assert float(bounded.x[~disc].abs().max()) == 0
    errors = [float((result.x - disc.double()).norm()) for result in (bounded, free)]
    assert errors[0] < 0.1 * errors[1]


def test_three_known_grey_values_are_reached_from_an_arc():
    A = ParallelBeam((24, 24), torch.linspace(0, 1.05, 15, dtype=DOUBLE), 36, dtype=DOUBLE)
    row, column = torch.meshgrid(torch.arange(24) - 11.5, torch.arange(24) - 11.5, indexing="ij")
    truth = 0.4 * (row**2 + column**2 < 81).double() + 0.6 * ((row - 2) ** 2 + (column + 1) ** 2 < 10).double()
    noise = 0.02 * torch.randn(A.range_shape, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    f = L2(A, A(truth) + noise)
    x = plain = solve(ADMM(max_iter=80), f, Sum(TotalVariation(0.1), Box(0.0, 1.0))).x
    for pull in (0.2, 0.5, 1.0):
        x = solve(ADMM(max_iter=40), f, Sum(TotalVariation(0.1), GreyLevels(LEVELS, pull)), x0=x).x
    off = [(image - truth).abs() for image in (x, plain)]
    assert float((off[0] < 1e-6).double().mean()) > 0.9 > float((off[1] < 1e-6).double().mean()) + 0.1
    assert float(off[0].mean()) < float(off[1].mean())
