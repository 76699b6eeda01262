"""Films: frames of MRI that help each other, by total variation in time and by low rank plus sparse."""

import math
from functools import cache

import pytest
import torch
from laws import randn, relative

from invprob import Scan, metrics, phantoms, reconstruct
from invprob.methods import progress
from invprob.operators import CartesianMRI
from invprob.priors import NuclearNorm

DOUBLE = torch.float64


def test_nuclear_norm_is_that_of_the_singular_values():
    x = randn((2, 3, 4, 5), torch.complex128, seed=5)
    prior = NuclearNorm(torch.tensor([0.5, 2.0], dtype=DOUBLE))
    flat = x.reshape(2, 3, 20)
    U, s, V = torch.linalg.svd(flat, full_matrices=False)
    weights = torch.tensor([[0.5], [2.0]], dtype=DOUBLE)
    assert relative(prior.value(x), (weights * s).sum(-1)) <= 1e-12
    shrunk = (s - 0.7 * weights).clamp(min=0).to(U.dtype)
    assert relative(prior.prox(x, 0.7).reshape(2, 3, 20), U * shrunk.unsqueeze(-2) @ V) <= 1e-12
    with pytest.raises(ValueError, match="grouped must be between 1 and 2"):
        NuclearNorm(1.0, grouped=3)


def test_nuclear_norm_of_what_is_not_finite_is_no_number_and_leaves_its_neighbours_alone():
    x = randn((2, 3, 4, 5), torch.complex128, seed=5)
    prior, spoilt = NuclearNorm(0.5), x.clone()
    spoilt[1, 0, 0, 0] = torch.inf
    for of_both, of_one in ((prior.value(spoilt), prior.value(x)), (prior.prox(spoilt, 0.7), prior.prox(x, 0.7))):
        assert torch.equal(of_both[0], of_one[0])
        assert bool(of_both[1].isnan().all())


@cache
def _film() -> Scan:
    """Frames of a body whose organ beats, an eighth of other lines in each of them."""
    n, count = 24, 4
    coils, grid = phantoms.birdcage(4), phantoms.cartesian_positions((n, n))
    swing = torch.sin(2 * math.pi * torch.arange(count, dtype=DOUBLE) / count)
    centres, none = torch.tensor([[0.0, 0.0], [3.0, -2.0]], dtype=DOUBLE), torch.zeros(2, dtype=DOUBLE)
    radii = torch.tensor([[10.0, 8.0], [3.0, 4.0]], dtype=DOUBLE)
    values = torch.tensor([0.6, 0.4], dtype=DOUBLE)
    film = [
        phantoms.Ellipses(values, centres, radii * torch.stack([torch.ones(1), 1 + 0.3 * s[None]]), none) for s in swing
    ]
    masks = torch.stack([phantoms.random_lines(n, 6, seed, calibration=3) for seed in range(count)])
    A = CartesianMRI(masks.unsqueeze(-2), coils.sampled((n, n)), frames=count)
    clean = torch.stack([body.kspace(grid, (n, n), coils=coils) for body in film]) * A.measured
    y, sigma = phantoms.add_gaussian_noise(clean.to(torch.complex64), 2e-3, 0, ndim=4, measured=A.measured)
    truth = torch.stack([body.image((n, n)) for body in film]).to(torch.complex64)
    return Scan(A, y, noise=float(sigma), truth=truth)


def test_frames_help_each_other():
    scan, quality = _film(), {}
    for method, settings in (
        ("zero-filled", {}),
        ("cg-sense", {}),
        ("tv", {"strength": 1e-3, "max_iter": 40}),
        ("low-rank-sparse", {"strength": 3e-3, "max_iter": 30}),
    ):
        *_, last = progress(scan, method, **settings)
        result = last.result()
        assert result.x.shape == scan.truth.shape
        assert torch.equal(last.image(), result.x)
        assert result.settings["method"] == method
        quality[method] = float(metrics.psnr(result.x, scan.truth, data_range=1.0, ndim=3))
    assert quality["cg-sense"] > quality["zero-filled"]
    assert quality["low-rank-sparse"] > quality["cg-sense"] + 0.3
    assert quality["tv"] > quality["cg-sense"] + 4


def test_low_rank_and_sparse_is_for_frames():
    with pytest.raises(ValueError, match="is for frames"):
        reconstruct(Scan(CartesianMRI(torch.ones(8, 8)), torch.ones(8, 8)), "low-rank-sparse")
    with pytest.raises(ValueError, match="background"):
        reconstruct(_film(), "low-rank-sparse", background=0.0)
