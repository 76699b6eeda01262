"""Nikon's .xtekct with its TIFF files: written as the scanner's own words say, in the laboratory's coordinates."""

import re

import numpy as np
import pytest
import tifffile
import torch

from invprob import reconstruct, save_scan
from invprob.errors import InputError, InputWarning
from invprob.io import load_result, load_scan, scan_summary

ROWS, COLUMNS, VIEWS, PITCH = 24, 32, 48, 1.5
SOURCE, DETECTOR, WHITE = 100.0, 200.0, 50000
BALL, RADIUS, DENSITY = (4.0, -2.5, 3.0), 3.0, 0.05  # x to the right, y away from the source, z upwards, in mm


def chords(angle, offset):
    """The ball's chords in a picture (row, column), after the object has turned clockwise by `angle`, seen from above.

    The source lies at 0, the detector at y = DETECTOR and the axis at (offset, SOURCE), x being to the right as seen
    from the source; a picture is as seen from the detector, its first row at the top.
    """
    x = -(np.arange(COLUMNS) - (COLUMNS - 1) / 2) * PITCH
    z = -(np.arange(ROWS) - (ROWS - 1) / 2) * PITCH
    ends = np.stack(np.broadcast_arrays(x[None, :], DETECTOR, z[:, None]), axis=-1).astype(float)
    c, s = np.cos(-angle), np.sin(-angle)
    middle = np.array([offset + c * BALL[0] - s * BALL[1], SOURCE + s * BALL[0] + c * BALL[1], BALL[2]])
    along = ends / np.linalg.norm(ends, axis=-1, keepdims=True)
    apart = (middle**2).sum() - (along @ middle) ** 2
    return 2 * np.sqrt(np.clip(RADIUS**2 - apart, 0, None))


def write(path, *, offset=0.0, first=180.0, step=360 / VIEWS, name="tooth", **changes):
    """Write a scan of the ball; with `first` = 180 the object of view 0 stands as it is described above."""
    folder = path.parent
    for view in range(VIEWS):
        angle = np.deg2rad(first - 180 + view * step)
        counts = WHITE * np.exp(-DENSITY * chords(angle, offset))
        tifffile.imwrite(folder / f"{name}_{view + 1:04d}.tif", np.round(counts).astype(np.uint16))
    told = {"Name": name, "Projections": VIEWS, "InitialAngle": first, "AngularStep": step, "WhiteLevel": WHITE}
    told |= {"SrcToObject": SOURCE, "SrcToDetector": DETECTOR, "ObjectOffsetX": -offset}
    told |= {"DetectorPixelsX": COLUMNS, "DetectorPixelsY": ROWS}
    told |= {"DetectorPixelSizeX": PITCH, "DetectorPixelSizeY": PITCH, "InputFolderName": ""} | changes
    lines = [f"{key}={value}" for key, value in told.items() if value is not None]
    path.write_text("\n".join(["[XTekCT]", *lines, "[Xrays]", "XraykV=90"]) + "\n")
    return path


def middle_of(volume, voxel):
    """Return x, y and z of the centre of mass of what is denser than a half of the ball."""
    slices, height, width = volume.shape
    weight = volume.clamp(min=0) * (volume > DENSITY / 2)
    z, y, x = ((torch.arange(n) - (n - 1) / 2) * voxel for n in (slices, height, width))
    place = [(weight.sum(axes) * c).sum() / weight.sum() for axes, c in (((0, 1), x), ((0, 2), -y), ((1, 2), -z))]
    return torch.stack(place)


@pytest.mark.parametrize(
    ("written", "options"),
    [
        ({}, {}),
        ({"offset": 1.7}, {}),  # to the right, seen from the source
        ({"first": 247.0}, {}),
        ({"step": -360 / VIEWS}, {}),
        (
            {"offset": 1.7, "ObjectOffsetX": None, "CentreOfRotationTop": -3.4, "CentreOfRotationBottom": -3.4},
            {},
        ),
        ({"offset": 1.5, "ObjectOffsetX": 0.0}, {"axis": 15.5 - 1.5 * DETECTOR / SOURCE / PITCH}),
        ({}, {"views": slice(0, 48, 2)}),
        ({"offset": 1.7}, {"bin": 3}),  # what is left over is cut off at the right and at the bottom
    ],
)
def test_the_object_stands_where_it_stood(tmp_path, written, options):
    path = write(tmp_path / "tooth.xtekct", **written)
    scan = load_scan(path, **options)
    A = scan.operator
    assert A.voxel_size == pytest.approx(PITCH * SOURCE / DETECTOR * options.get("bin", 1))
    volume = reconstruct(scan, "fbp").x
    assert torch.allclose(middle_of(volume, A.voxel_size), torch.tensor(BALL), atol=0.5 if "bin" in options else 0.15)
    signed = (-BALL[2], -BALL[1], BALL[0])
    z, y, x = (round((n - 1) / 2 + c / A.voxel_size) for n, c in zip(volume.shape, signed, strict=True))
    if "bin" not in options:
        assert float(volume[z, y, x]) == pytest.approx(DENSITY, rel=0.1)


def test_what_is_read_is_what_was_counted(tmp_path):
    scan = load_scan(write(tmp_path / "tooth.xtekct"))
    due = np.stack([DENSITY * chords(np.deg2rad(view * 360 / VIEWS), 0.0)[:, ::-1] for view in range(VIEWS)])
    assert np.abs(scan.data.numpy() - due).max() < 2 / WHITE
    assert (scan.units.length, scan.provenance["reader"]) == ("mm", "Nikon XTekCT")


def test_a_folder_goes_through_every_command(invprob, tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()
    write(folder / "tooth.xtekct")
    assert invprob("import", "scan", "-o", "tooth.h5").code == 0
    imported = load_scan("tooth.h5")
    assert torch.equal(imported.data, load_scan(folder / "tooth.xtekct").data)
    for command in ("inspect", "check"):
        done = invprob(command, "scan")
        assert (done.code, done.err) == (0, "")
        assert "Nikon XTekCT" in done.out
    done = invprob("reconstruct", "scan", "--method", "fbp", "--read", "bin=2", "-o", "volume.h5")
    assert (done.code, done.err) == (0, "")
    assert load_result("volume.h5").x.shape == (12, 16, 16)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SrcToObject": None}, "has no SrcToObject, expected a number"),
        ({"SrcToObject": "far"}, "has SrcToObject=far, expected a number"),
        ({"SrcToObject": 300}, "SrcToObject=300 is no distance below SrcToDetector=200"),
        ({"Projections": 0}, "Projections=0, expected a whole number"),
        ({"Projections": 60}, "holds 48 pictures called tooth*.tif, of the 60 that tooth.xtekct names"),
        ({"Name": "bone"}, "holds 0 pictures called bone*.tif"),
        ({"DetectorPixelsX": 31}, "has the shape (24, 32), tooth.xtekct names (24, 31)"),
        ({"WhiteLevel": 0}, "the white field is not above the dark field"),
        ({"DetectorPixelSizeX": -1}, "must be a positive length"),
    ],
)
def test_a_wrong_file_gives_one_line(invprob, tmp_path, changes, words):
    write(tmp_path / "tooth.xtekct", **{"name": "tooth"} | changes)
    done = invprob("reconstruct", "tooth.xtekct", "--method", "fbp")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert words in done.err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ObjectRoll": 0.4}, "leans by 0.4 degrees"),
        ({"DetectorOffsetX": 1.0}, "are passed over"),
        ({"ObjectOffsetX": None}, "no axis of rotation is named"),
        ({"ObjectOffsetX": 5.0}, "stands oblique"),
        ({"Projections": VIEWS - 1}, "there are 48 pictures, of which the first 47"),
    ],
)
def test_what_is_not_followed_is_told(tmp_path, changes, words):
    path = write(tmp_path / "tooth.xtekct", **changes)
    with pytest.warns(InputWarning, match=re.escape(words)):
        load_scan(path)


def test_a_damaged_description_and_two_of_them(tmp_path):
    write(tmp_path / "tooth.xtekct")
    (tmp_path / "bad.xtekct").write_text("[XTekCT]\nName=tooth\n[XTekCT\nnothing\n")
    with pytest.raises(InputError, match="holds several scans"):
        load_scan(tmp_path)
    with pytest.raises(InputError, match="damaged"):
        load_scan(tmp_path / "bad.xtekct")
    (tmp_path / "long.xtekct").write_text("[XTekCT]\n" + "A=1\n" * 300_000)
    with pytest.raises(InputError, match="much larger"):
        load_scan(tmp_path / "long.xtekct")
    assert "much larger" in scan_summary(tmp_path / "long.xtekct").hints[0]


def test_a_folder_named_in_the_file_does_not_lead_out(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    write(tmp_path / "tooth.xtekct")
    (inside / "tooth.xtekct").write_text(
        (tmp_path / "tooth.xtekct").read_text().replace("InputFolderName=", "InputFolderName=..")
    )
    with pytest.raises(InputError, match="holds 0 pictures"):
        load_scan(inside / "tooth.xtekct")


def test_a_scan_of_it_is_kept(tmp_path):
    scan = load_scan(write(tmp_path / "tooth.xtekct", offset=1.7))
    save_scan(tmp_path / "kept.h5", scan)
    assert repr(load_scan(tmp_path / "kept.h5").operator) == repr(scan.operator)
