"""MRI where something is odd: huge and tiny numbers, odd sizes, one coil, broken inputs; right, or one clear line."""

import math

import mri_truth as truth
import numpy as np
import pytest
import torch

from invprob import Scan, phantoms, reconstruct
from invprob.io import load_result
from invprob.operators import CartesianMRI, NonCartesianMRI

ODD = (33, 41)
BODY = [
    (1.0, np.array([1.0, 2.0]), np.array([12.0, 14.0]), 0.2),
    (0.5, np.array([-3.0, 4.0]), np.array([5.0, 3.0]), 0.0),
]
LINES = np.zeros(41, bool)
LINES[::2], LINES[12:28] = True, True
SPOKES = phantoms.radial(40, 80).numpy()
METHODS = {
    "zero-filled": {},
    "cg-sense": {"strength": 0.05},
    "l1-wavelet": {"strength": 1e-3, "max_iter": 12},
    "tv": {"strength": 1e-3, "max_iter": 20},
}


def measured(coils, k=None):
    """K-space of the body under some coils, or of itself for None, with noise of a thousandth of the largest value."""
    k = truth.points(ODD) / np.array(ODD) if k is None else k
    clean = truth.transform(BODY, k) / math.sqrt(math.prod(ODD))
    clean = clean if coils is None else truth.kspace(BODY, truth.Coils(coils, ODD), ODD, k)
    return (clean + truth.noise(clean.shape, 1e-3 * np.abs(clean).max())).astype(np.complex64)


GRID = measured(4) * LINES
OFF = measured(4, SPOKES / (2 * np.pi))
PICTURE = torch.from_numpy(sum(v * truth.inside([(v, c, a, t)], ODD) for v, c, a, t in BODY))


def relative(a, b):
    return float((a - b).norm() / b.norm())


def lines(scale=1.0):
    return Scan(CartesianMRI(LINES, 4, image_shape=ODD), torch.from_numpy(scale * GRID))


def spokes(scale=1.0):
    return Scan(NonCartesianMRI(ODD, SPOKES, 4), torch.from_numpy(scale * OFF))


@pytest.fixture(scope="module")
def usual():
    """What the methods make of both scans, maps from their data."""
    return {
        (make, name): reconstruct(make(), name, **settings).x
        for make in (lines, spokes)
        for name, settings in METHODS.items()
    }


@pytest.mark.parametrize("make", [lines, spokes])
@pytest.mark.parametrize("name", METHODS)
def test_odd_sizes_and_maps_from_the_data(usual, make, name):
    """Maps of norm 1 leave the shading of the coils in the image: it is compared where that changes little."""
    x = usual[make, name].abs()
    near = truth.inside([(1, np.zeros(2), np.array([8.0, 9.0]), 0)], ODD)
    x = x * (x * PICTURE)[near].sum() / (x * x)[near].sum()
    assert x.shape == ODD
    assert relative(x[near], PICTURE[near]) < (0.2 if name == "zero-filled" else 0.16)


@pytest.mark.parametrize("scale", [1e-13, 1e13])
@pytest.mark.parametrize("make", [lines, spokes])
@pytest.mark.parametrize("name", METHODS)
def test_the_scale_of_data_is_that_of_the_image(usual, make, name, scale):
    found = reconstruct(make(scale), name, **METHODS[name]).x / scale
    assert relative(found, usual[make, name]) < 1e-3


@pytest.mark.parametrize("scale", [1e-13, 1e13])
def test_the_scale_of_a_file(invprob, tmp_path, scale):
    for name, y in (("usual", GRID), ("other", GRID * np.float32(scale))):
        np.save(tmp_path / f"{name}.npy", y)
        done = invprob("reconstruct", f"{name}.npy", "--read", "axes=coil,y,x", "--method", "cg-sense")
        assert (done.code, done.err) == (0, "")
    usual, other = (load_result(tmp_path / f"{name}_cg-sense.h5").x for name in ("usual", "other"))
    assert relative(other / scale, usual) < 1e-3


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("axis", [False, True], ids=["no axis", "an axis of one"])
def test_one_coil(name, axis):
    """Without maps and with one of 1, on a grid and off it, the same image as long as all is measured alike."""
    maps = torch.ones(1, *ODD, dtype=torch.complex64) if axis else None
    y, samples = measured(None) * LINES, measured(None, SPOKES / (2 * np.pi))
    y, samples = (torch.from_numpy(t[None] if axis else t) for t in (y, samples))
    for A, data in ((CartesianMRI(LINES, maps, image_shape=ODD), y), (NonCartesianMRI(ODD, SPOKES, maps), samples)):
        x = reconstruct(Scan(A, data), name, **METHODS[name]).x
        assert x.shape == ODD
        assert relative(x, PICTURE) < (0.45 if isinstance(A, CartesianMRI) else 0.25)  # half the lines fold


# --- one clear line ---

WRONG = {
    "no calibration lines": (
        {"y": GRID * (np.arange(41) % 2 == 1)},
        {},
        "too few for coil maps: give maps with coils=",
    ),
    "empty": ({"y": 0 * GRID}, {}, "is zero everywhere: nothing was measured"),
    "empty mask": ({"mask": 0 * LINES}, {}, "is zero everywhere: nothing was measured"),
    "mask of halves": ({"mask": 0.5 * LINES}, {}, "neither 0 nor 1, such as 0.5"),
    "mask of NaN": ({"mask": np.where(LINES, np.nan, 1)}, {}, "neither 0 nor 1, such as nan"),
    "mask of other lines": ({"mask": LINES[:40]}, {}, "a mask of shape (40,), and k-space has (33, 41)"),
    "maps of other coils": ({"maps": np.ones((3, *ODD), "c8")}, {}, "maps of shape (3, 33, 41), and k-space needs (4,"),
    "maps of another size": ({"maps": np.ones((4, 32, 41), "c8")}, {}, "maps of shape (4, 32, 41), and k-space needs"),
    "maps of NaN": ({"maps": np.full((4, *ODD), np.nan, "c8")}, {}, "5412 of 5412 values of the coil maps are NaN"),
    "maps of zeros": ({"maps": np.zeros((4, *ODD), "c8")}, {}, "the coil maps are zero everywhere"),
    "NaN": (
        {"y": np.where(np.arange(41) == 20, np.nan, GRID)},
        {},
        "is NaN or infinite in 132 of 5412 places, first at",
    ),
    "beyond floats": ({"y": 1e45 * GRID.astype("c16")}, {}, "has values beyond 3.4e38"),
}


@pytest.mark.parametrize(("files", "options", "words"), WRONG.values(), ids=WRONG)
def test_one_line_of_the_command(invprob, tmp_path, files, options, words):
    read = ["--read", "axes=coil,y,x"]
    for name, array in ({"y": GRID} | files).items():
        np.save(tmp_path / f"{name}.npy", array)
    read += ["--read", "mask=mask.npy"] if "mask" in files else []
    read += ["--read", "coils=maps.npy"] if "maps" in files else []
    done = invprob("reconstruct", "y.npy", *read, "--method", "cg-sense")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert words in done.err


REFUSED = {
    "NaN": (lambda: Scan(lines().operator, lines().data * math.nan), "NaN"),
    "NaN off the grid": (lambda: Scan(spokes().operator, spokes().data + math.inf), "NaN or inf"),
    "no middle": (
        lambda: Scan(CartesianMRI(np.arange(41) % 2 == 1, 4, image_shape=ODD), lines().data),
        "too few for coil maps: give maps with coils=",
    ),
    "data of other coils": (lambda: Scan(lines().operator, lines().data[:3]), r"\(3, 33, 41\)"),
    "zero": (lambda: lines(0.0), "is zero in its middle"),
    "unit": (lambda: Scan(NonCartesianMRI(ODD, 41 * SPOKES, 4), spokes().data), "lie beyond pi radians per pixel"),
}


@pytest.mark.parametrize(("make", "words"), REFUSED.values(), ids=REFUSED)
def test_one_line_in_python(make, words):
    with pytest.raises(ValueError, match=words) as complaint:
        reconstruct(make(), "cg-sense")
    assert "\n" not in str(complaint.value)


def test_zero_data_under_known_maps_are_the_zero_image():
    maps = truth.Coils(4, ODD).maps(ODD).astype(np.complex64)
    for A, y in ((CartesianMRI(LINES, maps), GRID), (NonCartesianMRI(ODD, SPOKES, maps), OFF)):
        for name, settings in METHODS.items():
            assert not bool(reconstruct(Scan(A, torch.zeros(y.shape, dtype=torch.complex64)), name, **settings).x.any())
