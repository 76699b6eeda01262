"""A bare matrix of MATLAB as a target on a turntable: where points come to lie, and what is refused."""

import math

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
from scipy.constants import c

from invprob.cli.main import main
from invprob.errors import InputError
from invprob.io import load_scan

HERTZ, DEGREES = np.linspace(9e9, 11e9, 60), np.linspace(-6, 6, 96)
POINTS = {(0.0, 0.0): 1.0, (0.6, -0.3): 0.8j, (-0.45, 0.5): -0.7}
OPTIONS = {"frequencies": HERTZ, "angles": DEGREES, "angles_unit": "degrees", "image_pixel_size": 0.05}


def echoes(distance=math.inf):
    """Return the echoes of the points, of plane waves or of an antenna at a distance, with the phase of the axis."""
    k, turn = 4 * np.pi * HERTZ[:, None] / c, np.deg2rad(DEGREES)
    found = np.zeros((HERTZ.size, DEGREES.size), complex)
    for (x, y), strength in POINTS.items():
        towards, across = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
        if math.isinf(distance):
            found += strength * np.exp(1j * k * towards)
        else:
            way = np.hypot(distance - towards, across)
            found += strength * (distance / way) ** 2 * np.exp(-1j * k * (way - distance))
    return found


def write(path, values=None, name="Sig", **more):
    with path.open("wb") as stream:
        scipy.io.savemat(stream, {name: echoes() if values is None else values, **more})
    return path


def image(scan):
    x = torch.zeros(scan.operator.domain_shape, dtype=torch.complex64)
    for place, strength in POINTS.items():
        i, j = (int(np.abs(axis - at).argmin()) for axis, at in zip(scan.operator.axes, place, strict=False))
        x[i, j, 0] = strength
    return x


@pytest.mark.parametrize("distance", [math.inf, 8.0])
@pytest.mark.parametrize("shape", [(64, 64), (24, 30)])
def test_means_over_neighbours_are_modelled(tmp_path, distance, shape):
    told = {} if math.isinf(distance) else {"distance": distance}
    scan = load_scan(write(tmp_path / "a.mat", echoes(distance)), **OPTIONS, **told, image_shape=shape)
    A = scan.operator
    assert A.domain_shape == (shape[1], shape[0], 1)
    joined = HERTZ.size * DEGREES.size // math.prod(A.range_shape)
    assert joined == {64: 1, 24: 6}[shape[0]]
    assert float((A(image(scan)) - scan.data).norm() / scan.data.norm()) < (0.02 if joined > 1 else 2e-3)


def test_waves_are_plane_where_no_distance_is_told(tmp_path):
    """A point in the corner of a scene of 36 m echoes as of an antenna that is nowhere near."""
    options = OPTIONS | {"image_pixel_size": 1.0}
    A = load_scan(write(tmp_path / "a.mat"), **options, image_shape=(36, 36)).operator
    x = torch.zeros(A.domain_shape, dtype=torch.complex128)
    x[0, 0, 0] = 1
    towards = -18 * np.cos(np.deg2rad(DEGREES)) + 18 * np.sin(np.deg2rad(DEGREES))
    expected = np.exp(4j * np.pi * HERTZ[:, None] / c * towards)
    assert np.abs(A.double()(x).numpy() - expected).max() < 0.02


def test_a_point_lies_where_it_was(tmp_path):
    scan = load_scan(write(tmp_path / "a.mat"), **OPTIONS, image_shape=(48, 48))
    found = scan.operator.direct(scan.data).abs()
    assert torch.nonzero(found == found.max()).tolist() == [[24, 24, 0]]
    for x, y in POINTS:
        near = found[round(24 + x / 0.05) - 2 :, round(24 + y / 0.05) - 2 :][:5, :5]
        assert torch.nonzero(near == near.max())[0][:2].sub(2).abs().max() <= 1


def test_half_of_what_band_and_arc_resolve_is_the_pixel(tmp_path):
    options = {key: value for key, value in OPTIONS.items() if key != "image_pixel_size"}
    scan = load_scan(write(tmp_path / "a.mat"), **options, image_shape=(8, 8))
    arc = np.deg2rad(12 * 96 / 95)
    expected = min(c / (2 * 2e9 * 60 / 59), c / 10e9 / (4 * math.sin(arc / 2))) / 2
    assert scan.operator.spacing[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frequencies": None}, "does not say what its rows, frequencies in hertz are: add --read frequencies=FIRST:L"),
        ({"angles": None}, "columns, angles of the table are: add --angles FIRST:LAST:96"),
        ({"angles_unit": None}, "no unit: add --angles-unit"),
        ({"frequencies": HERTZ[:7]}, "has 60 rows, frequencies in hertz, but --read frequencies names 7"),
        ({"frequencies": HERTZ[::-1]}, "must be positive and ascend"),
        ({"frequencies": np.linspace(-1e9, 1e9, 60)}, "must be positive and ascend"),
        ({"frequencies": np.concatenate([HERTZ[:1], HERTZ[:-1]])}, "ascend"),
        ({"frequencies": HERTZ / 1e9}, "give frequencies in hertz"),
        ({"frequencies": HERTZ / 1e9, "image_pixel_size": None}, "give frequencies in hertz"),
        ({"frequencies": HERTZ / 1e9, "image_pixel_size": None, "distance": None}, "give frequencies in hertz"),
        ({"image_pixel_size": 5e3}, "do not go with an image of 9.05e.05 m and an antenna at 10 m"),
        ({"image_pixel_size": 0.1}, "an antenna 10 m from the axis is too near for an image 18.1 m from corner"),
        ({"frequencies": 0 * HERTZ + 1e9}, "must be positive and ascend"),
        ({"angles": np.full(96, np.nan)}, "angles are NaN or infinite in 96 of 96 places"),
        ({"angles": np.full(96, 3.0)}, "and angles differ"),
        ({"frequencies": np.where(np.arange(60) == 30, np.nan, HERTZ)}, "in 1 of 60 places, first at frequency 30"),
        ({"frequencies": "abc"}, "is not FIRST:LAST:COUNT"),
        (
            {"frequencies": HERTZ + 0j},
            "frequencies is FIRST:LAST:COUNT.FILE, of a radar in hertz, and",
        ),
        (
            {"frequencies": HERTZ.reshape(6, 10)},
            "frequencies is FIRST:LAST:COUNT.FILE, of a radar in hertz, and",
        ),
        ({"distance": "near"}, "'near' is not a number greater than 0"),
        ({"distance": -1.0}, "--read distance is M, from the antenna to the axis"),
        ({"angles_unit": 3}, "--angles-unit is deg.rad"),
        ({"image_pixel_size": 0}, "--read image_pixel_size is LENGTH"),
        ({"image_shape": (8.5, 8)}, "--image-shape is HxW"),
        ({"image_shape": 8}, "--image-shape is HxW"),
        ({"image_shape": np.array(8)}, "--image-shape is HxW"),
        ({"angles": "x" * 300}, "--angles: "),
        ({"image_shape": (8, 8, 8)}, "names 3 sides, but the image is a plane"),
        ({"distance": 1e300}, "do not go with"),
        ({"rows": slice(1)}, "leave out --rows"),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path, changes, words):
    options = {key: value for key, value in (OPTIONS | {"distance": 10.0} | changes).items() if value is not None}
    with pytest.raises(InputError, match=words):
        load_scan(write(tmp_path / "a.mat"), **options)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (echoes().real, "holds real numbers .60, 96.: echoes of a radar are complex"),
        (np.where(np.eye(60, 96) > 0, np.nan, echoes()), "is NaN, infinite or above 3e38 in 60 of 5760 places"),
        (1e300 * echoes(), "is NaN, infinite or above 3e38"),
        (np.ones((60, 96), np.int16), "holds real numbers"),
        (scipy.sparse.eye_array(60, 96, format="csc"), "is a sparse matrix"),
        (echoes()[:1], "has 1 rows"),
        (np.ones((2, 2, 2), complex), "neither the struct"),
        ("text", "neither the struct"),
    ],
)
def test_other_matrices_are_refused_in_words(tmp_path, values, words):
    with pytest.raises(InputError, match=words):
        load_scan(write(tmp_path / "a.mat", values), **(OPTIONS if values is not None and np.ndim(values) == 2 else {}))


@pytest.mark.parametrize("shape", [(1, -1), (-1, 1)])
def test_rows_and_columns_of_numbers_and_numbers_of_other_libraries_are_taken(tmp_path, shape):
    path, lists = write(tmp_path / "a.mat"), {"frequencies": HERTZ.reshape(shape), "angles": DEGREES.reshape(shape)}
    numbers = {"distance": torch.tensor(100.0), "image_pixel_size": np.float32(0.05), "image_shape": np.array([9, 8])}
    found = load_scan(path, **OPTIONS | lists | numbers)
    plain = load_scan(path, **OPTIONS, distance="100", image_shape=(9, 8))
    assert found.operator.domain_shape == plain.operator.domain_shape
    assert torch.equal(found.data, plain.data)


def test_a_damaged_matrix_is_refused(tmp_path):
    path = write(tmp_path / "a.mat")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is damaged"):
        load_scan(path, **OPTIONS)


def test_the_command_images_a_turntable(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.mat")
    told = ["--read", "frequencies=9e9:11e9:60", "--angles", "-6:6:96", "--angles-unit", "deg"]
    small = ["--image-shape", "40x40", "--read", "image_pixel_size=0.05"]
    assert main(["reconstruct", "a.mat", *told, *small, "--method", "back-projection", "-o", "b.h5"]) == 0
    assert "turntable radar, MATLAB" in capsys.readouterr().out
