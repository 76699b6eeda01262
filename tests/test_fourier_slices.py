"""Parallel beams by the Fourier slice theorem: true to formulas, one convolution for A^T W A."""

import math

import numpy as np
import pytest
import torch
from laws import image_of, mismatch, randn, relative

import invprob
from invprob.methods.scales import kept_nonnegative
from invprob.operators import ParallelBeam
from invprob.operators.ct.fourier_slice import by_view
from invprob.phantoms import shepp_logan
from invprob.problem import Problem

DOUBLE = torch.float64
TURN = np.arange(12) * math.pi / 12


def slices(shape=(16, 16), detectors=25, views=TURN, dtype=DOUBLE, **arguments):
    return ParallelBeam(shape, views, detectors, projector="fourier", dtype=dtype, **arguments)


@pytest.mark.parametrize("bin_size", [0.8, 1.0, 1.5])
@pytest.mark.parametrize("shape", [(40, 40), (41, 40), (40, 43)])
def test_a_gaussian_has_gaussian_projections(shape, bin_size):
    """As wide as itself, the pixel and the bin together; anywhere, in any unit of length."""
    pixel, width, centre = 0.5, 1.6, (1.1, -0.7)
    detectors = math.ceil(math.hypot(*shape) / bin_size) + 4
    A = slices(shape, detectors, pixel_size=pixel, detector_size=bin_size * pixel, axis_offset=0.4)
    y, x = ((n - 1) / 2 - np.arange(n) for n in shape)
    y, x = pixel * y[:, None], -pixel * x
    image = torch.from_numpy(np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * width**2)))
    total = math.sqrt(width**2 + pixel**2 / 12 + (bin_size * pixel) ** 2 / 12)
    at = A.bins - (centre[0] * np.cos(A.angles) + centre[1] * np.sin(A.angles))[:, None]
    expected = torch.from_numpy(math.sqrt(2 * math.pi) * width**2 / total * np.exp(-(at**2) / (2 * total**2)))
    assert relative(A(image), expected) <= 3e-4


def test_a_detector_that_misses_the_corners_sees_the_rest_alike():
    narrow, wide = slices(detectors=17), slices(detectors=25)
    x = randn((16, 16), seed=1)
    x[:4], x[-4:], x[:, :4], x[:, -4:] = 0, 0, 0, 0
    assert "truncated" in repr(narrow)
    assert "convolution" in repr(wide)
    assert not narrow.short_gram
    assert relative(narrow(x), wide(x)[:, 4:-4]) <= 1e-2  # another period of what rings
    y = randn((12, 17), seed=2)
    assert mismatch(narrow, x, y) <= 1e-12
    assert relative(narrow.gram(x), narrow.adjoint(narrow(x))) <= 1e-12


@pytest.mark.parametrize("detectors", [24, 25])
@pytest.mark.parametrize("shape", [(16, 16), (13, 14)])
def test_weights_along_views_keep_the_convolution(shape, detectors, monkeypatch):
    A = slices(shape, detectors)
    x = randn((3, *shape), seed=3)
    weights = {
        "one": None,
        "views": randn((12, 1), seed=4).square(),
        "whole": randn((12, 1), seed=5).square().expand(12, detectors),
        "items": randn((3, 12, 1), seed=6).square(),
        "readings": randn((12, detectors), seed=7).square(),
    }
    found = {name: A.adjoint(A(x) if w is None else w * A(x)) for name, w in weights.items()}
    for name, w in weights.items():
        assert relative(A.gram(x, w), found[name]) <= 1e-11, name
        assert (w is None or by_view(w, 12) is None) == (name in ("one", "readings")), name
    z = torch.complex(x[0], x[1])
    assert relative(A.gram(z, weights["views"]), A.adjoint(weights["views"] * A(z))) <= 1e-11
    monkeypatch.setattr(ParallelBeam, "_forward", None)  # no projection from here on
    for name, w in weights.items():
        if name != "readings":
            A.gram(x, w)


def test_weights_that_are_changed_are_seen():
    A, x, w = slices(), randn((16, 16), seed=8), torch.ones(12, 1, dtype=DOUBLE)
    first = A.gram(x, w)
    w[3:] = 0
    assert relative(A.gram(x, w), A.adjoint(w * A(x))) <= 1e-11
    assert relative(first, A.gram(x)) <= 1e-12


def test_single_precision_is_near_double():
    wide = slices((33, 32), 48)
    x = randn((33, 32), seed=9)
    A = slices((33, 32), 48, dtype=torch.float32)
    assert relative(A(x.float()).double(), wide(x)) <= 1e-5
    assert relative(A.gram(x.float()).double(), wide.gram(x)) <= 1e-5
    assert mismatch(A, image_of(A), A(image_of(A))) <= 1e-6


def test_the_projector_is_known_kept_and_told():
    with pytest.raises(ValueError, match="unknown projector 'siddon'; known: auto, joseph, fourier"):
        ParallelBeam((4, 4), [0.0], 5, projector="siddon")
    A = slices()
    assert "Fourier slices" in repr(A)
    assert A.coarser().operator.projector == A.thinned().operator.projector == A.finer(bins=2).projector == "fourier"
    assert "projector" not in ParallelBeam((4, 4), [0.0], 5).config()
    again = ParallelBeam(**A.config(), dtype=DOUBLE)
    assert torch.equal(again(image_of(A)), A(image_of(A)))


def test_a_scan_keeps_its_projector(tmp_path):
    A = slices(dtype=torch.float32)
    path = tmp_path / "scan.h5"
    invprob.save_scan(path, invprob.Scan(A, A(torch.ones(16, 16))))
    assert invprob.load_scan(path).operator.projector == "fourier"


def test_filtered_backprojection_is_as_true_as_by_interpolation():
    views = np.arange(180) * math.pi / 180
    phantom = shepp_logan(32)
    J, F = (ParallelBeam((64, 64), views, 93, projector=p, dtype=DOUBLE) for p in ("joseph", "fourier"))
    bins = ParallelBeam((64, 64), views, 93 * 8, detector_size=1 / 8)
    y, truth = phantom.line_integrals(*bins.rays()).reshape(180, 93, 8).mean(-1), phantom.image((64, 64)).double()
    assert relative(F.direct(y), truth) <= 1.02 * relative(J.direct(y), truth)
    assert float(F.direct(y).mean()) == pytest.approx(float(truth.mean()), rel=2e-3)
    both = torch.stack([y, 2 * y])
    assert relative(F.direct(torch.complex(both, -both)).imag, -F.direct(both)) <= 1e-12


def test_large_images_are_filtered_by_slices_as_a_matter_of_course(monkeypatch):
    views = np.arange(8) * math.pi / 8
    y = randn((8, 363), torch.float32, seed=10)
    J, F, A = (ParallelBeam((256, 256), views, 363, projector=p) for p in ("joseph", "fourier", "auto"))
    assert torch.equal(A.direct(y), F.direct(y))
    assert torch.equal(A.adjoint(y), J.adjoint(y))
    assert not torch.equal(A.direct(y), J.direct(y))
    small = ParallelBeam((255, 256), views, 363)
    monkeypatch.setattr("invprob.operators.ct.parallel_beam.SliceTransforms", None)
    assert small.direct(y).isfinite().all()


def test_methods_keep_images_above_zero_all_the_same():
    A = slices((32, 32), 46, np.arange(30) * math.pi / 30, torch.float32)
    x = shepp_logan(16).image((32, 32)).float()
    assert bool((A(torch.eye(32).flip(0)) < 0).any())  # it rings, so that A has entries below zero
    assert not A.nonnegative
    for B in (A, 2 * A, A.lift((2,))):
        y = B(x.expand(B.domain_shape))
        assert kept_nonnegative(Problem(B, y, None), None)
    assert not kept_nonnegative(Problem(-A, -y[0], None), None)
    result = invprob.reconstruct(invprob.Scan(A, A(x)), method="tv", strength=1e-4)
    assert bool((result.x >= 0).all())
    assert relative(result.x, x) <= 0.1
