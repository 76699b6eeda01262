"""Filtered back-projection where views and bins are no plain full turn: the level is that of analytic phantoms."""

import math

import numpy as np
import pytest
import torch
from laws import relative

from invprob.operators import ConeBeam, FanBeam, ParallelBeam
from invprob.operators.ct.arcs import find_arcs
from invprob.operators.ct.coverage import coverage_doubts, field_of_view
from invprob.operators.ct.fbp import line_weights
from invprob.phantoms import Ellipses, detected

N = 64
TURN = np.arange(180) * math.pi / 90
FAN = {"source_distance": 130.0, "detector_distance": 65.0}
BODY = Ellipses(
    torch.tensor([1.0, 0.7, -0.4], dtype=torch.float64),
    torch.tensor([[0.0, 0.0], [9.0, -6.0], [-10.0, 8.0]], dtype=torch.float64),
    torch.tensor([[25.0, 22.0], [6.0, 5.0], [5.0, 8.0]], dtype=torch.float64),
    torch.tensor([0.3, 0.0, 1.0], dtype=torch.float64),
)


def truth(A):
    return BODY.image((N, N), dtype=torch.float64)


def error(A, radius=30.0):
    """The error of the direct reconstruction relative to the truth within a circle, and the ratio of the means."""
    x, t = A.direct(detected(BODY, A)).double(), truth(A)
    at = torch.arange(N) - (N - 1) / 2
    inside = torch.hypot(at, at[:, None]) < radius
    return relative(x[inside], t[inside]), float(x[inside].mean() / t[inside].mean())


def bursts(period, count, apart=0.55, turn=360):
    degrees = np.arange(0, turn, period)[:, None] + np.arange(count) * apart
    return np.deg2rad(degrees.ravel())


# ---- displaced detectors


@pytest.mark.parametrize("offset", [-4.0, -12.3, -18.0, 15.5])
def test_a_displaced_detector_sees_as_much_as_a_wide_one(offset):
    """A full turn of half the object in each view is half a turn of the whole object, with the same bins."""
    reach = 66
    part = offset % 1
    for wide, displaced in (
        (
            ParallelBeam((N, N), TURN[:90], 2 * reach, axis_offset=part),
            ParallelBeam((N, N), TURN, 44, axis_offset=offset),
        ),
        (
            FanBeam((N, N), TURN, 2 * reach, axis_offset=1.5 * offset % 1, **FAN),
            FanBeam((N, N), TURN, 66, axis_offset=1.5 * offset, **FAN),
        ),
    ):
        radius = min(30.0, field_of_view(displaced) - 1)
        best, level = error(wide, radius)
        assert level == pytest.approx(1, abs=0.003)
        if radius < 28:
            continue  # an offset that leaves the object truncated
        found, level = error(displaced, radius)
        assert level == pytest.approx(1, abs=0.003)
        assert found <= 1.15 * best + 0.01


def test_cone_beams_of_a_displaced_detector():
    """A cylinder's middle slice is that of a detector wide enough; far from the axis as at it."""
    settings = {"source_distance": 130.0, "detector_distance": 65.0}
    wide = ConeBeam((3, N, N), TURN, (5, 120), **settings)
    displaced = ConeBeam((3, N, N), TURN, (5, 66), axis_offset=-25.0, **settings)
    x = truth(wide).float().expand(3, N, N).contiguous()
    inside = torch.hypot(*torch.meshgrid(2 * [torch.arange(N) - (N - 1) / 2], indexing="ij")) < 30
    best, found = (A.direct(A(x))[1][inside] for A in (wide, displaced))
    assert relative(found, best) < 0.05
    assert float(found.mean() / x[1][inside].mean()) == pytest.approx(1, abs=0.005)


def test_what_only_one_side_sees_counts_whole_and_no_line_more_than_once():
    A = FanBeam((N, N), TURN, 66, axis_offset=-25.0, **FAN)
    weights = line_weights(A.angles, A.view_map().fan_angles, A.bins) / (TURN[1] - TURN[0])
    seen_once = A.bins > -A.bins[0] + 1
    assert weights[:, seen_once] == pytest.approx(1)
    both = np.abs(A.bins) <= -A.bins[0] + 1e-9
    assert (weights + weights[:, ::-1])[0] != pytest.approx(1)  # bins are not symmetric about the axis
    line = np.interp(-A.bins[both], A.bins, weights[0])
    assert weights[0][both] + line == pytest.approx(1, abs=0.02)
    assert np.abs(np.diff(weights[0])).max() < 0.2  # a step would ring under the ramp filter


def test_a_centred_detector_of_a_full_turn_shares_evenly():
    A = FanBeam((N, N), TURN, 66, **FAN)
    weights = line_weights(A.angles, A.view_map().fan_angles, A.bins)
    assert weights == pytest.approx(0.5 * (TURN[1] - TURN[0]), rel=1e-9)


def test_short_scans_keep_their_weights():
    """Where the opposite view is missing, what a displaced detector sees counts whole."""
    half = ParallelBeam((N, N), TURN[:90], 70, axis_offset=3.0)
    assert line_weights(half.angles, np.zeros(70), half.bins) == pytest.approx(math.pi / 90)
    best, level = error(half)
    assert level == pytest.approx(1, abs=0.003)
    assert best <= 0.1
    short = FanBeam((N, N), TURN[:118] - 1.0, 108, axis_offset=2.3, **FAN)
    found, level = error(short)
    assert level == pytest.approx(1, abs=0.003)
    assert found <= 0.1


def test_an_axis_off_the_detector_is_no_field_of_view():
    A = ParallelBeam((N, N), TURN, 20, axis_offset=-15.0)
    assert field_of_view(A) == 0
    assert "axis lies off the detector" in A.doubts()[0]
    assert "axis lies off the detector" in A.doubts(detected(BODY, A))[0]


# ---- bursts and gaps


@pytest.mark.parametrize(
    "angles",
    [
        bursts(18, 3),
        bursts(24, 6),
        bursts(40, 12, 2.0),
        bursts(12, 2, 0.1),
        np.random.default_rng(0).permuted(bursts(18, 3)),
    ],
    ids=["20 x 3", "15 x 6", "9 x 12", "30 x 2", "shuffled"],
)
def test_bursts_of_views_have_the_level_of_the_truth(angles):
    for A in (FanBeam((N, N), angles, 110, **FAN), ParallelBeam((N, N), angles, 70)):
        assert line_weights(A.angles, A.view_map().fan_angles).sum() / len(A.bins) == pytest.approx(math.pi, rel=0.02)
        _, level = error(A)
        assert level == pytest.approx(1, abs=0.01)
        assert not [doubt for doubt in coverage_doubts(A) if "limited" in doubt]


def test_bursts_within_half_a_turn_stand_for_half_a_turn():
    A = ParallelBeam((N, N), bursts(12, 3, turn=180), 70)
    _, level = error(A)
    assert level == pytest.approx(1, abs=0.02)
    _, short = error(FanBeam((N, N), bursts(11, 3, turn=240), 110, **FAN))
    assert short == pytest.approx(1, abs=0.03)


def test_bursts_of_a_displaced_detector():
    A = FanBeam((N, N), bursts(10, 3), 66, axis_offset=-25.0, **FAN)
    assert error(A)[1] == pytest.approx(1, abs=0.02)


def test_cone_beams_in_bursts():
    A = ConeBeam((3, N, N), bursts(18, 3), (5, 110), source_distance=130.0, detector_distance=65.0)
    x = truth(A).float().expand(3, N, N).contiguous()
    found = A.direct(A(x))[1]
    assert float(found.mean() / x[1].mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("degrees", "missing", "covered"),
    [
        (np.arange(90) * 2.0, 1, 180),
        (np.arange(60) * 1.0, 1, 60),
        (np.append(np.arange(60), 180 + np.arange(60)) * 1.0, 2, 120),
        (np.rad2deg(bursts(18, 3)), 0, 360),
        (np.rad2deg(bursts(12, 3, turn=180)), 1, 180),
        (np.arange(8) * 45.0, 0, 360),
        (np.arange(100) * 137.50776, 0, 360),
        (np.arange(4) * 45.0, 1, 180),
        ([0.0, 90.0], 1, 180),
        ([10.0], 0, 0),
        ([10.0, 10.0, 10.0], 1, 0),
        (np.repeat(np.arange(90) * 4.0, 2), 0, 360),
    ],
    ids=str,
)
def test_arcs_without_views(degrees, missing, covered):
    arcs = find_arcs(np.deg2rad(degrees))
    assert int(arcs.missing.sum()) == missing
    assert np.rad2deg(arcs.covered) == pytest.approx(covered, abs=4)


def test_two_opposite_arcs_are_one_seen_twice():
    arc = np.deg2rad(np.arange(60.0))
    once, twice = ParallelBeam((N, N), arc, 70), ParallelBeam((N, N), np.append(arc, arc + math.pi), 70)
    assert relative(twice.direct(detected(BODY, twice)), once.direct(detected(BODY, once))) < 1e-3
