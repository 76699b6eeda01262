"""Flat and dark fields: a stray exposure costs nothing and is told, and the image is as wide as the field of view."""

import warnings

import h5py
import numpy as np
import pytest
import torch

from invprob.errors import InputWarning
from invprob.io import load_scan, open_stack
from invprob.io.flat_field import mean_field
from invprob.operators import ParallelBeam
from invprob.phantoms import detected, random_ellipses

BINS, ROWS = 48, 2


def write(path, angles, axis, **fields):
    """Counts of one phantom in every row behind a beam of 40,000 over a dark current of 100."""
    A = ParallelBeam((BINS, BINS), angles, BINS, axis_offset=axis - (BINS - 1) / 2, dtype=torch.float64)
    body = random_ellipses(20.0, 1)
    body = type(body)(0.02 * body.values, body.centres, body.semi_axes, body.tilt)
    integrals = detected(body, A).numpy()
    arrays = {
        "data": (100 + 40000 * np.exp(-integrals))[:, None].repeat(ROWS, 1),
        "data_white": np.full((5, ROWS, BINS), 40100.0),
        "data_dark": np.full((5, ROWS, BINS), 100.0),
        "theta": np.rad2deg(angles),
    }
    with h5py.File(path, "w") as file:
        for key, values in (arrays | fields).items():
            file[f"exchange/{key}"] = values
        file["exchange/theta"].attrs["units"] = "degrees"
    return integrals


def exposures(level, stray, count=5, where=2, noise=0.0):
    fields = np.full((count, ROWS, BINS), float(level))
    fields += noise * np.random.default_rng(0).standard_normal(fields.shape)
    fields[where] = stray
    return fields


HALF = np.arange(60) * np.pi / 60


@pytest.mark.parametrize(
    ("name", "level", "stray"), [("data_dark", 100, 40100.0), ("data_white", 40100, 100.0), ("data_white", 40100, 0.0)]
)
@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_one_stray_exposure_costs_nothing(tmp_path, name, level, stray, noise):
    truth = write(tmp_path / "a.h5", HALF, 23.3, **{name: exposures(level, stray, noise=noise)})
    with pytest.warns(
        InputWarning, match=f"of 5 exposures of exchange/{name} those unlike the others .*, counted from 0: 2"
    ):
        scan = load_scan(tmp_path / "a.h5")
    assert np.abs(scan.data.numpy() - truth).max() < (1e-4 if noise == 0 else 3e-3)
    assert float(scan.data.std()) > 0.01
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stack = open_stack(tmp_path / "a.h5")  # the axis is sought without a word
        assert [doubt for doubt in stack.doubts() if "unlike the others" in doubt]


def test_sound_exposures_are_averaged_without_a_word(tmp_path):
    rng = np.random.default_rng(1)
    fields = rng.poisson(40100, (5, ROWS, BINS)).astype(float)
    mean, doubts = mean_field(fields, "flats", 0.1)
    assert doubts == []
    assert mean == pytest.approx(fields.mean(0), rel=1e-12)
    drifting = fields * np.linspace(1, 0.95, 5)[:, None, None]  # a beam that decays
    mean, doubts = mean_field(drifting, "flats", 0.1)
    assert doubts == []
    assert mean == pytest.approx(drifting.mean(0), rel=1e-12)


def test_a_cosmic_ray_is_left_out_of_its_pixel_only():
    fields = np.random.default_rng(1).poisson(1000, (4, 6, 7)).astype(float)
    clean = fields.mean(0)
    fields[1, 2, 3] = 60000.0
    mean, doubts = mean_field(fields, "flats", 0.1)
    assert doubts == []
    assert mean[2, 3] == pytest.approx(np.delete(fields[:, 2, 3], 1).mean())
    clean[2, 3] = mean[2, 3]
    assert mean == pytest.approx(clean, rel=1e-12)


def test_what_is_not_finite_stays_for_others_to_refuse():
    fields = np.random.default_rng(1).poisson(1000, (4, 6, 7)).astype(float)
    fields[2] = 60000.0
    fields[:, 1, 1] = np.nan
    mean, doubts = mean_field(fields, "flats", 0.1)
    assert "counted from 0: 2" in doubts[0]
    assert np.isnan(mean[1, 1])
    assert mean[5, 5] == pytest.approx(np.delete(fields[:, 5, 5], 2).mean())


@pytest.mark.parametrize("levels", [(100.0, 40100.0), (100.0, 100.0, 40100.0, 40100.0)])
def test_exposures_that_disagree_are_told(levels):
    fields = np.array(levels)[:, None, None] + np.zeros((1, 2, 3))
    _, doubts = mean_field(fields, "flats", 0.1)
    assert len(doubts) == 1
    assert "the exposures of flats differ by" in doubts[0]


@pytest.mark.parametrize(
    ("axis", "views", "turn", "width"), [(12.0, 120, 2, 71), (23.5, 120, 2, 48), (20.3, 60, 1, 48)]
)
def test_the_image_is_as_wide_as_the_field_of_view(tmp_path, axis, views, turn, width):
    write(tmp_path / "a.h5", np.arange(views) * turn * np.pi / views, axis)
    stack = open_stack(tmp_path / "a.h5")
    scan = stack.load()
    assert float(scan.provenance["axis"].split()[1].rstrip(",")) == pytest.approx(axis, abs=0.15)
    assert scan.operator.domain_shape == pytest.approx((width, width), abs=1)
    told = load_scan(tmp_path / "a.h5", image_shape=(30, 31))
    assert told.operator.domain_shape == (30, 31)
