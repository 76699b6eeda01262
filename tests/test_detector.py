"""Readings are means over bins: against sums of many lines, against areas, in the plane and in space."""

import math

import pytest
import torch
from laws import relative

from invprob.operators import ConeBeam, FanBeam, ParallelBeam
from invprob.phantoms import Ellipses, detected, organ, random_ellipses, shepp_logan

ANGLES = [0.0, 0.4, math.pi / 2, 2.2]


def parallel(**settings):
    return ParallelBeam((24, 20), ANGLES, 21, axis_offset=0.7, detector_size=1.3, dtype=torch.float64, **settings)


def fan():
    settings = {"source_distance": 60.0, "detector_distance": 30.0, "axis_offset": -0.4, "detector_size": 2.0}
    return FanBeam((24, 20), ANGLES, 21, **settings)


def test_bins_of_parallel_beams_are_exact():
    """Against 4,000 lines per bin, and all bins together hold the mass of the ellipses at every angle."""
    A, body = parallel(), random_ellipses(9.0, 3)
    many = A.finer(bins=4000)
    lines = body.line_integrals(*many.rays()).reshape(4, 21, 4000).mean(-1)
    assert relative(detected(body, A), lines) < 1e-6
    mass = float((body.values * math.pi * body.semi_axes.prod(1)).sum())
    assert torch.allclose(
        detected(body, A).sum(1) * A.detector_size, torch.full((4,), mass, dtype=torch.float64), rtol=1e-12
    )


def test_bins_of_fan_beams_by_nine_rays():
    A, body = fan().to(torch.float64), random_ellipses(8.0, 5)
    lines = body.line_integrals(*A.finer(bins=900).rays()).reshape(4, 21, 900).mean(-1)
    assert relative(detected(body, A), lines) < 2e-3
    assert relative(detected(body, A), body.line_integrals(*A.rays())) > 1e-2  # a line is something else


def test_counted_photons_average_intensities():
    A = parallel()
    body = Ellipses(torch.tensor([0.8]), torch.zeros(1, 2), torch.tensor([[8.0, 6.0]]), torch.zeros(1))
    lines = body.line_integrals(*A.finer(bins=9).rays()).reshape(4, 21, 9)
    counted = detected(body, A, counted=True)
    assert relative(counted, -torch.exp(-lines).mean(-1).log()) < 1e-12
    assert bool((counted <= detected(body, A) + 1e-3).all())  # Jensen, but for the nine rays


def test_thin_readings_are_lines():
    body = shepp_logan(9.0)
    for A in (parallel(), fan()):
        assert relative(detected(body, A, thin=True), body.line_integrals(*A.rays()).to(A.dtype)) == 0


def test_painted_scenes_come_from_a_finer_grid():
    A = ParallelBeam((16, 16), ANGLES, 23, dtype=torch.float64)
    fine = organ((64, 64), torch.Generator().manual_seed(0)).double()
    both = detected(torch.stack([fine, 2 * fine]), A)
    assert both.shape == (2, 4, 23)
    assert relative(both[1], 2 * both[0]) < 1e-12
    lines = A.finer(image=4, bins=36)(fine).reshape(4, 23, 36).mean(-1)
    assert relative(both[0], lines) < 5e-3
    with pytest.raises(ValueError, match=r"is on no grid finer than that of images \(16, 16\)"):
        detected(fine[:60], A)


def test_flat_detectors_of_cone_beams():
    """A ball whose every reading is known: the mean over a bin of the chord, by many rays."""
    settings = {"source_distance": 40.0, "detector_distance": 20.0, "detector_size": (2.0, 2.4), "row_offset": 0.3}
    A = ConeBeam((8, 8, 8), [0.0, 1.0], (6, 7), **settings)
    volume = torch.rand(16, 16, 16, generator=torch.Generator().manual_seed(1))
    fine = A.finer(image=2, bins=3)
    assert fine.range_shape == (2, 18, 21)
    expected = fine(volume).reshape(2, 6, 3, 7, 3).mean((2, 4))
    assert relative(detected(volume, A), expected) < 1e-6
    middle = A.finer(bins=3)
    assert middle.heights.reshape(6, 3).mean(1) == pytest.approx(A.heights)
    with pytest.raises(ValueError, match="ellipses lie in the plane"):
        detected(shepp_logan(3.0), A)


def test_finer_detectors_have_the_same_middle():
    for A in (parallel(), fan()):
        twin = A.finer(image=2, bins=5)
        assert twin.bins.reshape(21, 5).mean(1) == pytest.approx(A.bins)
        assert twin.domain_shape == (48, 40)
        assert twin.pixel_size * 48 == pytest.approx(A.pixel_size * 24)
