"""Reading what others wrote, good and bad, and writing our own files."""

import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
import torch
from PIL import Image
from sealed import edit

from invprob import registry
from invprob.certificate import Certificate
from invprob.errors import InputError, InputWarning, OutputError, ResourceError, printable
from invprob.grid import Grid
from invprob.io import (
    ResultWriter,
    find_axis,
    load_result,
    load_scan,
    open_hdf5,
    read_array,
    run_attributes,
    save_npy,
    save_result,
    save_scan,
    save_tiff,
    scan_summary,
)
from invprob.io.atomic import write_whole
from invprob.io.npy import read_npy
from invprob.linop import LinearOperator
from invprob.operators import FanBeam, ParallelBeam
from invprob.result import Result
from invprob.scan import Scan, Units
from invprob.solvers.base import Assumption

SHARED = Path(__file__).parents[1] / "../shared/data/ct"
TOOTH, HTC = SHARED / "tooth/tooth.h5", SHARED / "htc2022/htc2022_ta_full.mat"
needs_tooth = pytest.mark.skipif(not TOOTH.exists(), reason="the shared data are not here")
needs_htc = pytest.mark.skipif(not HTC.exists(), reason="the shared data are not here")

VIEWS, ROWS, COLUMNS = 40, 3, 32


def true_integrals(axis=14.2):
    """Line integrals (views, rows, columns) of two discs, a little heavier from row to row."""
    theta, s = np.arange(VIEWS) * np.pi / VIEWS, np.arange(COLUMNS) - axis
    total = np.zeros((VIEWS, COLUMNS))
    for radius, x, y in ((8.0, 0.0, 0.0), (4.0, 5.0, 3.0)):
        t = s - (x * np.cos(theta) + y * np.sin(theta))[:, None]
        total += 0.05 * np.sqrt(np.clip(radius**2 - t**2, 0, None))
    return total[:, None, :] * np.array([1.0, 1.1, 1.2])[None, :, None]


def exchange_arrays():
    white, dark = np.full((4, ROWS, COLUMNS), 40100.0), np.full((2, ROWS, COLUMNS), 100.0)
    data = 100 + 40000 * np.exp(-true_integrals())
    theta = np.arange(VIEWS) * 180 / VIEWS
    return {"data": data.astype("f4"), "data_white": white, "data_dark": dark, "theta": theta}


@pytest.fixture
def exchange(tmp_path):
    """A function that writes a Data Exchange file with some arrays replaced (None: left out)."""

    def write(unit="degrees", libver=None, **changes):
        path = tmp_path / "scan.h5"
        with h5py.File(path, "w", libver=libver) as file:
            for key, values in (exchange_arrays() | changes).items():
                if values is not None:
                    file[f"exchange/{key}"] = values
            if unit and "exchange/theta" in file:
                file["exchange/theta"].attrs["units"] = unit
        return path

    return write


def changed(key, index, value):
    array = exchange_arrays()[key].copy()
    array[index] = value
    return {key: array}


# --- Data Exchange ---


def test_counts_become_line_integrals_row_by_row(exchange):
    scan = load_scan(exchange(), axis=14.2)
    assert isinstance(scan.operator, ParallelBeam)
    assert scan.operator.domain_shape == (COLUMNS, COLUMNS)
    assert scan.operator.axis_offset == pytest.approx(14.2 - (COLUMNS - 1) / 2)
    np.testing.assert_allclose(scan.operator.angles, np.arange(VIEWS) * np.pi / VIEWS)
    np.testing.assert_allclose(scan.data.numpy(), true_integrals().swapaxes(0, 1), atol=1e-6)
    assert scan.data.dtype == torch.float32
    assert scan.units == Units.attenuation("pixel")
    assert scan.provenance["clamped"].startswith(f"0 of {VIEWS * ROWS * COLUMNS} ")
    assert scan.provenance["digest"].startswith("sha256:")


def test_the_axis_is_found_once_and_reused(exchange):
    path = exchange()
    axis = find_axis(path)
    assert axis.column == pytest.approx(14.2, abs=0.1)
    assert f"column {axis.column:.2f}, found" in load_scan(path).provenance["axis"]
    row = load_scan(path, rows=slice(2, 3), axis=axis.column)
    assert "given" in row.provenance["axis"]
    assert row.operator.axis_offset + (COLUMNS - 1) / 2 == pytest.approx(axis.column)


def test_the_axis_of_a_limited_angle_selection_comes_from_all_views(exchange):
    scan = load_scan(exchange(), views=slice(0, 10))
    assert scan.operator.range_shape == (10, COLUMNS)
    assert scan.operator.axis_offset == pytest.approx(14.2 - (COLUMNS - 1) / 2, abs=0.1)


def test_rows_and_views_are_slices_of_the_whole(exchange):
    path = exchange()
    whole, part = (
        load_scan(path, axis=14.2),
        load_scan(path, axis=14.2, rows=slice(1, 3), views=slice(5, 30, 2)),
    )
    assert torch.equal(part.data, whole.data[1:3, 5:30:2])
    np.testing.assert_array_equal(part.operator.angles, whole.operator.angles[5:30:2])


def test_only_what_is_asked_for_is_read(exchange):
    path = exchange(**changed("data", (slice(None), 1), np.nan))
    for rows in (slice(0, 1), slice(2, 3), slice(0, 3, 2)):
        load_scan(path, rows=rows, axis=14.2)


def test_pixel_size_image_shape_and_angles_can_be_given(exchange):
    path = exchange(theta=None)
    angles = np.linspace(0, np.pi, VIEWS, endpoint=False)
    scan = load_scan(path, angles=angles, angles_unit="radians", pixel_size=0.5, image_shape=(20, 30), axis=14.2)
    assert (scan.operator.pixel_size, scan.operator.detector_size) == (0.5, 0.5)
    assert scan.operator.domain_shape == (20, 30)
    assert scan.units == Units(length="mm", image="1/mm", data="1")


def test_a_given_unit_counts_more_than_the_file(exchange):
    theta = np.deg2rad(exchange_arrays()["theta"])
    scan = load_scan(exchange(theta=theta, unit="degrees"), angles_unit="radians", axis=14.2)
    np.testing.assert_allclose(scan.operator.angles, theta)


@pytest.mark.parametrize("dtype", [">f4", "<u2", ">u2", "<f8", "<f2", "<i4"])
def test_every_real_dtype_and_byte_order_is_read(exchange, dtype):
    data = np.round(exchange_arrays()["data"])
    scan = load_scan(exchange(data=data.astype(dtype)), axis=14.2)
    atol = 1e-2 if dtype == "<f2" else 1e-3
    np.testing.assert_allclose(scan.data.numpy(), true_integrals().swapaxes(0, 1), atol=atol)


def test_low_transmissions_are_clamped_and_counted(exchange):
    scan = load_scan(exchange(**changed("data", (3, 1, slice(4, 9)), 20.0)), axis=14.2)
    assert scan.provenance["clamped"].startswith("5 of ")
    assert scan.data[1, 3, 4:9].tolist() == pytest.approx([16 * np.log(2)] * 5)


def test_counts_above_the_flat_field_are_kept(exchange):
    assert load_scan(exchange(**changed("data", (3, 1, 4), 50000.0)), axis=14.2).data[1, 3, 4] < 0


BAD_ARRAYS = {
    "no unit": ({"unit": None}, "no unit.*--angles-unit"),
    "unknown unit": ({"unit": "gon"}, "unknown unit 'gon'.*--angles-unit"),
    "no angles": ({"theta": None}, r"no angles \(exchange/theta\).*--angles FIRST:LAST:COUNT"),
    "too many angles": ({"theta": np.arange(50.0)}, r"50 angles for exchange/data of shape \(40, 3, 32\)"),
    "no angle": ({"theta": np.zeros(0)}, r"theta is empty \(shape \(0,\)\)"),
    "one angle": ({"theta": np.zeros(1)}, "1 angles for"),
    "NaN angle": (
        changed("theta", 7, np.nan),
        "angles are NaN or infinite in 1 of 40 places, first at view 7",
    ),
    "infinite angle": (changed("theta", 8, np.inf), "first at view 8.*--angles"),
    "one NaN": (changed("data", (17, 0, 2), np.nan), "1 of 3840 places, first at view 17, row 0, column 2"),
    "one infinity": (
        changed("data", (17, 2, 3), np.inf),
        "first at view 17, row 2, column 3.*--rows or --views",
    ),
    "a row of NaN": (
        changed("data", (slice(None), 1), np.nan),
        "in 1280 of 3840 places, first at view 0, row 1",
    ),
    "zero counts": (
        changed("data", (slice(2), slice(None)), 0.0),
        "192 of 3840 transmissions are zero or negative",
    ),
    "dark flat": (
        changed("data_white", (slice(None), 1, slice(5, 10)), 100.0),
        "not above the dark field in 5 of 96.*row 1, column 5",
    ),
    "NaN flat": (changed("data_white", (0, 1, slice(5, 9)), np.nan), "white field is NaN or infinite in 4 of 96"),
    "no flat": ({"data_white": None}, r"no open-beam field \(exchange/data_white\).*--read values=integrals"),
    "flat of one row": ({"data_white": np.ones(COLUMNS)}, r"shape \(32,\).*needs \(exposures, 3, 32\), or the last"),
    "flat of another detector": ({"data_white": np.ones((4, ROWS, 31))}, r"shape \(4, 3, 31\)"),
    "two axes": ({"data": np.ones((VIEWS, COLUMNS))}, "expected three axes theta:row:column"),
    "complex counts": ({"data": np.ones((VIEWS, ROWS, COLUMNS), "c8")}, "is complex, but counts are real"),
    "text": ({"data": ["a", "b"]}, "type object, which is not supported"),
    "records": (
        {"data": np.zeros(4, dtype=[("a", "f4"), ("b", "i4")])},
        "is not supported: store plain numbers",
    ),
}


@pytest.mark.parametrize(("changes", "words"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_content_is_refused_with_place_and_remedy(exchange, changes, words):
    with pytest.raises(InputError, match=words) as caught:
        load_scan(exchange(**changes), axis=14.2)
    assert "\n" not in str(caught.value)


def test_bad_views_can_be_left_out(exchange):
    path = exchange(**changed("data", (17, 0, 2), np.nan))
    scan = load_scan(path, views=slice(18, None))
    assert scan.operator.axis_offset == pytest.approx(14.2 - (COLUMNS - 1) / 2, abs=0.2)
    path = exchange(**changed("theta", 17, np.nan))
    assert load_scan(path, views=slice(18, None)).operator.range_shape == (VIEWS - 18, COLUMNS)


def test_an_axis_that_cannot_be_found_must_be_given(exchange):
    path = exchange(theta=np.arange(VIEWS) * 3.0)
    with pytest.raises(InputError, match=r"scan.h5: the views span 117 degrees.*--axis"):
        load_scan(path)


@pytest.mark.parametrize(
    ("unit", "theta", "words"),
    [
        ("radians", np.arange(VIEWS) * 4.5, "is the unit degrees instead"),
        ("degrees", np.arange(VIEWS) * 1e-3, "is the unit radians instead"),
        ("degrees", np.arange(VIEWS) // 2 * 9.0, "20 of 40 angles occur more than once"),
    ],
)
def test_doubtful_angles_warn(exchange, unit, theta, words):
    with pytest.warns(InputWarning, match=words):
        load_scan(exchange(unit=unit, theta=theta), axis=14.2)


def test_named_axes_in_another_order_are_refused(exchange):
    path = exchange()
    with h5py.File(path, "r+") as file:
        file["exchange/data"].attrs["axes"] = "y:theta:x"
    with pytest.raises(InputError, match="axes y:theta:x, expected three axes theta:row:column"):
        load_scan(path)


@pytest.mark.parametrize("rows", [slice(3, None), slice(2, 1), slice(None, None, -1)])
def test_an_empty_or_reversed_selection_is_refused(exchange, rows):
    with pytest.raises(InputError, match=r"--rows.*none of the 3"):
        load_scan(exchange(), rows=rows)


# --- Files that are broken or mean harm ---


def test_what_is_no_file_or_no_scan(tmp_path, exchange):
    (tmp_path / "empty.h5").touch()
    Image.new("L", (4, 4)).save(tmp_path / "picture.h5", format="GIF")
    cases = {
        "absent.h5": "does not exist",
        "": "is a directory",
        "empty.h5": "is empty",
        "picture.h5": "is not a scan",
    }
    for name, words in cases.items():
        with pytest.raises(InputError, match=words):
            load_scan(tmp_path / name)
    with pytest.raises(InputError, match="not an HDF5 file"), open_hdf5(tmp_path / "picture.h5"):
        pass


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_file_cut_short_says_so(exchange, part):
    path = exchange()
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match=r"is cut short.*copy it again"):
        load_scan(path)


def test_misspelt_names_are_suggested(exchange, tmp_path):
    with pytest.raises(InputError, match=r"no exchange/data; did you mean exchange/dat\?.*it holds .*exchange/theta"):
        load_scan(exchange(data=None, dat=np.ones(3)))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["sinogram"] = np.ones(3)
    with pytest.raises(InputError, match=r"is not a scan .*it holds sinogram\): known are .*Data Exchange"):
        load_scan(tmp_path / "other.h5")


@pytest.fixture
def victim(tmp_path):
    with h5py.File(tmp_path / "victim.h5", "w") as file:
        file["secret"] = np.ones((VIEWS, ROWS, COLUMNS))
        file["inner/data"] = np.ones((VIEWS, ROWS, COLUMNS))
    return tmp_path / "victim.h5"


def replace_data(path, make):
    with h5py.File(path, "r+") as file:
        del file["exchange/data"]
        make(file)
    return path


def test_external_links_are_refused_at_every_component(exchange, victim):
    direct = replace_data(exchange(), lambda f: f["exchange"].update(data=h5py.ExternalLink(victim.name, "secret")))
    with pytest.raises(InputError, match=r"exchange/data is an external link to victim.h5, which is refused"):
        load_scan(direct)
    with h5py.File(direct, "r+") as file:
        del file["exchange"]
        file["exchange"] = h5py.ExternalLink(victim.name, "inner")
    with pytest.raises(InputError, match="external link"):
        load_scan(direct)
    with h5py.File(direct, "r+") as file:
        del file["exchange"]
        file["door"] = h5py.ExternalLink(victim.name, "inner")
        file["exchange/data"] = h5py.SoftLink("/door/data")
    with pytest.raises(InputError, match="external link"):
        load_scan(direct)


def test_external_storage_is_refused(exchange):
    external = [("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
    path = replace_data(exchange(), lambda f: f.create_dataset("exchange/data", (4,), "u1", external=external))
    with pytest.raises(InputError, match="keeps its values in the file /etc/hostname"):
        load_scan(path)


@pytest.mark.parametrize(("source", "state"), [("victim.h5", ": copy"), ("gone.h5", ", which is missing")])
def test_virtual_datasets_are_refused(exchange, victim, source, state):
    layout = h5py.VirtualLayout((VIEWS, ROWS, COLUMNS), "f8")
    layout[:] = h5py.VirtualSource(source, "secret", (VIEWS, ROWS, COLUMNS))
    path = replace_data(exchange(), lambda f: f.create_virtual_dataset("exchange/data", layout))
    with pytest.raises(InputError, match=f"virtual dataset made of {source}{state}"):
        load_scan(path)


def test_soft_links_inside_the_file_are_followed(exchange):
    path = exchange()
    with h5py.File(path, "r+") as file:
        file.move("exchange/data", "raw/counts")
        file["exchange/data"] = h5py.SoftLink("../raw/counts")
        file["exchange/.."] = h5py.SoftLink("/")  # HDF5 has no "..": this is a name like any other
    assert load_scan(path, axis=14.2).data.shape == (ROWS, VIEWS, COLUMNS)


def test_link_loops_and_deep_groups_end(exchange):
    path = replace_data(exchange(), lambda f: f["exchange"].update(data=h5py.SoftLink("/exchange/data")))
    with pytest.raises(InputError, match="over 16 soft links, or in a circle"):
        load_scan(path)
    with h5py.File(path, "r+") as file:
        del file["exchange/data"]
        file["exchange/self"] = file["exchange"]  # a cycle of hard links
        group = file["exchange"]
        for _ in range(3000):
            group = group.create_group("g")
    with pytest.raises(InputError, match="holds no exchange/data"):
        load_scan(path)


@pytest.mark.parametrize("shape", [(10**6, 10**6), (1000, 2**20, 1000), (2,) * 7, (2**31 + 1,)])
def test_shape_bombs_are_refused_unread(exchange, shape):
    path = replace_data(exchange(), lambda f: f.create_dataset("exchange/data", shape, "f4", chunks=(1,) * len(shape)))
    with pytest.raises(InputError, match=r"declares|axes"):
        load_scan(path)


def test_enums_and_plugin_filters_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("enum", (3,), h5py.enum_dtype({"a": 1, "b": 2}, "i1"))
        file.create_dataset("object", (3,), h5py.vlen_dtype(np.float32))
        file.create_dataset("reference", (3,), h5py.ref_dtype)
        file["empty"] = h5py.Empty("f4")
        file["flags"] = np.array([True, False])
    with open_hdf5(tmp_path / "a.h5") as file:
        for name, words in {
            "enum": "enum",
            "object": "object",
            "reference": "object",
            "empty": "empty",
        }.items():
            with pytest.raises(InputError, match=words):
                read_array(file, name)
        assert read_array(file, "flags").tolist() == [True, False]
        with pytest.raises(InputError, match="flags/inside"):
            read_array(file, "flags/inside")


def test_names_are_escaped_in_messages(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["\x1b[2J" + "x" * 10_000] = np.ones(2)
    with pytest.raises(InputError, match=r"\\x1b\[2J") as caught:
        load_scan(tmp_path / "a.h5")
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert printable("a\nb\x00") == r"a\nb\x00"


def test_an_attribute_that_is_no_short_text_is_refused(exchange):
    with pytest.raises(InputError, match="exchange/theta@units is not a short text"):
        load_scan(exchange(unit=3.0))
    with pytest.raises(InputError, match=r"theta@units has over \d+ bytes"):
        load_scan(exchange(unit=np.bytes_("d" * 70_000), libver="latest"))


# --- Helsinki Tomography Challenge ---


def htc_struct(**changes):
    parameters = {
        "distanceUnit": "mm",
        "distanceSourceOrigin": 410.66,
        "distanceSourceDetector": 553.74,
        "pixelSizePost": 0.2,
        "effectivePixelSizePost": 0.14832,
        "angles": np.arange(5) * 0.5,
    }
    sinogram = changes.pop("sinogram", np.ones((5, 560)))
    return {"type": "2d", "sinogram": sinogram, "parameters": parameters | changes}


@pytest.mark.parametrize("name", ["CtDataFull", "CtDataLimited"])
def test_htc_files_become_fan_beam_scans(tmp_path, name):
    path = tmp_path / "scan.dat"
    with path.open("wb") as stream:
        scipy.io.savemat(stream, {name: htc_struct()})
    scan = load_scan(path, views=slice(1, 4))
    A = scan.operator
    assert isinstance(A, FanBeam)
    assert (A.source_distance, A.detector_distance) == pytest.approx((410.66, 143.08))
    assert (A.pixel_size, A.detector_size, A.axis_offset) == (0.14832, 0.2, 0.0)
    assert A.domain_shape == (512, 512)
    np.testing.assert_allclose(A.angles, np.deg2rad([0.5, 1.0, 1.5]))
    assert scan.units == Units(length="mm", image="1/mm", data="1")


BAD_STRUCTS = {
    "another variable": ({"x": 1}, "neither the struct CtDataFull nor CtDataLimited"),
    "angles": (
        {"CtDataFull": htc_struct(angles=np.arange(6.0))},
        r"6 angles for a sinogram of shape \(5, 560\)",
    ),
    "unit": ({"CtDataFull": htc_struct(distanceUnit="cm")}, "distances in cm, expected mm"),
    "no unit": ({"CtDataFull": htc_struct(distanceUnit=np.zeros(0))}, r"distances in \[\], expected mm"),
    "text": ({"CtDataFull": htc_struct(pixelSizePost="big")}, "pixelSizePost is not a number"),
    "complex": ({"CtDataFull": htc_struct(sinogram=np.ones((5, 9)) * 1j)}, "expected real numbers"),
    "NaN": (
        {"CtDataFull": htc_struct(sinogram=np.full((5, 9), np.nan))},
        "45 of 45 places, first at view 0, bin 0",
    ),
    "no parameters": ({"CtDataFull": {"sinogram": np.ones((5, 9))}}, "no field parameters"),
}


@pytest.mark.parametrize(("content", "words"), BAD_STRUCTS.values(), ids=BAD_STRUCTS)
def test_bad_htc_files_are_refused(tmp_path, content, words):
    scipy.io.savemat(tmp_path / "a.mat", content)
    with pytest.raises(InputError, match=words):
        load_scan(tmp_path / "a.mat")


def test_damaged_and_too_new_matlab_files_say_so(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"CtDataFull": htc_struct()})
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match="is damaged"):
        load_scan(path)
    with h5py.File(path, "w", userblock_size=512) as file:
        file["CtDataFull"] = 1.0
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + struct.pack("<HH", 0x0200, 0x4D49))
    with pytest.raises(InputError, match=r"MATLAB 7.3 file.*'-v7'"):
        load_scan(path)


def test_options_that_do_not_apply_are_refused(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"CtDataFull": htc_struct()})
    for option in ({"rows": slice(1)}, {"angles_unit": "degrees"}):
        with pytest.raises(InputError, match=f"leave out --{next(iter(option)).replace('_', '-')}"):
            load_scan(tmp_path / "a.mat", **option)


# --- Our own scan files ---


@pytest.fixture
def scan():
    A = ParallelBeam((6, 7), np.linspace(0, 2.9, 5), 9, pixel_size=0.5, detector_size=0.4, axis_offset=-1.25)
    data = torch.rand(4, 5, 9, generator=torch.Generator().manual_seed(0))
    noise = torch.full((4,), 0.1, dtype=torch.float64)
    return Scan(A, data, noise, torch.ones(4, 6, 7), units=Units.attenuation("mm"), provenance={"source": "made up"})


def test_a_saved_scan_comes_back(tmp_path, scan):
    save_scan(tmp_path / "scan.h5", scan)
    back = load_scan(tmp_path / "scan.h5")
    assert type(back.operator) is ParallelBeam
    for key, value in scan.operator.config().items():
        np.testing.assert_array_equal(back.operator.config()[key], value)
    assert torch.equal(back.data, scan.data)
    assert torch.equal(back.truth, scan.truth)
    assert torch.equal(back.noise, scan.noise)
    assert back.units == scan.units
    assert back.provenance["original_source"] == "made up"
    assert back.provenance["source"] == str(tmp_path / "scan.h5")
    assert os.listdir(tmp_path) == ["scan.h5"]


def test_the_origin_of_a_scan_comes_back_as_text(tmp_path, scan):
    save_scan(tmp_path / "a.h5", replace(scan, provenance={"k": 3, "none": None, 4: "", "rows": "0 to 3"}))
    back = load_scan(tmp_path / "a.h5", rows=slice(1, 4, 2), views=slice(0, 3)).provenance
    assert (back["k"], back["none"], back["4"].strip("\0")) == ("3", "None", "")
    assert (back["rows"], back["views"], back["original_rows"]) == ("1 to 3 in steps of 2", "0 to 2", "0 to 3")
    for bad, words in (({"": "x"}, "the name ''"), ({"a\0": "x"}, "the name"), ({"long": "x" * 2**17}, "131072 bytes")):
        with pytest.raises(OutputError, match=words):
            save_scan(tmp_path / "b.h5", replace(scan, provenance=bad))
    assert os.listdir(tmp_path) == ["a.h5"]
    save_scan(tmp_path / "c.h5", replace(scan, provenance={"long": "x" * 2**16}))
    assert load_scan(tmp_path / "c.h5").provenance["long"] == "x" * 2**16


@pytest.mark.parametrize("selection", [3, np.int64(3), [0, 1], slice("a", None), slice(0.0, 2.0)])
@pytest.mark.parametrize("option", ["rows", "views"])
def test_a_selection_is_a_slice(tmp_path, scan, option, selection):
    save_scan(tmp_path / "a.h5", scan)
    with pytest.raises(TypeError, match=f"--{option} takes a slice of whole numbers, such as slice.0, 60., got "):
        load_scan(tmp_path / "a.h5", **{option: selection})
    with pytest.raises(InputError, match=f"--{option} has the step 0"):
        load_scan(tmp_path / "a.h5", **{option: slice(0, 3, 0)})


class Doubler(LinearOperator):
    """A registered operator that knows no views."""

    def __init__(self, size, *, scale=(2.0, 3.0), dtype=torch.float32):
        super().__init__((size,), (size,), dtype=dtype)
        self.scale = scale

    def _forward(self, x):
        return self.scale[0] * x

    def config(self):
        return {"size": self.domain_shape[0], "scale": self.scale}


def test_a_single_item_in_double_precision_comes_back(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.OPERATORS, "doubler", f"{__name__}:Doubler")
    A = Doubler(5, scale=(4.0, 5.0), dtype=torch.float64)
    data = torch.rand(5, dtype=torch.float64)
    save_scan(tmp_path / "scan.h5", Scan(A, data, 0.25))
    back = load_scan(tmp_path / "scan.h5")
    assert (back.noise, back.truth, back.operator.dtype) == (0.25, None, torch.float64)
    assert back.operator.scale == (4.0, 5.0)
    assert torch.equal(back.data, data)
    with pytest.raises(InputError, match="--rows: the file holds a single item"):
        load_scan(tmp_path / "scan.h5", rows=slice(1))
    with pytest.raises(InputError, match="--views: a Doubler has no views"):
        load_scan(tmp_path / "scan.h5", views=slice(1))


def test_rows_and_views_of_a_saved_scan(tmp_path, scan):
    save_scan(tmp_path / "scan.h5", scan)
    part = load_scan(tmp_path / "scan.h5", rows=slice(1, 3), views=slice(2, 5))
    assert torch.equal(part.data, scan.data[1:3, 2:5])
    assert part.truth.shape == (2, 6, 7)
    assert part.noise.shape == (2,)
    np.testing.assert_array_equal(part.operator.angles, scan.operator.angles[2:5])
    with pytest.raises(InputError, match="--axis: the file holds its own geometry"):
        load_scan(tmp_path / "scan.h5", axis=3.0)


def test_an_unregistered_operator_is_not_saved(tmp_path):
    A = LinearOperator.from_functions(lambda x: x, lambda y: y, (3,), (3,))
    with pytest.raises(OutputError, match=r"not registered.*parallel-beam"):
        save_scan(tmp_path / "scan.h5", Scan(A, torch.ones(3)))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f["operator"].attrs.modify("name", "os:system"), "unknown name 'os:system'"),
        (lambda f: f["operator"].attrs.modify("name", "parallel-bean"), "did you mean parallel-beam"),
        (lambda f: f["operator"].attrs.modify("config", "{"), "config is damaged"),
        (lambda f: f["operator"].attrs.modify("config", json.dumps({"nonsense": 1})), "is no ParallelBeam"),
        (lambda f: f.attrs.modify("version", 99), "reads up to 2: update invprob"),
        (lambda f: f.__delitem__("operator"), "holds no operator"),
        (lambda f: f["data"].write_direct(np.full((4, 5, 9), np.nan, "f4")), "180 NaN or infinite values"),
    ],
)
def test_altered_scan_files_are_refused(tmp_path, scan, change, words):
    save_scan(tmp_path / "scan.h5", scan)
    edit(tmp_path / "scan.h5", change)
    with pytest.raises(InputError, match=words):
        load_scan(tmp_path / "scan.h5")


def test_no_flipped_byte_passes_unnoticed(tmp_path, scan):
    path = tmp_path / "scan.h5"
    save_scan(path, scan)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for position in rng.integers(0, len(content), 100):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            back = load_scan(path)
        except InputError:
            continue
        assert torch.equal(back.data, scan.data)


# --- Results ---


@pytest.fixture
def result():
    return Result(
        x=torch.rand(4, 6, 7),
        status="max_iter",
        item_status=("converged", "max_iter", "converged", "converged"),
        n_iter=torch.tensor([3, 10, 4, 4]),
        seconds=1.5,
        history={"iteration": torch.arange(3), "residual": torch.rand(3, 4)},
        certificate=Certificate(
            norm=3.5,
            residual_to_noise=torch.tensor([1.0, 0.9, 1.1, 1.0], dtype=torch.float64),
            assumptions=(Assumption("f is convex", None, "who knows"),),
            notes=("a note",),
        ),
        settings={"lam": 0.1},
    )


def test_an_index_that_does_not_lead_to_the_values_is_damage(tmp_path, result):
    path = tmp_path / "result.h5"
    save_result(path, result)
    with h5py.File(path) as file:
        chunk = file["image"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    after = content.index(struct.pack("<Q", chunk.byte_offset)) + 8  # the key that bounds the chunks before it
    content[after : after + 8 * (result.x.ndim + 2)] = bytes(8 * (result.x.ndim + 2))
    path.write_bytes(content)
    with h5py.File(path) as file:
        assert not file["image"][()].any()  # HDF5 says nothing
    with pytest.raises(InputError, match="damaged"):
        load_result(path)


def test_a_result_comes_back_with_its_story(tmp_path, scan, result):
    save_result(tmp_path / "out.h5", result, scan=scan, command="invprob reconstruct scan.h5")
    back = load_result(tmp_path / "out.h5")
    assert torch.equal(back.x, result.x)
    assert (back.status, back.item_status, back.seconds) == ("max_iter", result.item_status, 1.5)
    assert torch.equal(back.n_iter, result.n_iter)
    assert torch.equal(back.history["residual"], result.history["residual"])
    assert (back.settings, back.command) == ({"lam": 0.1}, "invprob reconstruct scan.h5")
    assert isinstance(back.certificate.residual_to_noise, torch.Tensor)
    assert back.certificate.as_dict() == result.of_scan(scan).certificate.as_dict()
    assert back.certificate.notes == ("a note",)
    assert back.doubts == tuple(scan.doubts())
    assert (back.units, back.provenance) == (scan.units, {"source": "made up"})
    assert (back.ndim, back.grid, back.channels) == (2, Grid((0.5, 0.5), scan.units.length), None)
    assert {"python", "torch", "numpy", "invprob"} == set(back.versions)
    with pytest.raises(InputError, match="is a result, not a scan"):
        load_scan(tmp_path / "out.h5")


@pytest.mark.parametrize("key", ["status", "item_status"])
def test_a_status_that_is_not_known_is_refused(invprob, tmp_path, result, key):
    save_result(tmp_path / "out.h5", result)
    word = "weird" if key == "status" else json.dumps(["weird"])
    edit(tmp_path / "out.h5", lambda file: file.attrs.__setitem__(key, word))
    with pytest.raises(InputError, match="the status 'weird' is not known"):
        load_result(tmp_path / "out.h5")
    done = invprob("inspect", "out.h5")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "the status 'weird' is not known" in done.err
    changed = {"status": "weird"} if key == "status" else {"item_status": ("weird",)}
    with pytest.raises(ValueError, match="no status of a result is called 'weird'"):
        save_result(tmp_path / "b.h5", replace(result, **changed))


def test_a_result_without_a_scan_and_without_a_batch(tmp_path, result):
    alone = replace(result, x=result.x[0], n_iter=torch.tensor(3), item_status=("converged",))
    save_result(tmp_path / "out.h5", alone)
    back = load_result(tmp_path / "out.h5")
    assert back.x.shape == (6, 7)
    assert (back.units, back.grid) == (Units(), None)


def test_a_result_knows_which_axes_are_an_item(tmp_path, result):
    volume = replace(result, ndim=3, grid=Grid((2.0, 0.5, 0.5), "mm"), item_status=("converged",), certificate=None)
    save_result(tmp_path / "out.h5", volume)
    back = load_result(tmp_path / "out.h5")
    assert (back.ndim, back.grid, back.certificate) == (3, volume.grid, None)
    assert back.size == "4 x 6 x 7 voxels of 2 x 0.5 x 0.5 mm"
    echoes = replace(result, ndim=3, grid=Grid((1.0, 1.0)), channels="echoes")
    save_result(tmp_path / "out.h5", echoes, overwrite=True)
    back = load_result(tmp_path / "out.h5")
    assert (back.channels, back.space, back.size) == ("echoes", 2, "4 echoes of 6 x 7 pixels")
    assert result.size == "4 images of 6 x 7 pixels"


@pytest.mark.parametrize("part", ["row", "item"])
def test_a_part_of_a_batch_has_its_own_story(tmp_path, part):
    """Before, one image had the status, the iterations and the history of all rows, and so had its file."""
    ends = ("converged", "max_iter", "converged", "stopped", "diverged", "max_iter")
    whole = Result(
        x=torch.rand(2, 3, 6, 7),
        status="diverged",
        item_status=ends,
        n_iter=torch.arange(6).reshape(2, 3),
        seconds=1.0,
        history={"iteration": torch.tensor([1, 2]), "residual": torch.rand(2, 2, 3), "other": torch.rand(2, 3)},
        certificate=Certificate(norm=3.0, residual_to_noise=torch.rand(2, 3, dtype=torch.float64)),
    )
    found = whole.item() if part == "item" else whole.row(1)
    kept = (1, 0) if part == "item" else (1, slice(None))
    assert (found.status, found.item_status) == (("stopped", ends[3:4]) if part == "item" else ("diverged", ends[3:]))
    assert torch.equal(found.x, whole.x[kept])
    assert torch.equal(found.n_iter, whole.n_iter[kept])
    assert torch.equal(found.history["residual"], whole.history["residual"][:, *kept])
    assert all(found.history[name] is whole.history[name] for name in ("iteration", "other"))  # of no batch, or another
    assert torch.equal(found.certificate.residual_to_noise, whole.certificate.residual_to_noise[kept])
    assert found.certificate.norm == 3.0
    save_result(tmp_path / "part.h5", found)
    back = load_result(tmp_path / "part.h5")
    assert (back.item_status, back.n_iter.tolist()) == (found.item_status, found.n_iter.tolist())
    assert back.certificate.as_dict() == found.certificate.as_dict()
    single = whole.row(1).row(0)
    assert (single.item_status, single.item().item_status, single.n_iter.tolist()) == (("stopped",), ("stopped",), 3)
    with pytest.raises(IndexError, match="a single item"):
        single.row(0)


def test_samples_and_spread_come_back(tmp_path, result):
    with_samples = replace(result, samples=torch.rand(5, 4, 6, 7), spread=torch.rand(4, 6, 7))
    save_result(tmp_path / "out.h5", with_samples)
    back = load_result(tmp_path / "out.h5")
    assert torch.equal(back.samples, with_samples.samples)
    assert torch.equal(back.spread, with_samples.spread)
    assert [t.shape for t in (back.item().samples, back.row(1).spread)] == [(5, 6, 7), (6, 7)]
    assert torch.equal(back.item().samples, with_samples.samples[:, 2])
    assert torch.equal(back.row(1).samples, with_samples.samples[:, 1])
    with pytest.raises(ValueError, match="do not fit"):
        save_result(tmp_path / "b.h5", replace(result, spread=torch.rand(4, 6, 6)))
    assert not (tmp_path / "b.h5.partial").exists()


def test_samples_are_written_chunk_by_chunk(tmp_path):
    x, samples = torch.rand(4, 3, 5), torch.rand(2, 4, 3, 5)
    with ResultWriter(tmp_path / "out.h5", (4, 3, 5), torch.float32) as writer:
        for start in (0, 2):
            part = slice(start, start + 2)
            writer.write(start, x[part], samples=samples[:, part], spread=x[part] / 2)
        writer.annotate({"status": "converged", "item_status": ["converged"] * 4})
    back = load_result(tmp_path / "out.h5")
    assert torch.equal(back.samples, samples)
    assert torch.equal(back.spread, x / 2)


@pytest.mark.parametrize("complex_from", [0, 1, 2])
def test_the_file_takes_the_kind_of_the_image(tmp_path, complex_from):
    real, imaginary = torch.rand(2, 4, 3, 5)
    x = torch.complex(real, imaginary)
    x[:complex_from] = x[:complex_from].real + 0j
    with ResultWriter(tmp_path / "out.h5", (4, 3, 5), torch.float32) as writer:
        for i in range(4):
            writer.write(i, x[i : i + 1] if i >= complex_from else x[i : i + 1].real)
        writer.annotate({"status": "converged"})
    back = load_result(tmp_path / "out.h5")
    assert back.x.dtype == torch.complex64
    assert torch.equal(back.x, x)
    assert {"image", "narrow"} & set(h5py.File(tmp_path / "out.h5")) == {"image"}


def test_a_real_image_of_a_complex_operator_stays_real(tmp_path):
    with ResultWriter(tmp_path / "out.h5", (4, 5), torch.complex64) as writer:
        writer.write(0, torch.rand(4, 5))
        writer.annotate({"status": "converged"})
    assert load_result(tmp_path / "out.h5").x.dtype == torch.float32


def test_files_of_version_1_are_read(tmp_path, result):
    save_result(tmp_path / "out.h5", result)

    def older(file):
        for name in ("ndim", "spacing", "channels"):
            file.attrs.pop(name, None)
        file.attrs["version"], file.attrs["pixel_size"] = 1, 0.25
        file.attrs["length_unit"] = "mm"

    edit(tmp_path / "out.h5", older)
    back = load_result(tmp_path / "out.h5")
    assert (back.ndim, back.grid) == (2, Grid((0.25, 0.25), "mm"))
    assert torch.equal(back.x, result.x)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("spacing", [-1.0, 1.0], "spacing are damaged"),
        ("spacing", "wide", "spacing are damaged"),
        ("spacing", [1.0] * 4, "do not fit an image of 3 axes"),
        ("ndim", 5, "do not fit an image of 3 axes"),
        ("ndim", np.nan, "spacing are damaged"),
        ("channels", "odours", "channels odours do not fit"),
        ("certificate", '{"assumptions": [1]}', "certificate is damaged"),
        ("certificate", '{"objective": ["a"]}', "certificate is damaged"),
        ("certificate", "[1]", "certificate is damaged"),
        ("version", 4, "update invprob"),
    ],
)
def test_results_that_do_not_fit_together_are_refused(tmp_path, result, key, value, words):
    save_result(tmp_path / "out.h5", result)
    edit(tmp_path / "out.h5", lambda file: file.attrs.__setitem__(key, value))
    with pytest.raises(InputError, match=words):
        load_result(tmp_path / "out.h5")


def test_blocks_are_on_disk_as_soon_as_they_are_written(tmp_path):
    path, images = tmp_path / "out.h5", torch.rand(5, 3, 4)
    with ResultWriter(path, (5, 3, 4), torch.float32, attributes=run_attributes(None, {}, None)) as writer:
        writer.write(1, images[1:3])
        (tmp_path / "copy.h5").write_bytes((tmp_path / "out.h5.partial").read_bytes())  # what a kill would leave
        assert not path.exists()
        writer.write(0, images[:1])
        writer.write(3, images[3:])
    left = load_result(tmp_path / "copy.h5")
    assert left.status == "incomplete"
    assert torch.equal(left.x[1:3], images[1:3])
    assert left.x[[0, 3, 4]].isnan().all()
    assert torch.equal(load_result(path).x, images)


def interrupted_run(path, blocks, dtype=torch.float32, **options):
    with ResultWriter(path, (5, 8, 8), dtype, **options) as writer:
        for i in range(blocks):
            writer.write(i, torch.full((1, 8, 8), i, dtype=dtype))
        raise KeyboardInterrupt


def test_a_torn_block_costs_only_itself(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(tmp_path / "out.h5", 4)
    partial, twos = tmp_path / "out.h5.partial", np.full(64, 2, "f4").tobytes()
    partial.write_bytes(partial.read_bytes().replace(twos, twos[:100] + bytes(156)))
    image = load_result(partial).x
    assert image[:, 0, 0].isnan().tolist() == [False, False, True, False, True]
    assert torch.equal(image[3], torch.full((8, 8), 3.0))


def test_a_lost_block_of_a_finished_result_is_noticed(tmp_path, result):
    save_result(tmp_path / "out.h5", result)
    with h5py.File(tmp_path / "out.h5", "r+") as file:
        file["image"].write_direct(np.full((4, 6, 7), np.nan, "f4"))
    with pytest.raises(InputError, match="is not what its digest says"):
        load_result(tmp_path / "out.h5")


def test_results_that_are_not_finite_or_long_winded_come_back(tmp_path, result):
    result.x[1] = torch.nan
    certificate = Certificate(data_residual=torch.full((50_000,), 0.125))
    save_result(tmp_path / "out.h5", replace(result, certificate=certificate, history={"objective": torch.zeros(0, 4)}))
    back = load_result(tmp_path / "out.h5")
    assert back.x[1].isnan().all()
    assert (len(back.certificate.data_residual), back.history) == (50_000, {})


def test_a_result_never_replaces_its_scan(exchange, result):
    scan = load_scan(exchange(), axis=14.2)
    with pytest.raises(OutputError, match="is the input"):
        save_result(scan.provenance["source"], result, scan=scan, overwrite=True)


def test_a_failed_run_keeps_what_is_finished_and_only_that(tmp_path):
    out = tmp_path / "out.h5"
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(out, 0)
    assert not any(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(out, 2, torch.complex64)
    image = load_result(tmp_path / "out.h5.partial").x
    assert image[:, 0, 0].isnan().tolist() == [False, False, True, True, True]
    with pytest.raises(OutputError, match=r"left from an interrupted run.*--overwrite"):
        interrupted_run(out, 1)
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(out, 1, overwrite=True)


def test_a_result_with_gaps_is_not_finished(tmp_path):
    with (
        pytest.raises(OutputError, match="1 of 2 slices were never written"),
        ResultWriter(tmp_path / "out.h5", (2, 3, 4), torch.float32) as writer,
    ):
        writer.write(0, torch.ones(1, 3, 4))
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize(("start", "shape"), [(1, (2, 3, 4)), (-1, (1, 3, 4)), (0, (1, 4, 3))])
def test_a_block_must_fit(tmp_path, start, shape):
    with (
        pytest.raises(ValueError, match=r"do not fit a result of \(2, 3, 4\)"),
        ResultWriter(tmp_path / "out.h5", (2, 3, 4), torch.float32) as writer,
    ):
        writer.write(start, torch.ones(shape))


def test_two_runs_do_not_share_an_output(tmp_path):
    with ResultWriter(tmp_path / "out.h5", (1, 3, 4), torch.float32) as writer:
        writer.write(0, torch.ones(1, 3, 4))
        for options in ({"overwrite": True}, {"resume": True}, {}):
            with pytest.raises(OutputError, match="written by another run"):
                ResultWriter(tmp_path / "out.h5", (1, 3, 4), torch.float32, **options)
    assert os.listdir(tmp_path) == ["out.h5"]


def test_bad_outputs_are_refused_before_anything_is_computed(tmp_path):
    old = tmp_path / "old.h5"
    old.write_text("precious")
    (tmp_path / "link.h5").symlink_to(old)
    (tmp_path / "dangling.h5").symlink_to(tmp_path / "nowhere")
    cases = [
        (old, {}, "exists: choose another name, or add --overwrite"),
        (tmp_path, {"overwrite": True}, "not a plain file"),
        (tmp_path / "link.h5", {"overwrite": True}, "not a plain file"),
        (tmp_path / "dangling.h5", {"overwrite": True}, "not a plain file"),
        (old, {"overwrite": True, "sources": [old]}, "is the input, which is never written to"),
        (tmp_path / "no/out.h5", {}, "does not exist: create it first"),
        (old / "out.h5", {}, "cannot be a file"),
        (tmp_path / ("x" * 300), {}, "cannot be a file"),
        (tmp_path / "a\0b", {}, r"a\\x00b.* cannot be a file"),
        ("", {}, "no file name"),
    ]
    for path, options, words in cases:
        with pytest.raises(OutputError, match=words):
            ResultWriter(path, (2, 3, 4), torch.float32, **options)
    with pytest.raises(OutputError, match="nothing to write"):
        ResultWriter(tmp_path / "out.h5", (0, 3, 4), torch.float32)
    assert old.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission"):
        ResultWriter(tmp_path / "out.h5", (2, 3, 4), torch.float32)


def test_a_full_disk_is_noticed_first(tmp_path):
    with pytest.raises(ResourceError, match=r"needs .* MiB"):
        ResultWriter(tmp_path / "out.h5", (2**20, 2**10, 2**10), torch.float32)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), r"a.npy could not be written \(Permission denied\): choose another"),
        (OSError(28, "No space left on device"), r"\(No space left on device\): make room, or choose another name"),
        (RuntimeError("unable to close (errno = 28, 'No space left on device')"), "make room, or choose another name"),
        (RuntimeError("unable to close"), r"\(unable to close\): choose another name"),
    ],
)
def test_what_could_not_be_written_is_told_in_the_words_of_the_system(tmp_path, error, words):
    def refuse(_):
        raise error

    with pytest.raises(ResourceError, match=words):
        write_whole(tmp_path / "a.npy", refuse, overwrite=False)
    assert list(tmp_path.iterdir()) == []


# --- Exports and summaries ---


def test_tiff_carries_size_and_unit(tmp_path):
    images = torch.rand(3, 4, 5)
    save_tiff(tmp_path / "a.tif", images, grid=Grid((0.25, 0.5), "mm"), units=Units.attenuation("mm"))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[0]
        along_x, along_y = (page.tags[f"{axis}Resolution"].value for axis in "XY")
        assert (along_x[0] / along_x[1], along_y[0] / along_y[1]) == pytest.approx((20, 40))
        assert page.resolutionunit == tifffile.RESUNIT.CENTIMETER
        facts = json.loads(page.description)
        assert (facts["image_unit"], facts["spacing"]) == ("1/mm", [0.25, 0.5])
        np.testing.assert_array_equal(file.asarray(), images.numpy())
    save_tiff(tmp_path / "b.tif", images[0])


def test_tiff_of_a_line_is_a_page_of_one_row(tmp_path):
    line = torch.rand(6)
    save_tiff(tmp_path / "a.tif", line, grid=Grid((0.25,), "mm"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), line.numpy()[None])
    turned = torch.polar(line, line)
    save_tiff(tmp_path / "b.tif", turned)
    pages = tifffile.imread(tmp_path / "b.tif")
    np.testing.assert_allclose(pages, torch.stack([turned.abs(), turned.angle()])[:, None])


def test_tiff_of_a_volume_tells_imagej_how_far_apart_the_slices_are(tmp_path):
    volume = torch.rand(3, 4, 5, dtype=torch.float64)
    save_tiff(tmp_path / "a.tif", volume, grid=Grid((2.0, 0.25, 0.5), "mm"), units=Units.attenuation("mm"))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        told, page = file.imagej_metadata, file.pages[0]
        assert (told["spacing"], told["unit"], told["images"]) == (2.0, "mm", 3)
        assert json.loads(told["Info"])["image_unit"] == "1/mm"
        along_x = page.tags["XResolution"].value
        assert along_x[0] / along_x[1] == pytest.approx(2)
        np.testing.assert_array_equal(file.asarray(), volume.float().numpy())


def test_tiff_of_complex_images_holds_magnitudes_then_phases(tmp_path):
    images = torch.randn(3, 4, 5, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    save_tiff(tmp_path / "a.tif", images)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert "magnitude of all, then phase" in json.loads(file.pages[0].description)["pages"]
        assert len(file.pages) == 6
        pages = np.stack([page.asarray() for page in file.pages])
    np.testing.assert_allclose(pages[:3] * np.exp(1j * pages[3:]), images.numpy(), rtol=1e-5)


@pytest.mark.parametrize("damage", [b"{'descr': '<f4', 'x': (((", b"{'descr': 5 5", b"\x00\x01", b"{}"])
def test_a_damaged_header_of_numpy_is_refused(tmp_path, damage):
    header = damage.ljust(117) + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    with pytest.raises(InputError, match=r"a\.npy cannot be read .*: write it again with numpy\.save"):
        read_npy(tmp_path / "a.npy")


def test_npy_keeps_everything(tmp_path):
    x = torch.rand(3, 4, dtype=torch.complex128)
    save_npy(tmp_path / "a.npy", x)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), x.numpy())
    assert os.listdir(tmp_path) == ["a.npy"]


def test_a_summary_tells_what_is_there(exchange):
    summary = scan_summary(exchange())
    assert (summary.layout, summary.rows, summary.hints) == ("Data Exchange", ROWS, ())
    assert (summary.angles.count, summary.angles.largest) == (VIEWS, pytest.approx(175.5))
    assert {d.name: (d.shape, d.unit) for d in summary.datasets}["exchange/theta"] == ((VIEWS,), "degrees")
    assert (summary.values.checked, summary.values.not_finite) == (VIEWS * ROWS * COLUMNS, 0)
    assert summary.geometry.startswith("ParallelBeam")


def test_a_summary_of_a_broken_scan_says_what_is_wrong(exchange):
    summary = scan_summary(exchange(unit=None, **changed("data", (0, 1, slice(3)), np.nan)))
    assert (summary.values.not_finite, summary.geometry, summary.angles) == (3, None, None)
    assert "--angles-unit" in summary.hints[0]
    summary = scan_summary(exchange(data=np.float32(3)))
    assert (summary.values, summary.geometry) == (None, None)


def test_a_summary_doubts_angles_that_the_data_contradict(exchange):
    theta = np.deg2rad(np.random.default_rng(0).permutation(exchange_arrays()["theta"]))
    with_wrong_order = scan_summary(exchange(), angles=theta, angles_unit="radians")
    assert any("centre of mass" in hint for hint in with_wrong_order.hints)
    transposed = true_integrals().transpose(2, 1, 0)
    data = 100 + 40000 * np.exp(-transposed)
    fields = {"data_white": np.full((1, ROWS, VIEWS), 40100.0), "data_dark": np.full((1, ROWS, VIEWS), 100.0)}
    summary = scan_summary(exchange(data=data, theta=np.arange(COLUMNS) * 5.0, **fields))
    assert any("total attenuation varies" in hint for hint in summary.hints)


def test_summaries_of_the_other_layouts(tmp_path, scan):
    save_scan(tmp_path / "scan.h5", scan)
    assert scan_summary(tmp_path / "scan.h5").rows == 4
    save_scan(tmp_path / "one.h5", Scan(scan.operator, scan.data[0]))
    assert scan_summary(tmp_path / "one.h5").rows == 1
    scipy.io.savemat(tmp_path / "a.mat", {"CtDataFull": htc_struct()})
    summary = scan_summary(tmp_path / "a.mat")
    assert (summary.rows, summary.values.largest, summary.units.length) == (1, 1.0, "mm")


# --- Real data ---


@needs_tooth
def test_the_tooth_turns_about_column_296():
    scan = load_scan(TOOTH)
    assert scan.data.shape == (2, 181, 640)
    assert scan.operator.axis_offset + 319.5 == pytest.approx(296, abs=1)
    for row in (0, 1):
        assert find_axis(TOOTH, rows=slice(row, row + 1)).column == pytest.approx(296, abs=1)
    assert scan_summary(TOOTH).hints == ()


@needs_htc
def test_the_htc_geometry_gives_the_official_reconstruction():
    scan = load_scan(HTC)
    assert scan.data.shape == (721, 560)
    official = scipy.io.loadmat(HTC.with_name("htc2022_ta_full_recon_fbp.mat"))["reconFullFbp"]
    assert np.corrcoef(official.ravel(), scan.operator.direct(scan.data).numpy().ravel())[0, 1] > 0.999
