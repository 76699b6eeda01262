"""Scans that contradict themselves: `check` names what is wrong, and no image of them goes without a warning."""

import h5py
import numpy as np
import pytest
import torch

from invprob.io.checks import called_degrees
from invprob.operators import ParallelBeam

N, FLAT, DARK = 48, 20000.0, 100.0
ANGLES = np.arange(N) * np.pi / N


@pytest.fixture(scope="module")
def integrals():
    """Line integrals (view, row, column) of an ellipse with a dense part, off the middle."""
    y, x = np.mgrid[:N, :N] - (N - 1) / 2
    image = 0.02 * ((x / 16) ** 2 + ((y - 3) / 19) ** 2 < 1) + 0.02 * (((x - 6) / 5) ** 2 + ((y + 4) / 7) ** 2 < 1)
    A = ParallelBeam((N, N), ANGLES, N)
    return A(torch.from_numpy(np.stack([image, image]).astype(np.float32))).permute(1, 0, 2).numpy()


def written(path, counts, theta=None, unit="degrees"):
    with h5py.File(path, "w") as file:
        file["exchange/data"] = counts.astype(np.float32)
        file["exchange/data_white"] = np.full((2, *counts.shape[1:]), FLAT + DARK, np.float32)
        file["exchange/data_dark"] = np.full((2, *counts.shape[1:]), DARK, np.float32)
        file["exchange/theta"] = np.rad2deg(ANGLES) if theta is None else theta
        file["exchange/theta"].attrs["units"] = unit


def in_another_order(counts):
    return counts[np.random.default_rng(1).permutation(N)]


SPOILT = {  # what is done to counts and angles, how the file is read, and what must be said
    "sound": ({}, (), "Nothing in it looks doubtful"),
    "above the flat field": ({"counts": lambda c: DARK + 1.4 * (c - DARK)}, (), "brighter than the beam without an"),
    "views in another order": ({"counts": in_another_order}, (), "the order or unit of the angles"),
    "views and bins exchanged": ({"counts": lambda c: c.transpose(2, 1, 0)}, (), "axes in another order"),
    "integrals called counts": ({"counts": lambda c: -np.log((c - DARK) / FLAT)}, (), "if these are line integrals"),
    "counts called integrals": ({}, ("--read", "values=integrals"), "or these are counts and no line integrals"),
    "radians called degrees": ({"theta": ANGLES}, (), "is the unit radians instead?"),
    "degrees called radians": ({"unit": "radians"}, (), "is the unit degrees instead?"),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_what_is_inconsistent_is_named(tmp_path, monkeypatch, invprob, integrals, fault):
    monkeypatch.chdir(tmp_path)
    changes, read, words = SPOILT[fault]
    counts = np.random.default_rng(0).poisson(FLAT * np.exp(-integrals)) + DARK
    counts = changes.get("counts", lambda c: c)(counts)
    written("scan.h5", counts, changes.get("theta"), changes.get("unit", "degrees"))
    told = invprob("check", "scan.h5", "--axis", str((N - 1) / 2), *read)
    assert words in told.out + told.err
    assert told.code == (3 if fault == "integrals called counts" else 0)
    assert ("Nothing in it" in told.out) == (fault == "sound")
    if told.code == 0:
        done = invprob("reconstruct", "scan.h5", "--axis", str((N - 1) / 2), *read, "--method", "fbp")
        assert done.code == 0
        assert ("Nothing that was checked speaks against this image" in done.out) == (fault == "sound")


def test_without_an_axis_the_unit_is_asked_for(tmp_path, monkeypatch, invprob, integrals):
    monkeypatch.chdir(tmp_path)
    written("scan.h5", FLAT * np.exp(-integrals) + DARK, ANGLES)
    told = invprob("check", "scan.h5")
    assert (told.code, "is the unit of the angles radians instead?" in told.err) == (3, True)


@pytest.mark.parametrize("turn", [np.pi, 2 * np.pi])
@pytest.mark.parametrize("closed", [False, True])
def test_radians_of_a_turn_are_told_from_degrees(turn, closed):
    values = np.linspace(0, turn, 90, endpoint=closed)
    assert called_degrees(np.deg2rad(values))
    assert not called_degrees(values)
    assert not called_degrees(np.deg2rad(1.03 * values))
    assert not called_degrees(np.deg2rad(values[:9]))
