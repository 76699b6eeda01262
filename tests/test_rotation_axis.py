"""The rotation axis is found to a fraction of a bin, in what beam lines deliver as well."""

import numpy as np
import pytest

from invprob.errors import InputError
from invprob.io import find_rotation_axis

DISCS = [(1.0, 0.6, 0.0, 0.0), (0.8, 0.15, 0.3, 0.2), (-0.5, 0.1, -0.2, 0.35), (1.5, 0.05, -0.3, -0.3)]


def discs(angles, bins, axis, size=1.0):
    """Line integrals of discs (value, radius, x, y in half-widths) averaged over each bin."""
    fine = (np.arange(8 * bins) - 3.5) / 8 - axis
    half = size * (bins - 1) / 2
    sinogram = np.zeros((len(angles), fine.size))
    for value, radius, x, y in DISCS:
        s = fine - half * (x * np.cos(angles) + y * np.sin(angles))[:, None]
        sinogram += 2 * value * np.sqrt(np.clip((half * radius) ** 2 - s**2, 0, None))
    return sinogram.reshape(len(angles), bins, 8).mean(axis=2)


def half_turn(views):
    return np.arange(views) * np.pi / views


@pytest.mark.parametrize(("views", "bins"), [(90, 128), (60, 129), (200, 64), (30, 65)])
@pytest.mark.parametrize("offset", [0.0, 0.3, -7.25])
def test_axis_of_analytic_sinograms(views, bins, offset):
    axis = (bins - 1) / 2 + offset
    found = find_rotation_axis(discs(half_turn(views), bins, axis), half_turn(views))
    assert found.column == pytest.approx(axis, abs=0.1)
    assert found.uncertainty < 0.1


@pytest.mark.parametrize(
    "angles",
    [
        np.linspace(0, np.pi, 91),
        np.linspace(0, 2 * np.pi, 180, endpoint=False),
        np.linspace(3 * np.pi, 0, 271),
        half_turn(90) + 1.3,
        np.random.default_rng(1).permutation(half_turn(90)),
        np.append(half_turn(90), 0.0),
    ],
    ids=["both ends", "full turn", "clockwise, three half turns", "start elsewhere", "shuffled", "repeated"],
)
def test_axis_for_every_way_to_turn(angles):
    assert find_rotation_axis(discs(angles, 128, 60.3), angles).column == pytest.approx(60.3, abs=0.1)


FULL, DEGREE = np.arange(360) * np.pi / 180, np.pi / 180
BURSTS = (np.arange(0, 360, 18)[:, None] + 0.55 * np.arange(3)).ravel() * DEGREE


@pytest.mark.parametrize("start", [0.0, 90.0, 250.0, 270.0, 300.0])
def test_angles_are_those_of_a_circle(start):
    """A stage that reports angles modulo a turn, and one that counts on, at the golden angle or a turn a view."""
    half = np.mod(np.arange(180) + start, 360)
    for degrees in (half, half + 360 * np.arange(180), half - 720):
        found = find_rotation_axis(discs(degrees * DEGREE, 128, 60.3), degrees * DEGREE)
        assert found.column == pytest.approx(60.3, abs=0.1)
        assert found.uncertainty < 0.1


@pytest.mark.parametrize("angles", [np.arange(180) * 111.246 * DEGREE, np.arange(40) * 137.508 * DEGREE], ids=len)
def test_axis_of_the_golden_angle(angles):
    for theta in (angles, np.mod(angles, 2 * np.pi), np.mod(angles, np.pi)):
        found = find_rotation_axis(discs(theta, 128, 60.3), theta)
        assert found.column == pytest.approx(60.3, abs=0.1)
        assert found.uncertainty < 0.1


@pytest.mark.parametrize("axis", [6.0, 20.3, 63.5, 100.1, 118.6])
@pytest.mark.parametrize("views", [60, 180])
def test_axis_near_the_edge_of_a_full_turn(axis, views):
    """Half acquisition: each view sees little more than half of the object."""
    angles, rng = FULL[:: 360 // views], np.random.default_rng(0)
    clean = discs(angles, 128, axis, size=1.6)
    assert find_rotation_axis(clean, angles).column == pytest.approx(axis, abs=0.02)
    found = find_rotation_axis(clean + rng.standard_normal(clean.shape), angles)
    assert abs(found.column - axis) < max(0.1, 4 * found.uncertainty)
    assert found.uncertainty < 0.5


def test_a_full_turn_of_a_truncated_object_is_as_good_as_of_a_whole_one():
    assert find_rotation_axis(discs(FULL, 128, 60.3, size=3.0), FULL).column == pytest.approx(60.3, abs=0.02)


@pytest.mark.parametrize(
    ("angles", "axis", "size"),
    [
        (BURSTS, 60.3, 1.0),
        (BURSTS, 20.3, 1.6),
        (np.delete(FULL, np.arange(100, 160)), 60.3, 1.0),
        (np.delete(FULL, np.arange(100, 160)), 20.3, 1.6),
        (np.delete(FULL, np.r_[80:100, 250:300]), 60.3, 1.0),
        (FULL[:270], 20.3, 1.6),
        (np.random.default_rng(0).uniform(0, np.pi, 200), 60.3, 1.0),
    ],
    ids=["bursts", "bursts, edge", "a hole", "a hole, edge", "two holes", "three quarters", "anywhere"],
)
def test_nothing_is_interpolated_across_holes(angles, axis, size):
    found = find_rotation_axis(discs(angles, 128, axis, size), angles)
    assert found.column == pytest.approx(axis, abs=0.1)
    assert found.uncertainty < 0.1


def test_wide_detectors_are_searched_in_two_steps():
    found = find_rotation_axis(discs(FULL[::10], 1040, 150.3, size=1.6), FULL[::10])
    assert found.column == pytest.approx(150.3, abs=0.05)


def test_axis_in_noise_is_as_uncertain_as_it_says():
    rng, angles = np.random.default_rng(0), half_turn(90)
    clean = discs(angles, 128, 58.6)
    runs = [find_rotation_axis(clean + 2.0 * rng.standard_normal(clean.shape), angles) for _ in range(8)]
    errors = np.array([run.column - 58.6 for run in runs])
    assert np.abs(errors).max() < 0.5
    assert np.sqrt(np.mean(errors**2)) < 2 * np.mean([run.uncertainty for run in runs])


def test_axis_of_a_truncated_field_of_view():
    angles = half_turn(180)
    assert find_rotation_axis(discs(angles, 128, 66.0, size=2.0), angles).column == pytest.approx(66.0, abs=0.5)


def test_rows_are_taken_together():
    angles = half_turn(90)
    rows = np.stack([discs(angles, 128, 60.3, size) for size in (0.5, 0.8)])
    assert find_rotation_axis(rows, angles).column == pytest.approx(60.3, abs=0.1)


def test_scaling_the_data_changes_nothing():
    angles = half_turn(90)
    sinogram = discs(angles, 128, 60.3)
    axes = [find_rotation_axis(scale * sinogram, angles).column for scale in (1.0, 1e-20, 1e8)]
    assert np.ptp(axes) < 1e-6


@pytest.mark.parametrize(
    ("sinogram", "angles", "words"),
    [
        (np.zeros((90, 64)), half_turn(90), "not mirror images"),
        (np.random.default_rng(0).standard_normal((90, 64)), half_turn(90), "not mirror images"),
        (np.ones((60, 64)), half_turn(90)[:60], "span 118 degrees"),
        (np.ones((2, 64)), half_turn(2), "too few"),
        (
            np.ones((60, 64)),
            np.repeat(np.arange(10) * 0.6283, 6) + np.tile(0.01 * np.arange(6), 10) % 0.1,
            "not mirror",
        ),
        (np.ones((90, 64)), (np.arange(15)[:, None] * 24 + 0.5 * np.arange(6)).ravel() * np.pi / 180, "holes in every"),
    ],
)
def test_what_shows_no_axis_is_refused_and_the_remedy_named(sinogram, angles, words):
    with pytest.raises(InputError, match=f"{words}.*--axis"):
        find_rotation_axis(sinogram, angles)
