"""Readings that count for more, for less, or not at all: from the scan and its file through every method."""

import math

import numpy as np
import pytest
import torch
from laws import randn, relative
from sealed import edit

from invprob import reconstruct
from invprob.cli.main import main
from invprob.errors import InputError
from invprob.io import load_result, load_scan, save_scan, scan_summary
from invprob.io.rings import without_rings
from invprob.linop import LinearOperator
from invprob.linop.readings import interpolated
from invprob.operators import ParallelBeam
from invprob.phantoms import Ellipses, shepp_logan
from invprob.registry import METHODS
from invprob.scan import Scan

N, VIEWS, BINS = 32, 40, 48
A = ParallelBeam((N, N), np.arange(VIEWS) * math.pi / VIEWS, BINS)
SIGMA = 0.05


def phantom():
    body = shepp_logan(N / 2)
    y = body.line_integrals(*A.rays()).float()
    return y / y.max(), body.image((N, N)) / float(y.max())


def noisy(seed=1):
    clean, truth = phantom()
    return clean + SIGMA * randn(clean.shape, torch.float32, seed), truth


def stop():
    """Weights of a beam stop that some views see, and a dead pixel."""
    weights = torch.ones(VIEWS, BINS)
    weights[10:30, 20:25] = 0
    weights[:, 12] = 0
    return weights


# ---- the scan and its file


def test_data_without_weight_may_be_anything():
    y, _ = noisy()
    y[stop() == 0] = torch.nan
    scan = Scan(A, y, weights=stop())
    assert not scan.data[stop() == 0].any()
    assert torch.equal(scan.data[stop() > 0], y[stop() > 0])
    assert y[0, 12].isnan()  # the caller's tensor is his
    y[0, 0] = torch.nan
    with pytest.raises(ValueError, match="1 NaN or infinite values"):
        Scan(A, y, weights=stop())


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (torch.ones(BINS), r"weights must have the shape \(2, 40, 48\) of the data, or \(40, 48\), got \(48,\)"),
        (-torch.ones(VIEWS, BINS), "real, finite and not negative"),
        (torch.full((VIEWS, BINS), math.nan), "finite"),
        (torch.ones(VIEWS, BINS) * 1j, "real"),
        (torch.stack([torch.ones(VIEWS, BINS), torch.zeros(VIEWS, BINS)]), "zero in a whole item"),
    ],
)
def test_weights_that_cannot_be(weights, words):
    with pytest.raises(ValueError, match=words):
        Scan(A, torch.ones(2, VIEWS, BINS), weights=weights)


@pytest.mark.parametrize("shared", [True, False])
def test_weights_come_back_from_a_file(tmp_path, shared):
    y = torch.stack([(1 + 0.1 * k) * phantom()[0] for k in range(3)])
    weights = stop() if shared else torch.stack([stop(), 2 * stop(), 3 * stop()])
    scan = Scan(A, y, SIGMA, weights=weights)
    save_scan(tmp_path / "a.h5", scan)
    back = load_scan(tmp_path / "a.h5")
    assert torch.equal(back.weights, weights)
    assert torch.equal(back.data, scan.data)
    part = load_scan(tmp_path / "a.h5", rows=slice(1, 3), views=slice(0, 40, 2))
    assert torch.equal(part.weights, weights[::2] if shared else weights[1:, ::2])
    assert scan_summary(tmp_path / "a.h5").hints == ()

    def shrink(file):
        del file["weights"]
        file["weights"] = np.ones((3, 4))

    edit(tmp_path / "a.h5", shrink)
    with pytest.raises(InputError, match="weights must have the shape"):
        load_scan(tmp_path / "a.h5")


def test_the_commands_tell_of_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_scan("a.h5", Scan(A, torch.stack([noisy()[0]] * 2), SIGMA, weights=stop().expand(2, -1, -1).clone()))
    assert main(["check", "a.h5"]) == 0
    assert main(["reconstruct", "a.h5", "--method", "least-squares", "--report", "a.html", "--png", "a.png"]) == 0
    out = capsys.readouterr().out
    assert out.count("weights   from 1 to 1, from the file; 140 of 1920 readings have none") == 2
    expected = reconstruct(load_scan("a.h5"), "least-squares").x
    assert relative(load_result("a_least-squares.h5").x, expected) < 1e-5


# ---- the methods

# which are for pictures, or for nonlinear operators, or draw (tests/test_sampling.py)
OTHERS = {"wiener", "sobolev-tv", "gauss-newton"} | {name for name, m in METHODS.items() if m.kind == "sampler"}
OTHERS |= {"back-projection", "matched-filter", "kirchhoff", "range-migration"}  # or for radars
OTHERS |= {"l1-magnitude", "tv-magnitude", "wavelet-magnitude", "pnp-magnitude"}  # or for complex images
OTHERS |= {"zero-filled", "cg-sense", "l1-wavelet", "t2-map", "t1-map", "low-rank-sparse"}  # or for MRI, for frames


@pytest.mark.parametrize("method", sorted(set(METHODS) - OTHERS))
def test_what_has_no_weight_does_not_matter(method):
    y, truth = noisy()
    garbage = torch.where(stop() > 0, y, 100 * randn(y.shape, torch.float32, 7))
    one, two = (reconstruct(Scan(A, data, SIGMA, weights=stop()), method).x for data in (y, garbage))
    assert torch.equal(one, two)
    whole = reconstruct(Scan(A, y, SIGMA), method).x
    assert relative(one, truth) < 1.25 * relative(whole, truth)


@pytest.mark.parametrize("method", sorted(set(METHODS) - OTHERS))
@pytest.mark.parametrize("weight", [1.0, 1e6, 1e-6])
def test_equal_weights_are_no_weights(method, weight):
    y, _ = noisy()
    plain = reconstruct(Scan(A, y, SIGMA), method)
    weighted = reconstruct(Scan(A, y, SIGMA * weight**0.5, weights=torch.full((VIEWS, BINS), weight)), method)
    # rounding moves the noise level that loose trials see beside total variation, by which learned priors go
    limit = 1.5e-2 if METHODS[method].kind == "learned" else 1e-4
    assert relative(weighted.x, plain.x) < limit
    left, near = float(plain.certificate.residual_to_noise), 1e-2 if limit > 1e-3 else 1e-3
    assert weighted.certificate.residual_to_noise == pytest.approx(left, rel=near)


@pytest.mark.parametrize("method", ["tikhonov", "tv"])
def test_the_noise_of_weighted_readings_is_respected(method):
    clean, _ = phantom()
    weights = torch.ones(VIEWS, BINS)
    weights[:, 18:30] = 0.04  # five times the noise
    weights[::4, 40:] = 0
    y = clean + SIGMA / weights.clamp(min=1e-3).sqrt() * randn(clean.shape, torch.float32, 3)
    result = reconstruct(Scan(A, y, SIGMA, weights=weights), method)
    assert 0.9 < float(result.certificate.residual_to_noise) < 1.3  # without weights it would be about 3


def test_neighbours_with_other_weights_do_not_matter():
    y = torch.stack([noisy(k)[0] for k in range(2)])
    weights = torch.stack([stop(), torch.rand(VIEWS, BINS, generator=torch.Generator().manual_seed(0)) + 0.1])
    both = reconstruct(Scan(A, y, SIGMA, weights=weights), "tv").x
    for k in range(2):
        assert relative(both[k], reconstruct(Scan(A, y[k], SIGMA, weights=weights[k]), "tv").x) < 1e-4


def test_weights_from_counts_pay():
    """At low dose behind dense parts: at the best strength much, at the one that is chosen automatically a little."""
    body = Ellipses(
        torch.tensor([0.08, 0.6, 0.6, 0.03]),
        torch.tensor([[0.0, 0.0], [-8.0, 0.0], [8.0, 0.0], [0.0, 4.0]]),
        torch.tensor([[14.0, 10.0], [2.5, 2.5], [2.5, 2.5], [3.0, 2.0]]),
        torch.zeros(4),
    )
    mean = 300 * torch.exp(-body.line_integrals(*A.rays()))
    counts = torch.poisson(mean, generator=torch.Generator().manual_seed(2)).float()
    truth, y = body.image((N, N)), torch.log(300 / counts.clamp(min=0.5))
    soft = truth < 0.3

    def error(scan, strength="auto"):
        return relative(soft * reconstruct(scan, "tv", strength=strength).x, soft * truth)

    plain = Scan(A, y, float((1 / counts.clamp(min=1)).mean().sqrt()))
    weighted = Scan(A, y, 1.0, weights=counts)
    best = [min(error(scan, strength) for strength in (0.01, 0.03, 0.1)) for scan in (plain, weighted)]
    assert best[1] < 0.65 * best[0]
    assert error(weighted) < error(plain)


def test_a_users_operator_has_weights_too():
    M = randn((60, 20), torch.float32, 4)
    B = LinearOperator.from_functions(lambda x: x @ M.T, lambda y: y @ M, (20,), (60,))
    x = randn((20,), torch.float32, 5)
    y, weights = B(x), torch.ones(60)
    weights[::3], y[::3] = 0, 1e3
    for method in ("least-squares", "tikhonov"):
        assert relative(reconstruct(Scan(B, y, 1e-3, weights=weights), method).x, x) < 0.05


# ---- filling


def test_gaps_are_bridged_along_the_detector():
    y = torch.tensor([[9.0, 1, 9, 9, 4, 9], [9, 9, 9, 9, 9, 9], [0, 1, 2, 3, 4, 5]])
    w = torch.tensor([[0.0, 1, 0, 0, 2, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    expected = torch.tensor([[1.0, 1, 2, 3, 4, 4], [0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5]])
    assert torch.equal(interpolated(y, w), expected)
    assert torch.equal(interpolated(y * 1j, w), expected * 1j)
    assert interpolated(y, None) is y


def test_a_dead_bin_makes_no_ring():
    y, _ = noisy()
    scan = without_rings(Scan(A, torch.where(stop() > 0, y, 50.0), weights=stop()))
    assert torch.equal(scan.weights, stop())
    assert float((scan.data - y)[stop() > 0].abs().max()) < 0.2
