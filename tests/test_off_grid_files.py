"""Samples along trajectories from files of other programs: the same image from all of them, and no unit is guessed."""

import re

import mri_files as files
import mri_truth as truth
import numpy as np
import pytest
import torch

from invprob.errors import InputError, InputWarning
from invprob.io import load_result, load_scan
from invprob.io.cfl import save_cfl

SHAPE = (32, 32)
BODY = [
    (1.0, np.array([1.0, 2.0]), np.array([12.0, 10.0]), 0.2),
    (0.5, np.array([-4.0, 3.0]), np.array([5.0, 3.0]), 0.0),
]
SHOTS, SAMPLES = 52, 64
ANGLES = np.pi * np.arange(SHOTS) / SHOTS
ALONG = np.multiply.outer(np.stack([np.sin(ANGLES), np.cos(ANGLES)], -1), (np.arange(SAMPLES) - 32) / 64)
K = ALONG.transpose(0, 2, 1)  # (shot, sample, (ky, kx)) in cycles per pixel
CLEAN = truth.kspace(BODY, truth.Coils(4, SHAPE), SHAPE, K)
Y = (CLEAN + truth.noise(CLEAN.shape, 1e-3 * np.abs(CLEAN).max())).astype(np.complex64)  # (coil, shot, sample)
SIDE = 0.2 / 32  # of a pixel in metres, as the header of `files` has it


def write_numpy(path, y=Y, k=2 * np.pi * K):
    np.save(path / "a.npy", y)
    np.save(path / "k.npy", k)
    options = ("axes=coil,shot,sample", "trajectory=k.npy", "trajectory_unit=rad/pixel")
    return "a.npy", [part for each in options for part in ("--read", each)] + ["--image-shape", "32x32"]


def bart_trajectory(k):
    """(shot, sample, (x, y, z)) in cycles per field of view."""
    return np.concatenate([32 * k[..., ::-1], 0 * k[..., :1]], -1).astype(np.complex64)


def write_bart(path, y=Y, k=K):
    save_cfl(path / "a", y[..., None])
    save_cfl(path / "k", bart_trajectory(k))
    return "a.hdr", ["--read", "trajectory=k.cfl"]


def write_ismrmrd(path, y=Y, k=K, **more):
    xml = files.header(32, 32, trajectory="radial", **more)
    files.write_ismrmrd(path / "a.h5", files.shots(y, k[..., ::-1]), xml)
    return "a.h5", ["--read", "trajectory_unit=cycles/pixel"]


WRITERS = {"numpy": write_numpy, "bart": write_bart, "ismrmrd": write_ismrmrd}


def same_places(found, k):
    """Whether positions in radians per pixel are those in cycles per pixel, but for whole turns."""
    due = torch.from_numpy(2 * np.pi * k)
    return float((torch.polar(torch.ones_like(found), found - due) - 1).abs().max()) < 1e-5


@pytest.fixture(scope="module")
def due():
    """The body, as the maps of the coils leave it: sampled at the middles of pixels."""
    return torch.from_numpy(sum(v * truth.inside([(v, c, a, t)], SHAPE) for v, c, a, t in BODY))


@pytest.mark.parametrize("name", WRITERS)
def test_one_image_from_all_layouts_on_the_command_line(invprob, tmp_path, due, name):
    """Also with the axes the right way round: the body is not symmetric."""
    path, options = WRITERS[name](tmp_path)
    done = invprob("reconstruct", path, *options, "--method", "cg-sense", "--output", "x.h5")
    assert (done.code, done.err) == (0, "")
    found = load_result(tmp_path / "x.h5")
    x = found.x.abs()
    middle = truth.inside([(1, np.zeros(2), np.array([8.0, 7.0]), 0)], SHAPE)
    x = x * (x * due)[middle].sum() / (x * x)[middle].sum()  # maps of norm 1 shade the image
    assert x.shape == SHAPE
    assert float((x - due)[middle].abs().median()) < 0.1
    assert re.match(r"ESPIRiT from 2\d x 2\d samples", found.provenance["coil maps"])
    shown = invprob("inspect", path, *options)
    assert shown.code == 0
    assert "4 coils" in shown.out


def test_layouts_agree(tmp_path):
    one = load_scan(tmp_path / write_bart(tmp_path)[0], trajectory=str(tmp_path / "k.cfl"))
    other = load_scan(tmp_path / write_ismrmrd(tmp_path)[0], trajectory_unit="cycles/pixel")
    write_numpy(tmp_path)
    k, axes = str(tmp_path / "k.npy"), ("coil", "shot", "sample")
    array = load_scan(tmp_path / "a.npy", axes=axes, trajectory=k, trajectory_unit="rad/pixel", image_shape=SHAPE)
    for scan in (other, array):
        assert scan.operator.image_shape == one.operator.image_shape == SHAPE
        assert same_places(scan.operator.trajectory, K)
        np.testing.assert_array_equal(scan.data.numpy(), Y)
        torch.testing.assert_close(scan.operator.maps, one.operator.maps, rtol=0, atol=1e-3)
    assert one.provenance["matrix"] == "32 x 32, which the trajectory reaches"
    assert one.provenance["trajectory"] == "in cycles/fov, as the layout has it"


@pytest.mark.parametrize("method", ["zero-filled", "l1-wavelet", "tv"])
def test_methods_of_mri_take_them(invprob, tmp_path, method):
    path, options = write_bart(tmp_path, Y[:, ::2], K[::2])
    more = [] if method == "zero-filled" else ["--set", "strength=3e-3", "--set", "max_iter=10"]
    assert invprob("import", path, *options, "--output", "scan.h5").code == 0
    assert invprob("reconstruct", "scan.h5", "--method", method, *more, "--output", "x.h5").code == 0
    assert bool(load_result(tmp_path / "x.h5").x.isfinite().all())


# --- units ---

UNITS = {
    "rad/pixel": 2 * np.pi * K,
    "cycles/pixel": K,
    "cycles/fov": 32 * K,
    "1/m": K / SIDE,
    "rad/m": 2 * np.pi * K / SIDE,
}


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_is_the_same_trajectory(tmp_path, unit):
    files.write_ismrmrd(
        tmp_path / "a.h5", files.shots(Y[:1], UNITS[unit][..., ::-1]), files.header(32, 32, trajectory="other")
    )
    scan = load_scan(tmp_path / "a.h5", trajectory_unit=unit)
    assert scan.provenance["trajectory"] == f"in {unit}, as given"
    assert same_places(scan.operator.trajectory, K)
    assert scan.operator.coils is None


WRONG = {
    "none": (K, None, r"reaches 0\.\d+ x 0\.5, and nothing says in which unit.*of which cycles/pixel would fit"),
    "none of field": (32 * K, None, "of which cycles/fov would fit"),
    "pixels for fields": (32 * K, "cycles/pixel", "leads 32 times as far as 32 x 32 pixels allow: cycles/fov would"),
    "radians for pixels": (2 * np.pi * K, "cycles/pixel", "leads 6.28 times as far.*rad/pixel would fit"),
    "fields of metres": (K / SIDE, "cycles/fov", "leads 5 times as far.*1/m or rad/m would fit"),
    "nan": (np.where(np.arange(2) == 1, np.nan, K), "cycles/pixel", "3328 of 3328 positions of the trajectory are NaN"),
}


@pytest.mark.parametrize(("k", "unit", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_unit_is_one_line(invprob, tmp_path, k, unit, words):
    files.write_ismrmrd(tmp_path / "a.h5", files.shots(Y, k[..., ::-1]), files.header(32, 32, trajectory="radial"))
    options = {} if unit is None else {"trajectory_unit": unit}
    with pytest.raises(InputError, match=words):
        load_scan(tmp_path / "a.h5", **options)
    read = [] if unit is None else ["--read", f"trajectory_unit={unit}"]
    done = invprob("reconstruct", "a.h5", *read)
    assert (done.code, done.err.count("\n")) == (3, 1)


def test_a_unit_that_leaves_most_of_the_band_empty_is_doubted(invprob, tmp_path):
    write_ismrmrd(tmp_path, Y[:1])
    done = invprob("inspect", "a.h5", "--read", "trajectory_unit=rad/pixel")
    assert done.code == 0
    assert "it is in cycles per pixel" in " ".join((done.out + done.err).split())


def test_a_larger_image_keeps_the_pixel(tmp_path):
    write_bart(tmp_path, Y[:1])
    k = str(tmp_path / "k.cfl")
    wide = load_scan(tmp_path / "a.hdr", trajectory=k, matrix=SHAPE, image_shape=(48, 40))
    assert wide.operator.image_shape == (48, 40)
    assert same_places(wide.operator.trajectory, K)
    fine = load_scan(tmp_path / "a.hdr", trajectory=k, image_shape=(64, 64))  # the same field, of smaller pixels
    assert same_places(fine.operator.trajectory, K / 2)


# --- axes, frames, rows ---


def test_axes_in_any_order(tmp_path):
    np.save(tmp_path / "a.npy", Y.transpose(2, 0, 1))
    np.save(tmp_path / "k.npy", K.transpose(1, 0, 2))
    options = {"trajectory": str(tmp_path / "k.npy"), "trajectory_unit": "cycles/pixel", "image_shape": SHAPE}
    scan = load_scan(tmp_path / "a.npy", axes=("sample", "coil", "shot"), **options)
    np.testing.assert_array_equal(scan.data.numpy(), Y)
    assert same_places(scan.operator.trajectory, K)
    np.save(tmp_path / "k.npy", K[:-1].transpose(1, 0, 2))
    with pytest.raises(InputError, match=r"trajectory of shape \(51, 64, 2\), and the samples need \(52, 64, 2\)"):
        load_scan(tmp_path / "a.npy", axes=("sample", "coil", "shot"), **options)


def test_repetitions_are_items_or_frames(tmp_path):
    """Items share a trajectory; with trajectories of their own they are frames, and share the maps of all together."""
    halves, ks = [Y[:, ::2], Y[:, 1::2]], [K[::2], K[1::2]]
    xml = files.header(32, 32, trajectory="goldenangle")
    records = [r for i in (0, 1) for r in files.shots(halves[i], ks[i][..., ::-1], repetition=i)]
    files.write_ismrmrd(tmp_path / "a.h5", records, xml)
    with pytest.raises(InputError, match="trajectories of their own: read one, --rows 0:1, or make them frames of one"):
        load_scan(tmp_path / "a.h5", trajectory_unit="cycles/pixel")
    one = load_scan(tmp_path / "a.h5", trajectory_unit="cycles/pixel", rows=slice(1, 2))
    np.testing.assert_array_equal(one.data.numpy(), halves[1][None])
    film = load_scan(tmp_path / "a.h5", trajectory_unit="cycles/pixel", frames="repetition")
    assert (film.operator.frames, film.operator.maps.shape) == (2, (4, *SHAPE))
    np.testing.assert_array_equal(film.data.numpy(), np.stack(halves))
    save_cfl(tmp_path / "a", np.stack(halves).reshape(2, *(1,) * 6, 4, 26, 64, 1))
    save_cfl(tmp_path / "k", bart_trajectory(np.stack(ks)).reshape(2, *(1,) * 7, 26, 64, 3))
    same = load_scan(tmp_path / "a.hdr", trajectory=str(tmp_path / "k"), frames="frame")
    np.testing.assert_array_equal(same.data.numpy(), film.data.numpy())
    for scan in (film, same):
        assert same_places(scan.operator.trajectory, np.stack(ks))
    again = [r for i in (0, 1) for r in files.shots((1 + i) * Y, K[..., ::-1], slice=i)]
    files.write_ismrmrd(tmp_path / "b.h5", again, xml)
    both = load_scan(tmp_path / "b.h5", trajectory_unit="cycles/pixel")
    assert both.data.shape == (2, 4, SHOTS, SAMPLES)
    np.testing.assert_allclose(both.data[1].numpy(), 2 * Y)


def test_what_is_discarded_takes_its_positions_along(tmp_path):
    wide_y, wide_k = np.pad(Y, ((0, 0), (0, 0), (3, 2))), np.pad(K, ((0, 0), (3, 2), (0, 0)), constant_values=9.0)
    some = files.shots(wide_y[:, ::2], wide_k[::2, :, ::-1], pre=3, post=2)
    turned = files.shots(wide_y[:, 1::2, ::-1], wide_k[1::2, ::-1, ::-1], pre=2, post=3, flags=(22,))
    files.write_ismrmrd(tmp_path / "a.h5", [*some, *turned], files.header(32, 32, trajectory="radial"))
    scan = load_scan(tmp_path / "a.h5", trajectory_unit="cycles/pixel")
    np.testing.assert_array_equal(scan.data.numpy(), np.concatenate([Y[:, ::2], Y[:, 1::2]], 1))
    assert same_places(scan.operator.trajectory, np.concatenate([K[::2], K[1::2]]))


def test_a_third_axis_of_a_plane_is_left_out(tmp_path):
    weights = np.concatenate([K[..., ::-1], np.abs(K[..., :1])], -1)
    files.write_ismrmrd(tmp_path / "a.h5", files.shots(Y[:1], weights), files.header(32, 32, trajectory="spiral"))
    with pytest.warns(InputWarning, match="third axis of the trajectory, 0 to 0.5.*it may hold weights"):
        scan = load_scan(tmp_path / "a.h5", trajectory_unit="cycles/pixel")
    assert scan.operator.trajectory.shape == (SHOTS, SAMPLES, 2)


def test_maps_from_a_file(tmp_path):
    maps = truth.Coils(4, SHAPE).maps(SHAPE).astype(np.complex64)
    np.save(tmp_path / "maps.npy", maps)
    write_bart(tmp_path)
    scan = load_scan(tmp_path / "a.hdr", trajectory=str(tmp_path / "k"), coils=str(tmp_path / "maps.npy"), noise=0.5)
    np.testing.assert_array_equal(scan.operator.maps.numpy(), maps)
    assert scan.noise == 0.5


# --- files that make no scan ---


def bad(y, at):
    y = y.copy()
    y[at] = np.nan
    return y


def no_trajectory(path):
    records = files.lines(Y, range(32))
    files.write_ismrmrd(path / "a.h5", records, files.header(64, 52, trajectory="epi"))
    return "a.h5", {"trajectory_unit": "cycles/pixel"}


def few_numbers(path):
    records = files.shots(Y, K[..., ::-1])
    records[3]["traj"][0] = records[3]["traj"][0][:-2]
    files.write_ismrmrd(path / "a.h5", records, files.header(32, 32, trajectory="radial"))
    return "a.h5", {"trajectory_unit": "cycles/pixel"}


def missing_shot(path):
    records = [r for i in (0, 1) for r in files.shots(Y, K[..., ::-1], slice=i)][:-1]
    files.write_ismrmrd(path / "a.h5", records, files.header(32, 32, trajectory="radial"))
    return "a.h5", {"trajectory_unit": "cycles/pixel"}


def of_bart(y=Y, k=K, **options):
    def write(path):
        write_bart(path, y, k)
        return "a.hdr", {"trajectory": str(path / "k.cfl"), **options}

    return write


def of_numpy(y=Y, k=K, **options):
    def write(path):
        write_numpy(path, y, k)
        due = {"axes": ("coil", "shot", "sample"), "trajectory": str(path / "k.npy"), "trajectory_unit": "cycles/pixel"}
        return "a.npy", {name: value for name, value in (due | options).items() if value is not None}

    return write


def on_a_grid(path):
    write_bart(path)
    save_cfl(path / "a", Y[:, None], overwrite=True)
    return "a.hdr", {"trajectory": str(path / "k.cfl")}


BAD = {
    "no trajectory": (no_trajectory, r"epi trajectory have positions of \[0\] axes"),
    "few numbers": (few_numbers, "acquisition 3 has 126 numbers, and its head tells of 64 x 2 positions"),
    "a shot is missing": (missing_shot, "slice 1 has 51 acquisitions, and others have 52: the file is incomplete"),
    "bart unit alone": (lambda p: (write_bart(p)[0], {"matrix": SHAPE}), "it goes with --read trajectory=FILE"),
    "bart on a grid": (on_a_grid, "have 1, the read-out, the shots, the coils"),
    "bart of other shots": (of_bart(k=K[:-1]), r"trajectory of shape \(51, 64, 2\)"),
    "bart nan": (
        of_bart(y=bad(Y, (2, 5, 6))),
        "in 1 of 13312 places, first at coil 2, shot 5, sample 6",
    ),
    "bart zero": (of_bart(y=0 * Y), "is zero everywhere"),
    "numpy without": (of_numpy(trajectory=None, trajectory_unit=None), "need --read trajectory=FILE"),
    "numpy unit alone": (of_numpy(trajectory=None, axes=("coil", "y", "x")), "it goes with --read trajectory=FILE"),
    "numpy pixels": (of_numpy(), "nothing says how many pixels the image has: add --image-shape HxW"),
    "numpy complex": (
        of_numpy(k=K[..., 0] + 1j * K[..., 1]),
        r"is complex128 of shape \(52, 64\), and a traj",
    ),
    "numpy metres": (of_numpy(trajectory_unit="1/m", image_shape=SHAPE), "needs the side of a pixel"),
    "numpy volume": (of_numpy(k=np.concatenate([K, K[..., :1]], -1), image_shape=SHAPE), "positions of 3 axes"),
    "numpy axes": (of_numpy(axes=("coil", "y", "x"), image_shape=SHAPE), "axes=coil,shot,sample, or whatever"),
    "numpy mask": (of_numpy(mask="auto"), "every sample along a trajectory was measured"),
}


@pytest.mark.parametrize(("write", "words"), BAD.values(), ids=BAD)
def test_files_that_make_no_scan(tmp_path, write, words):
    name, options = write(tmp_path)
    with pytest.raises(InputError, match=words) as complaint:
        load_scan(tmp_path / name, **options)
    assert "\n" not in str(complaint.value)


def test_options_of_trajectories_need_one(tmp_path):
    files.write_ismrmrd(tmp_path / "a.h5", files.lines(Y[:, :32], range(32)), files.header(64, 32))
    with pytest.raises(InputError, match="the acquisitions are Cartesian"):
        load_scan(tmp_path / "a.h5", trajectory_unit="cycles/pixel")


def test_a_bad_unit_is_a_wrong_use(invprob, tmp_path):
    path, options = write_bart(tmp_path)
    assert invprob("inspect", path, *options, "--read", "trajectory_unit=furlongs").code == 2
    assert invprob("inspect", path, *options, "--read", "matrix=32").code == 2
