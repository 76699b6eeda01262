"""Readings that are NaN or infinite are refused, and on demand masked or interpolated along the detector."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from test_io import exchange  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.scans import challenge
from invprob import reconstruct
from invprob.errors import InputError, InputWarning
from invprob.io import load_scan

HOLES = {(3, 1, 5): np.nan, (3, 1, 6): np.inf, (20, 1, 30): -np.inf, (7, 0, 0): 1e300}


@pytest.fixture
def with_holes(exchange):  # noqa: F811
    def write(holes=HOLES):
        path = exchange()
        with h5py.File(path, "r+") as file:
            data = file["exchange/data"][()].astype("f8")
            for place, value in holes.items():
                data[place] = value
            del file["exchange/data"]
            file["exchange/data"] = data
        return path

    return write


@pytest.mark.parametrize("choice", ["mask", "interpolate"])
def test_readings_are_replaced_by_their_neighbours(exchange, with_holes, choice):  # noqa: F811
    sound = load_scan(exchange(), axis=14.2).data
    with pytest.warns(InputWarning, match="4 of 3840 readings are NaN or infinite"):
        scan = load_scan(with_holes(), axis=14.2, missing=choice)
    for view, row, column in HOLES:
        sound[row, view, column] = torch.nan
    filled = scan.operator.fill(scan.data, scan.weights)
    left, right = sound[1, 3, 4], sound[1, 3, 7]
    torch.testing.assert_close(filled[1, 3, 5], left + (right - left) / 3)
    torch.testing.assert_close(filled[0, 7, 0], sound[0, 7, 1])
    known = sound.isfinite()
    assert torch.equal(scan.data[known], sound[known])
    assert scan.weights is None if choice == "interpolate" else torch.equal(scan.weights > 0, known)
    assert reconstruct(scan, "fbp").x.isfinite().all()


def test_they_are_refused_unless_something_else_is_said(with_holes):
    for options in ({}, {"missing": "refuse"}):
        with pytest.raises(InputError, match=r"NaN or infinite in 4 of .* or add --read missing=mask"):
            load_scan(with_holes(), axis=14.2, **options)


def test_half_of_all_may_be_masked_and_no_whole_line_interpolated(with_holes):
    lost = np.argwhere(np.random.default_rng(0).random((40, 3, 32)) < 0.5)
    with pytest.warns(InputWarning):
        scan = load_scan(with_holes({tuple(place): np.nan for place in lost}), axis=14.2, missing="mask")
    assert reconstruct(scan, "least-squares", max_iter=5).x.isfinite().all()
    line = {(4, 2, column): np.nan for column in range(32)}
    with pytest.raises(InputError, match="there are lines without any reading"):
        load_scan(with_holes(line), axis=14.2, missing="interpolate")


def test_files_of_the_challenge(tmp_path):
    sinogram = np.random.default_rng(0).random((12, 16))
    sinogram[2, 3] = np.nan
    path = challenge(tmp_path / "a.mat", sinogram)
    with pytest.raises(InputError, match=r"view 2, bin 3.*missing=mask"):
        load_scan(path)
    with pytest.warns(InputWarning, match="1 of 192 readings"):
        scan = load_scan(path, missing="mask")
    assert (scan.weights == 0).nonzero().tolist() == [[2, 3]]
    np.testing.assert_allclose(scan.data[2, [2, 4]], sinogram[2, [2, 4]], rtol=1e-6)
