"""Where an object ends and how its beam hardens: fits against analytic ellipses and curves that are known."""

import math

import numpy as np
import pytest
import torch

from invprob import processor
from invprob.linop import vstack
from invprob.operators import FanBeam, Identity, ParallelBeam
from invprob.operators.ct.beam_hardening import HardeningCurve, envelope
from invprob.operators.ct.outline import find_outline

ARC = np.deg2rad(np.arange(0, 60.5, 2))
SCANNERS = {
    "parallel": ParallelBeam((64, 64), ARC, 96, pixel_size=0.5, detector_size=0.5),
    "fan": FanBeam((64, 64), ARC, 96, source_distance=120.0, detector_distance=40.0, pixel_size=0.5, detector_size=0.6),
}


def shadow(A, x, y, a, b, turn=0.0):
    """The chords of all rays in an ellipse with half axes a, b, turned by an angle: closed form."""
    points, directions = (t.numpy() for t in A.rays())
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    cos, sin = math.cos(turn), math.sin(turn)
    to_axes = np.array([[cos, sin], [-sin, cos]]) / np.array([[a], [b]])
    p, d = (points - [x, y]) @ to_axes.T, directions @ to_axes.T
    half = (p * d).sum(-1) ** 2 - (d**2).sum(-1) * ((p**2).sum(-1) - 1)
    return 2 * np.sqrt(half.clip(min=0)) / (d**2).sum(-1)


@pytest.mark.parametrize("name", SCANNERS)
def test_a_disc_is_found_to_a_fraction_of_a_bin(name):
    A = SCANNERS[name]
    found = find_outline(A, 0.03 * shadow(A, 1.2, -2.0, 11.0, 11.0), "disc")
    assert found.parameters == pytest.approx((1.2, -2.0, 11.0), abs=0.1)
    assert found.misfit < 0.1
    assert 0 < found.uncertainty < 0.3
    assert "a disc of radius 1" in found.describe()
    inside = found.mask(A)
    assert inside.sum() * 0.25 == pytest.approx(math.pi * 121, rel=0.03)
    assert inside[32 + 4, 32 + 2]
    assert not inside[5, 32]


@pytest.mark.parametrize("name", SCANNERS)
def test_rays_come_some_views_at_a_time(name, monkeypatch):
    monkeypatch.setattr(processor, "pieces", lambda *_: 7)  # of 31
    A = SCANNERS[name]
    parts = list(A.rays_by_views())
    assert [views.stop - views.start for views, _, _ in parts] == [7, 7, 7, 7, 3]
    for i, whole in enumerate(A.rays(), 1):
        np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), whole.numpy())
    found = find_outline(A, shadow(A, -1.0, 0.5, 12.0, 7.0, 0.4), "ellipse")
    x, y, xx, xy, yy = found.parameters
    (small, large), axes = np.linalg.eigh([[xx, xy], [xy, yy]])
    turn = math.atan2(axes[1, 1], axes[0, 1])
    np.testing.assert_allclose(found.chords(A), shadow(A, x, y, large**0.5, small**0.5, turn), atol=1e-9)


@pytest.mark.parametrize("name", SCANNERS)
def test_an_ellipse_is_no_disc(name):
    A = SCANNERS[name]
    sinogram = shadow(A, -1.0, 0.5, 12.0, 7.0, 0.4)
    with pytest.raises(ValueError, match="the object is none; say support=ellipse or convex"):
        find_outline(A, sinogram, "disc")
    found = find_outline(A, sinogram, "ellipse")
    truth = torch.zeros(64, 64, dtype=torch.bool)
    x = (torch.arange(64) - 31.5) * 0.5
    u, v = x[None] + 1.0, -x[:, None] - 0.5
    cos, sin = math.cos(0.4), math.sin(0.4)
    truth = ((cos * u + sin * v) / 12) ** 2 + ((cos * v - sin * u) / 7) ** 2 <= 1
    assert (found.mask(A) != truth).sum() < 0.05 * truth.sum()
    assert bool((find_outline(A, sinogram, "convex").mask(A, 0.5) | ~truth).all())  # it holds the object


def test_operators_made_of_operators_see_outlines_too():
    A = SCANNERS["parallel"]
    y = torch.from_numpy(shadow(A, 1.2, -2.0, 11.0, 11.0)).float()
    place = A.outline(y, "disc")
    assert bool((place.inside | ~place.fitted).all())
    assert "a disc of radius 11" in place.words
    assert torch.equal((3 * A).outline(3 * y, "disc").inside, place.inside)
    assert (0 * A).outline(y, "disc") is None
    assert torch.equal(A.lift((2,)).outline(torch.stack([y, y]), "disc").fitted, place.fitted.expand(2, 64, 64))
    other = ParallelBeam((64, 64), ARC + 1.5, 96, pixel_size=0.5, detector_size=0.5)
    both = vstack([A, other]).outline(
        torch.cat([y, torch.from_numpy(shadow(other, 1.2, -2.0, 11.0, 11.0)).float()]), "disc"
    )
    assert (both.fitted != place.fitted).sum() < 10
    assert (A + A).outline(y, "disc") is None
    assert Identity((64, 64)).outline(torch.ones(64, 64), "disc") is None


def test_what_is_cut_off_or_unknown_is_refused():
    A = SCANNERS["parallel"]
    with pytest.raises(ValueError, match="reaches the end of the detector"):
        find_outline(A, shadow(A, 0, 0, 30.0, 30.0))
    with pytest.raises(ValueError, match="one of disc, ellipse, convex, got 'square'"):
        find_outline(A, shadow(A, 0, 0, 9.0, 9.0), "square")


def hardened(t):
    """A beam of three energies."""
    parts = [0.2, 0.5, 0.3], [0.015, 0.03, 0.06]
    return -np.log(sum(share * np.exp(-mu * t) for share, mu in zip(*parts, strict=True)))


def test_a_curve_is_fitted_and_inverted():
    t = np.linspace(0.5, 70, 500)
    curve = HardeningCurve.fit(t, hardened(t))
    assert curve.misfit < 0.01 * curve.straight
    assert curve.lengths(hardened(t)) == pytest.approx(t, rel=5e-3)
    assert curve.slope == pytest.approx(0.2 * 0.015 + 0.5 * 0.03 + 0.3 * 0.06, rel=0.03)
    assert curve.size == pytest.approx(1 - hardened(70.0) / 70 / 0.036, abs=0.03)
    beyond = curve.lengths(np.array([-0.1, 0.0, 9.0]))
    assert beyond[0] == pytest.approx(-0.1 / curve.slope)
    assert beyond[1] == 0
    assert beyond[2] > 200


def test_a_beam_that_does_not_harden_leaves_a_line():
    t = np.linspace(0.5, 70, 500)
    curve = HardeningCurve.fit(t, 0.03 * t)
    assert curve.size < 0.01
    assert curve.mean == pytest.approx(0.03, rel=1e-3)


def test_the_envelope_sees_past_the_holes():
    rng = np.random.default_rng(0)
    chords = rng.uniform(1, 70, 4000)
    holes = np.where(rng.random(4000) < 0.7, rng.uniform(0, 0.6, 4000), 0) * chords
    found = envelope(chords, hardened(chords - holes))
    t = np.array([5.0, 30.0, 65.0])
    assert found(t) == pytest.approx(hardened(t), rel=0.05)


def test_too_few_readings_make_no_curve():
    with pytest.raises(ValueError, match="at least four lengths"):
        HardeningCurve.fit(np.zeros(9), np.ones(9))
    with pytest.raises(ValueError, match="crossed by too few rays"):
        envelope(np.ones(9), np.ones(9))
