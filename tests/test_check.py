"""`invprob check`, and what `inspect` says of the geometry: warnings for doubts, one line for what cannot be."""

import json
import math
import re
from dataclasses import replace

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from laws import randn
from sealed import edit

from invprob.io import save_scan
from invprob.operators import Blur, ConeBeam, FanBeam, Identity, ParallelBeam
from invprob.operators.ct.coverage import coverage_doubts, field_of_view
from invprob.phantoms import Ellipses, shepp_logan
from invprob.scan import Scan, Units
from invprob.stack import memory

N, BINS = 32, 48


def turn(degrees, views=60):
    return np.deg2rad(np.arange(views) * degrees / views)


def parallel(angles, detectors=BINS, **settings):
    return ParallelBeam((N, N), angles, detectors, **settings)


def fan(angles, detectors=64, **settings):
    return FanBeam((N, N), angles, detectors, source_distance=100.0, detector_distance=50.0, **settings)


def measured(A, noise=0.01):
    """A noisy scan of a phantom that fills the grid, its largest line integral 1."""
    y = shepp_logan(N / 2).line_integrals(*A.rays()).float()
    y = y / y.max() + noise * randn(y.shape, torch.float32, 1)
    return Scan(A, y, units=Units.attenuation("mm"))


# ---- the geometry

CLOSED = np.deg2rad(np.append(np.arange(60) * 6.0, 360.0))
DOUBTS = {
    "half a turn": (parallel(turn(180)), None),
    "half a turn and its end": (parallel(np.deg2rad(np.linspace(0, 180, 61))), None),
    "a full turn": (fan(turn(360)), None),
    "a full turn, unsorted": (fan(np.random.default_rng(0).permutation(turn(360))), None),
    "the golden angle": (parallel(np.arange(60) * math.pi * (math.sqrt(5) - 1) / 2 % math.tau), None),
    "few views": (parallel(turn(180, 5)), None),
    "a short scan": (fan(turn(220)), None),
    "an offset detector": (fan(turn(360), 48, axis_offset=-18.0), None),
    "limited": (parallel(turn(90)), "cover 90 degrees, less than half a turn, 180: a limited angle"),
    "limited twice": (parallel(np.append(turn(45), turn(45) + math.pi)), "cover 45 degrees"),
    "limited, across zero": (fan(turn(120) - 1.0), "cover 120 degrees, less than half a turn"),
    "one view": (parallel([0.3]), "cover 0 degrees"),
    "less than a short scan": (fan(turn(182)), "less than half a turn and the fan angle, 198.4"),
    "narrow": (parallel(turn(180), 20), "do not fall to zero at both edges of the detector"),
    "cut on one side": (parallel(turn(180), 36, axis_offset=-9.0), "at the left edge"),
    "an offset detector, half a turn": (fan(turn(220), 48, axis_offset=-18.0), "at the left edge"),
    "twice": (parallel(np.append(turn(180), turn(180)[:7])), "7 of 67 angles occur more than once"),
    "two turns": (fan(turn(720, 120)), "60 of 120 views repeat another, whole turns apart"),
    "closed": (fan(CLOSED), "last view closes the turn and repeats the first, which counts twice"),
}


@pytest.mark.parametrize(("A", "words"), DOUBTS.values(), ids=DOUBTS)
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_what_is_doubtful_is_said_in_one_sentence(A, words, noise):
    found = coverage_doubts(A, measured(A, noise).data.numpy())
    assert len(found) == (words is not None)
    assert words is None or words in found[0]


def test_an_oblong_object_is_cut_in_some_views_only():
    A = parallel(turn(180), 32)
    body = Ellipses(torch.ones(1), torch.zeros(1, 2), torch.tensor([[20.0, 6.0]]), torch.zeros(1))
    y = body.line_integrals(*A.rays()).numpy()
    assert "both edges" in coverage_doubts(A, y)[0]
    assert coverage_doubts(parallel(turn(180), 44), body.line_integrals(*parallel(turn(180), 44).rays()).numpy()) == []


def test_without_data_the_image_is_the_object():
    assert coverage_doubts(parallel(turn(180))) == []
    assert (
        "a circle of radius 10 around the axis, and the image reaches 16" in coverage_doubts(parallel(turn(180), 20))[0]
    )
    assert Identity((4, 4)).doubts() == []
    A = ConeBeam((4, N, N), turn(90), (6, 20), source_distance=100.0, detector_distance=0.0)
    cut, limited = A.doubts()
    assert "a circle of radius 9.95" in cut
    assert "cover 90 degrees" in limited
    assert "do not fall to zero" in A.doubts(torch.ones(A.range_shape))[0]


def test_the_field_of_view_is_where_half_a_turn_of_views_meet():
    assert field_of_view(parallel(turn(180), 20)) == pytest.approx(10)
    assert field_of_view(parallel(turn(180), 20, axis_offset=3.0)) == pytest.approx(7)
    assert field_of_view(parallel(turn(360), 20, axis_offset=3.0)) == pytest.approx(13)
    edge = fan(turn(360), 64)
    assert field_of_view(edge) == pytest.approx(100 * math.sin(math.atan(32 / 150)))


# ---- inspect and check


@pytest.mark.parametrize("command", ["inspect", "check"])
def test_doubts_are_warnings_and_no_errors(invprob, tmp_path, command):
    save_scan("good.h5", measured(parallel(turn(180)), 0.0))
    done = invprob(command, "good.h5", *(["--doubts"] if command == "inspect" else []))
    assert (done.code, done.err) == (0, "")
    assert "Nothing in it looks doubtful." in done.out
    for name in ("limited", "narrow", "twice", "closed"):
        A, words = DOUBTS[name]
        save_scan(f"{name}.h5", measured(A, 0.0))
        done = invprob(command, f"{name}.h5", *(["--doubts"] if command == "inspect" else []))
        assert done.code == 0
        assert words in done.err
        assert all(line.startswith("warning: ") for line in done.err.splitlines())
        assert "doubtful" not in done.out


def test_check_tells_what_can_be_verified(invprob):
    scan = measured(fan(turn(360)))
    save_scan("stack.h5", replace(scan, data=scan.data.expand(3, -1, -1).clone()))
    done = invprob("check", "stack.h5")
    assert (done.code, done.err) == (0, "")
    for words in (
        r"scan +stack.h5 \(invprob scan\), 3 rows",
        r"geometry +FanBeam\(source at 100.*Joseph, ",
        "image 32 x 32, data 60 x 64",
        "lengths in mm, image in 1/mm",
        "all finite",
        r"adjoint +mismatch \de-\d+, a true pair",
        r"norm +\d+\.\d+, at most \d+\.\d+ \(Collatz-Wielandt",
        r"time +[\d.]+ m?s for one application of A, [\d.]+ m?s for its adjoint",
        r"about 0\.\d+ GiB for one row with tv; 3 of 3 fit at a time",
    ):
        assert re.search(words, done.out), words


def test_check_takes_any_registered_operator(invprob):
    A = Blur((16, 16), torch.ones(3, 3) / 9)
    save_scan("blur.h5", Scan(A, torch.ones(16, 16)))
    done = invprob("check", "blur.h5")
    assert (done.code, done.err) == (0, "")
    assert "closed form" in done.out


def write_counts(path, bad=False, degrees=180.0):
    A = parallel(turn(degrees))
    counts = 40000 * np.exp(-measured(A).data.numpy())[:, None, :].repeat(3, axis=1)
    if bad:
        counts[5, 2, 7] = np.nan
    with h5py.File(path, "w") as file:
        file["exchange/data"] = counts
        file["exchange/data_white"], file["exchange/data_dark"] = np.full((1, 3, BINS), 4e4), np.zeros((1, 3, BINS))
        file["exchange/theta"] = np.rad2deg(A.angles)
        file["exchange/theta"].attrs["units"] = "degrees"


def test_check_of_counts(invprob):
    write_counts("x.h5")
    done = invprob("check", "x.h5")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"axis +column 23\.\d\d \+- \d\.\d\d, found in the data", done.out)
    limited = invprob("check", "x.h5", "--axis", "23.5", "--angles", "0:88.5:60", "--angles-unit", "deg")
    assert limited.code == 0
    assert "cover 90 degrees" in limited.err


def test_values_that_are_not_finite_are_3(invprob):
    write_counts("x.h5", bad=True)
    done = invprob("check", "x.h5", "--axis", "23.5")
    assert done.code == 3
    assert "1 NaN or infinite" in done.out
    assert "error: x.h5: 1 values are NaN or infinite: repair them" in done.err


def test_too_little_memory_is_4_before_anything_large_is_made(invprob, monkeypatch):
    save_scan("good.h5", measured(parallel(turn(180))))
    monkeypatch.setattr(memory, "available_memory", lambda: 2**20)
    done = invprob("check", "good.h5")
    assert (done.code, done.out) == (4, "")
    assert "the image takes about" in done.err


def configured(**changes):
    def change(file):
        config = json.loads(file["operator"].attrs["config"])
        file["operator"].attrs["config"] = json.dumps(config | changes)

    return change


def spoil_angle(file):
    angles = file["operator/angles"][()]
    del file["operator/angles"]
    angles[3] = np.nan
    file["operator/angles"] = angles


BROKEN = {
    "no detectors": (configured(detectors=0), "0 detectors x 60 angles; it takes whole detectors, at least 1"),
    "1e9 detectors": (configured(detectors=10**9), "1000000000 detectors x 60 angles; .*at most 268435456 rays"),
    "source in the object": (configured(source_distance=5.0), "source_distance=5.0 lies inside the image"),
    "NaN angles": (spoil_angle, "angles must be a list of finite numbers in radians.*1 not finite"),
    "no pixels": (configured(image_shape=[0, 8]), "positive whole sizes"),
    "pixels without size": (configured(pixel_size=0.0), "pixel_size must be a positive length"),
    "another detector": (
        configured(detectors=63),
        r"data have shape \(60, 64\), but FanBeam measures items of \(60, 63\)",
    ),
}


@pytest.mark.parametrize("command", ["check", "reconstruct"])
@pytest.mark.parametrize(("change", "words"), BROKEN.values(), ids=BROKEN)
def test_a_geometry_that_cannot_be_is_3_in_one_line(invprob, command, change, words):
    save_scan("a.h5", measured(fan(turn(360))))
    edit("a.h5", change)
    done = invprob(command, "a.h5")
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert re.search(words, done.err)
    assert "a.h5" in done.err


def test_options_that_make_a_geometry_impossible_are_3(invprob):
    write_counts("x.h5")
    done = invprob("check", "x.h5", "--axis", "nan")
    assert (done.code, "--axis is COLUMN" in done.err) == (3, True)
    parameters = {
        "angles": np.rad2deg(turn(360)),
        "distanceUnit": "mm",
        "distanceSourceOrigin": 100.0,
        "distanceSourceDetector": 150.0,
        "pixelSizePost": 1.0,
        "effectivePixelSizePost": 0.1,
    }
    data = measured(fan(turn(360))).data.numpy()
    scipy.io.savemat("x.mat", {"CtDataFull": {"sinogram": data, "parameters": parameters}})
    assert invprob("check", "x.mat").code == 0
    for command in ("check", "reconstruct"):
        done = invprob(command, "x.mat", "--read", "image_pixel_size=1")
        assert (done.code, "lies inside the image" in done.err) == (3, True)
        done = invprob(command, "x.mat", "--pixel-size", "1")
        assert (done.code, "leave out --pixel-size" in done.err) == (3, True)
    done = invprob("check", "x.h5", "--angles", "0:180:1000000000", "--angles-unit", "deg")
    assert (done.code, "more than 1000000" in done.err) == (2, True)


def test_check_has_help(invprob):
    done = invprob("check", "--help")
    assert (done.code, done.err) == (0, "")
    assert "--debug" in done.out


@pytest.mark.parametrize("name", ["missing.h5", "."])
def test_what_is_no_file_is_3(invprob, name):
    done = invprob("check", name)
    assert (done.code, done.err.count("\n")) == (3, 1)


def test_noise_does_not_move_the_centre_of_mass_by_itself():
    A = parallel(turn(180), 48)
    body = torch.zeros(A.domain_shape)
    body[14:19, 14:19] = 1.0
    noise = 0.3 * randn(A.range_shape, torch.float32, 1)
    centred = A(body) + noise
    order = torch.randperm(len(centred), generator=torch.Generator().manual_seed(0))
    aside = A(body.roll((6, 8), (0, 1))) + noise
    for y, doubted in ((centred, False), (centred[order], False), (aside, False), (aside[order], True)):
        assert any("centre of mass" in doubt for doubt in A.doubts(y)) is doubted
