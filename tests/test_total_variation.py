"""The two ways of the TV prox are one; truth from scikit-image's independent algorithm."""

import numpy as np
import pytest
import torch
from laws import randn, relative
from skimage.restoration import denoise_tv_chambolle

from invprob.phantoms import shepp_logan
from invprob.priors import TotalVariation


def noisy(shape=(48, 40), sigma=0.1, dtype=torch.float64):
    clean = shepp_logan(24.0).image(shape, dtype=dtype)
    return clean + sigma * randn(shape, dtype, seed=1)


def objective(x, v, lam, **kind):
    return 0.5 * (x - v).square().sum() + TotalVariation(lam, **kind).value(x)


SHAPES = [(48, 40), (1, 30), (30, 1), (2, 2), (1, 1), (6, 9, 11), (1, 5, 4), (3, 1, 1)]


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_and_traceable_agree(shape, spaced, isotropic):
    v = noisy(shape[-2:], 0.3).expand(shape) + 0.1 * randn(shape, torch.float64, 2)
    spacing = (0.7, 1.0, 1.6)[: len(shape)] if spaced else None
    kind = {"isotropic": isotropic, "ndim": len(shape), "spacing": spacing}
    prior = TotalVariation(0.07, **kind, tol=1e-9, max_iter=20000)
    traced = prior.prox(v.clone().requires_grad_(), 1.0).detach()
    assert relative(prior.prox(v, 1.0), traced) <= 1e-4
    values = [objective(x, v, 0.07, **kind) for x in (prior.prox(v, 1.0), traced)]
    assert abs(values[0] - values[1]) <= 2e-9 * values[1]


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gap_is_what_was_asked(tol, dtype):
    v = noisy(dtype=dtype)
    x = TotalVariation(0.1, tol=tol, max_iter=50000).prox(v, 1.0)
    best = TotalVariation(0.1, tol=1e-10, max_iter=50000).prox(v.double(), 1.0)
    least = objective(best, v.double(), 0.1)
    assert -1e-9 * least <= objective(x.double(), v.double(), 0.1) - least <= tol * least


def test_against_scikit_image():
    """Chambolle 2004 in scikit-image minimises |x - v|^2 / (2 w) + TV(x), isotropic with the same differences."""
    v = noisy()
    reference = denoise_tv_chambolle(v.numpy(), weight=0.1, eps=0, max_num_iter=20000)
    x = TotalVariation(0.1, tol=1e-9, max_iter=50000).prox(v, 1.0)
    assert np.abs(x.numpy() - reference).max() <= 2e-3
    assert objective(x, v, 0.1) <= objective(torch.from_numpy(reference), v, 0.1) * (1 + 1e-8)


def test_every_item_has_its_own_strength_and_end():
    v = torch.stack([noisy(), 1e6 * noisy(), noisy(), torch.zeros(48, 40, dtype=torch.float64)])
    lam = torch.tensor([0.1, 1e5, 0.0, 0.1], dtype=torch.float64)
    x = TotalVariation(lam).prox(v, 1.0)
    assert relative(x[1], 1e6 * x[0]) <= 1e-9
    assert torch.equal(x[2], v[2])
    assert torch.equal(x[3], v[3])
    alone = TotalVariation(0.1).prox(v[0], 1.0)
    assert torch.equal(x[0], alone)
