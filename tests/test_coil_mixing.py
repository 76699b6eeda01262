"""Whitening and compression of coils: of data and maps alike, so that the image stays."""

import mri_truth as truth
import numpy as np
import pytest
import torch

from invprob.errors import InputWarning
from invprob.operators import CartesianMRI
from invprob.operators.mri.coil_mixing import CoilMixing, compression, noise_covariance, whitening


def correlated(coils, n, seed=0):
    """Noise of coils that are not independent, and its covariance."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((coils, coils)) + 1j * rng.standard_normal((coils, coils))
    mix = mix * 10.0 ** np.linspace(-2, 2, coils)[:, None]
    return torch.from_numpy(mix @ truth.noise((coils, n), 1.0, seed + 1)), torch.from_numpy(mix @ mix.conj().T)


def test_the_covariance_is_that_of_the_noise():
    noise, psi = correlated(4, 40000)
    scale = psi.diagonal().real.sqrt()
    error = (noise_covariance(noise) - psi) / (scale[:, None] * scale)
    assert float(error.abs().max()) < 3 / 200


def test_white_noise_is_white():
    noise, psi = correlated(5, 40000)
    white = whitening(psi)(noise, 1)
    assert float((noise_covariance(white) - torch.eye(5)).abs().max()) < 3 / 200
    quieter = whitening(psi, gain=0.25)(noise, 1)
    torch.testing.assert_close(quieter, white / 2)


def test_data_and_maps_are_mixed_alike():
    """A' x = M A x."""
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 9, 8, dtype=torch.complex128, generator=rng)
    x = torch.randn(3, 9, 8, dtype=torch.complex128, generator=rng)
    M = whitening(correlated(4, 8)[1])
    A, B = (CartesianMRI(torch.ones(9, 8), coils, dtype=torch.float64) for coils in (maps, M(maps, 2)))
    torch.testing.assert_close(B(x), M(A(x), 2))
    fewer = compression(maps, coils=2)
    torch.testing.assert_close((fewer @ M)(maps, 2), fewer(M(maps, 2), 2))


def test_a_dead_coil_is_left_out():
    noise, psi = correlated(4, 100)
    psi[2], psi[:, 2] = 0, 0
    with pytest.warns(InputWarning, match=r"coils \[2\] have no noise"):
        M = whitening(psi)
    assert M.matrix.shape == (3, 4)
    changed = noise.clone()
    changed[2] = 1e6
    torch.testing.assert_close(M(noise, 1), M(changed, 1))


def test_what_is_no_covariance():
    with pytest.raises(ValueError, match="at least 10 times the coils"):
        noise_covariance(torch.ones(4, 39, dtype=torch.complex64))
    with pytest.raises(ValueError, match="copies of others"):
        whitening(torch.ones(3, 3, dtype=torch.complex128))
    with pytest.raises(ValueError, match="Hermitian"):
        whitening(torch.tensor([[1, 1], [0, 1]]))
    with pytest.raises(ValueError, match="all are dead"), pytest.warns(InputWarning):
        whitening(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="gain"):
        whitening(torch.eye(2), gain=0)
    with pytest.raises(ValueError, match="of 3 coils does not fit 4"):
        CoilMixing(torch.eye(3, dtype=torch.complex128))(torch.ones(4, 5, 5), 2)


def test_compression_keeps_what_is_above_the_noise():
    rng = torch.Generator().manual_seed(1)
    few = torch.randn(3, 400, dtype=torch.complex128, generator=rng)
    mix = torch.randn(8, 3, dtype=torch.complex128, generator=rng)
    noisy = mix @ few + torch.from_numpy(truth.noise((8, 400), 0.05))
    M = compression(noisy, noise=0.05)
    assert M.matrix.shape == (3, 8)
    torch.testing.assert_close(M.matrix @ M.matrix.mH, torch.eye(3, dtype=torch.complex128))
    assert float((M.matrix.mH @ M(noisy, 1) - mix @ few).norm() / few.norm()) < 0.06
    assert compression(noisy).matrix.shape == (3, 8)  # 99.9 % of the energy
    assert compression(noisy, coils=5).matrix.shape == (5, 8)
    assert compression(1e-20 * noisy.to(torch.complex64)).matrix.shape == (3, 8)


def test_compression_loses_as_little_as_any_projection_can():
    samples = torch.from_numpy(truth.noise((6, 50), 1.0))
    kept = compression(samples, coils=4)(samples, 1)
    s = torch.linalg.svdvals(samples)
    assert float(kept.norm() ** 2) == pytest.approx(float(s[:4].square().sum()))


@pytest.mark.parametrize("coils", [0, 4])
def test_compression_to_no_number_of_coils(coils):
    with pytest.raises(ValueError, match=f"compression to {coils} of 3 coils"):
        compression(torch.ones(3, 50, dtype=torch.complex64), coils=coils)
    with pytest.raises(ValueError, match="not all zero"):
        compression(torch.zeros(3, 50, dtype=torch.complex64))
