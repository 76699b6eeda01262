"""Readers own their options: one table says what each accepts, and a row of it is all that a new layout takes."""

import re

import h5py
import mri_files
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from invprob.errors import InputError
from invprob.io import READERS, Option, Reader, Stack, load_result, load_scan, open_stack, save_scan, scan_summary
from invprob.io.cfl import save_cfl
from invprob.io.options import ROWS
from invprob.io.readers import known_options
from invprob.operators import Blur, Identity, ParallelBeam
from invprob.scan import Scan

VIEWS, ROW_COUNT, COLUMNS = 24, 5, 20
ANGLES = np.arange(VIEWS) * np.pi / VIEWS
VALUES = {
    "views": slice(0, 20),
    "rows": slice(0, 1),
    "angles": np.rad2deg(ANGLES),
    "angles_unit": "degrees",
    "pixel_size": 0.5,
    "axis": 9.5,
    "image_shape": (12, 12),
    "image_pixel_size": 0.25,
    "rings": True,
    "phase_retrieval": (2.0, 10.0, 20.0),
    "bin": 2,
    "pad": 3,
    "values": "counts",
    "mask": "auto",
    "axes": ("slice", "y", "x"),
    "coils": "maps.npy",
    "noise": 0.1,
    "conjugate": True,
    "reference": "scan",
    "permittivity": 4.0,
    "blur": "gaussian:1",
    "turned": True,
    "boundary": "periodic",
    "factor": 2,
    "slice": 0,
    "flats": "flats.npy",
    "darks": "darks.npy",
    "linked": True,
    "missing": "interpolate",
    "entry": "entry/tomo_entry",
}


def write_exchange(path, **changes):
    """Counts of discs of different weight in each row, about an axis at column 9."""
    s = np.arange(COLUMNS) - 9.0
    discs = [(6.0, s), (3.0, s - 3 * np.cos(ANGLES)[:, None])]
    chords = sum(np.sqrt(np.clip(radius**2 - t**2, 0, None)) for radius, t in discs)
    integrals = 0.05 * chords[:, None, :] * (1 + 0.1 * np.arange(ROW_COUNT))[:, None]
    white = np.full((2, ROW_COUNT, COLUMNS), 40100.0)
    arrays = {"data": 100 + 40000 * np.exp(-integrals), "data_white": white, "theta": np.rad2deg(ANGLES)}
    with h5py.File(path, "w") as file:
        for key, values in ({"data_dark": np.full((1, ROW_COUNT, COLUMNS), 100.0)} | arrays | changes).items():
            file[f"exchange/{key}"] = values
        file["exchange/theta"].attrs["units"] = "degrees"


def write_own(path):
    A = ParallelBeam((12, 12), ANGLES, COLUMNS)
    save_scan(path, Scan(A, torch.rand(3, VIEWS, COLUMNS, generator=torch.Generator().manual_seed(0))))


def write_challenge(path):
    numbers = {"distanceSourceOrigin": 400.0, "distanceSourceDetector": 600.0}
    sizes = {"pixelSizePost": 0.2, "effectivePixelSizePost": 0.1}
    parameters = {"distanceUnit": "mm", "angles": np.arange(VIEWS) * 15.0} | numbers | sizes
    with path.open("wb") as stream:
        scipy.io.savemat(stream, {"CtDataFull": {"sinogram": np.ones((VIEWS, COLUMNS)), "parameters": parameters}})


K_SPACE = np.random.default_rng(1).standard_normal((2, 16, 16)) + 1j  # slices, y, x of one coil


def write_array(path):
    with path.open("wb") as stream:
        np.save(stream, K_SPACE)


def write_pair(path):
    save_cfl(path, K_SPACE.reshape(2, *(1,) * 9, 1, 1, 16, 16))
    path.with_name("scan.hdr").rename(path)
    path.with_name("scan.hdr").symlink_to(path)


def write_fastmri(path):
    mri_files.write_fastmri(path, K_SPACE, mri_files.header(16, 16))


def write_ismrmrd(path):
    slices = [mri_files.lines(K_SPACE[i : i + 1], slice=i) for i in range(2)]
    mri_files.write_ismrmrd(path, slices[0] + slices[1], mri_files.header(16, 16))


def write_multistatic(path):
    path.write_text("1+2i,0.5-1i\n3e-3+1i,1-4e-2i\n")
    places = "0.01,0,0.01\n-0.01,0,0.01\n"
    beside = {"antenna_locations": places, "channel_names": "1,2\n2,1\n", "frequencies": "2e9\n3e9\n"}
    for name, text in beside.items():
        path.with_name(f"{name}.csv").write_text(text)


def exposed():
    """Counts (view, row, column) of the discs above with two flats and a dark, as one stack, and the keys of it."""
    s = np.arange(COLUMNS) - 9.0
    chords = 2 * np.sqrt(np.clip(36 - (s - 2 * np.cos(ANGLES)[:, None]) ** 2, 0, None))
    counts = 100 + 40000 * np.exp(-0.05 * chords[:, None, :] * np.ones((1, ROW_COUNT, 1)))
    fields = [np.full((1, ROW_COUNT, COLUMNS), level) for level in (40100.0, 100.0, 40100.0)]
    stack = np.concatenate([fields[0], fields[1], counts, fields[2]]).round().astype(np.uint16)
    return stack, np.array([1, 2, *[0] * VIEWS, 1])


def write_nxtomo(path, data=None):
    stack, keys = exposed()
    with h5py.File(path, "w") as file:
        base = file.create_group("entry/tomo_entry")
        base["instrument/detector/image_key"] = keys
        base["instrument/detector/data"] = stack if data is None else data
        base["instrument/detector/x_pixel_size"] = 5e-6
        base["instrument/detector/x_pixel_size"].attrs["units"] = "m"
        base["sample/rotation_angle"] = np.rad2deg(np.concatenate([[0, 0], ANGLES, [ANGLES[-1]]]))
        base["sample/rotation_angle"].attrs["units"] = "deg"


def write_projections(path):
    stack, keys = exposed()
    for name, key in (("flats", 1), ("darks", 2)):
        np.save(path.with_name(f"{name}.npy"), stack[keys == key])
    with path.open("wb") as stream:
        np.save(stream, stack[keys == 0])


def write_xtekct(path):
    from test_xtekct import write

    write(path)


def write_picture(path):
    with path.open("wb") as stream:
        Image.fromarray(np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)).save(stream, "PNG")


def write_medical(path):
    from test_medical import dicom

    dicom(path, np.arange(12 * 16, dtype=np.int16).reshape(12, 16))


WRITERS = {
    "invprob-scan": write_own,
    "data-exchange": write_exchange,
    "matlab": write_challenge,
    "fastmri": write_fastmri,
    "ismrmrd": write_ismrmrd,
    "bart": write_pair,
    "nxtomo": write_nxtomo,
    "medical": write_medical,
    "picture": write_picture,
    "xtekct": write_xtekct,
    "projections": write_projections,
    "numpy": write_array,
    "multistatic": write_multistatic,
}


def test_every_layout_of_the_table_is_tested():
    assert WRITERS.keys() == READERS.keys()
    assert VALUES.keys() == known_options().keys()


@pytest.mark.parametrize("option", VALUES)
@pytest.mark.parametrize("name", READERS)
def test_what_a_reader_does_not_accept_is_refused(tmp_path, monkeypatch, name, option):
    monkeypatch.chdir(tmp_path)
    np.save("maps.npy", np.ones((1, 16, 16), "c8"))
    WRITERS[name](tmp_path / "scan")
    given = {key: VALUES[key] for key in ("angles", "angles_unit", "flats", "darks") if name == "projections"}
    accepted = option in {known.name for known in READERS[name].accepts}
    together = {"angles": ["angles_unit"], "turned": ["blur"], "boundary": ["blur"], "phase_retrieval": ["pixel_size"]}
    needed = together.get(option, []) + (["axes"] if name == "numpy" else [])
    options = given | {option: VALUES[option]} | {other: VALUES[other] for other in needed if accepted}
    if accepted:
        assert load_scan(tmp_path / "scan", **options).data.isfinite().all()
        return
    typed = known_options()[option].typed
    options = {option: VALUES[option]}
    with pytest.raises(InputError, match=f"leave out {typed}: {READERS[name].otherwise}"):
        load_scan(tmp_path / "scan", **options)
    with pytest.raises(InputError, match=f"leave out {typed}: "):
        scan_summary(tmp_path / "scan", **options)


def test_an_option_means_the_same_to_all_readers():
    for reader in READERS.values():
        for option in reader.accepts:
            assert option is known_options()[option.name]


def test_an_option_that_no_reader_has_is_a_slip_of_the_pen(tmp_path):
    write_own(tmp_path / "scan")
    with pytest.raises(TypeError, match="no reader has an option 'row'; did you mean rows"):
        load_scan(tmp_path / "scan", row=slice(1))


# --- what an opened file is ---


def test_rows_are_read_some_at_a_time(tmp_path):
    write_exchange(tmp_path / "scan")
    whole = load_scan(tmp_path / "scan", axis=9.0)
    stack = open_stack(tmp_path / "scan", axis=9.0, rows=slice(1, 5))
    assert (stack.rows, len(stack), stack.found) == (range(1, 5), 4, {})
    assert torch.equal(stack.sample.data, whole.data[3:4])
    assert torch.equal(stack.load(stack.rows[1:3]).data, whole.data[2:4])
    assert torch.equal(stack.load().data, whole.data[1:])
    assert [list(rows) for rows in stack.chunks(3)] == [[1, 2, 3], [4]]
    assert stack.load(range(1, 2)).operator is stack.sample.operator  # its tables and norms are made once


def test_the_axis_is_found_once_for_all_rows(tmp_path):
    write_exchange(tmp_path / "scan")
    stack = open_stack(tmp_path / "scan")
    column = re.match(r"column (\S+) \+- \d\.\d\d, found in the data", stack.found["axis"])[1]
    assert float(column) == pytest.approx(9.0, abs=0.1)
    assert stack.load(range(1)).operator.axis_offset == stack.sample.operator.axis_offset


def test_without_an_axis_rows_can_be_looked_at_only(tmp_path):
    write_exchange(tmp_path / "scan", theta=np.arange(VIEWS) * 2.0)
    with h5py.File(tmp_path / "scan", "r+") as file:
        file["exchange/theta"].attrs["units"] = "degrees"
    stack = open_stack(tmp_path / "scan")
    assert stack.found == {"axis": "not found"}
    assert stack.sample.operator.axis_offset == 0
    with pytest.raises(InputError, match="finding the axis takes 180: give the axis with --axis"):
        stack.load()
    summary = scan_summary(tmp_path / "scan")
    assert "--axis" in summary.hints[0]
    assert (summary.rows, summary.found) == (ROW_COUNT, {"axis": "not found"})


def test_the_sample_is_the_middle_row_or_else_the_first(tmp_path):
    write_exchange(tmp_path / "scan")
    with h5py.File(tmp_path / "scan", "r+") as file:
        file["exchange/data"][3, 2, 7] = np.nan
    stack = open_stack(tmp_path / "scan", axis=9.0)
    assert stack.sample.provenance["rows"] == "0 to 0"
    assert open_stack(tmp_path / "scan", axis=9.0, rows=slice(3, 5)).sample.provenance["rows"] == "4 to 4"
    with pytest.raises(InputError, match="first at view 3, row 2, column 7"):
        stack.load()


def test_a_single_item_is_read_once_and_warned_of_each_time(tmp_path):
    A = ParallelBeam((8, 8), np.append(ANGLES, ANGLES[0]), COLUMNS)
    save_scan(tmp_path / "scan", Scan(A, torch.zeros(VIEWS + 1, COLUMNS)))
    stack = open_stack(tmp_path / "scan")
    assert (stack.rows, len(stack), list(stack.chunks(4))) == (None, 1, [None])
    assert stack.load() is stack.sample
    assert any("1 of 25 angles occur more than once" in doubt for doubt in stack.doubts())


# --- a new layout ---

FRAME = Option("frame", "which of the frames", "NUMBER", int)


def open_frames(path, options):
    frames = np.load(path)["frames"]

    def read(rows):
        image = torch.from_numpy(frames[options.get("frame", 0)])
        return Scan(Identity(image.shape[-2:]), image if rows is None else image[rows.start : rows.stop])

    return Stack(path, "frames", range(*options.get("rows", slice(None)).indices(frames.shape[1])), read)


FRAMES = Reader(
    layout="frames",
    about="an archive of NumPy with frames",
    accepts=(ROWS, FRAME),
    otherwise="frames are plain pictures",
    recognises=lambda probe: probe.head.startswith(b"PK"),
    open=open_frames,
)


@pytest.fixture
def frames(tmp_path, monkeypatch):
    monkeypatch.setitem(READERS, "frames", FRAMES)
    images = np.random.default_rng(0).random((2, 3, 6, 7), dtype=np.float32)
    np.savez(tmp_path / "a.npz", frames=images)
    return images


def test_one_row_of_the_table_adds_a_reader(invprob, frames, tmp_path):
    done = invprob("reconstruct", "a.npz", "--read", "frame=1", "--method", "direct", "--rows", "1:3")
    assert (done.code, done.err) == (0, "")
    image = load_result(tmp_path / "a_direct.h5").x
    np.testing.assert_allclose(image.numpy(), frames[1, 1:3], atol=1e-5)
    np.testing.assert_array_equal(load_scan("a.npz", frame=1).data.numpy(), frames[1])
    for command in ("inspect", "check"):
        done = invprob(command, "a.npz", "--read", "frame=1")
        assert (done.code, done.err) == (0, "")
        assert "a.npz (frames" in done.out
    listed = invprob("list").out
    assert "an archive of NumPy with frames" in listed
    assert re.search(r"frame +NUMBER +which of the frames", listed)
    assert "known are invprob scan" in invprob("inspect", __file__).err


def test_options_of_others_are_refused_by_name(invprob, frames, tmp_path):
    done = invprob("reconstruct", "a.npz", "--axis", "3")
    assert (done.code, done.err) == (3, "error: leave out --axis: frames are plain pictures\n")
    write_own(tmp_path / "own.h5")
    done = invprob("reconstruct", "own.h5", "--read", "frame=1")
    assert (done.code, done.err) == (3, "error: leave out --read frame: the file holds its own geometry\n")
    done = invprob("reconstruct", "a.npz", "--read", "frame=one")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--read frame: invalid literal" in done.err


# --- on the command line ---

WRONG = {
    "unknown": (["--read", "axs=3"], "no reader has an option 'axs'; did you mean axis"),
    "no value": (["--read", "axis"], "is not KEY=VALUE, as in axis=296"),
    "twice": (["--read", "axis=3", "--read", "axis=4"], "axis is given twice"),
    "by both": (["--read", "axis=3", "--axis", "4"], "axis is given twice: by --axis and by --read"),
    "no number": (["--read", "axis=left"], "--axis: 'left' is not a number"),
    "no slice": (["--read", "rows=3"], "--rows: '3' is not START:STOP"),
    "neither": (["--read", "rings=yes"], "--rings: 'yes' is neither true nor false"),
    "no unit": (["--read", "angles=0:1:2"], "--angles needs a unit"),
}


@pytest.mark.parametrize("command", ["reconstruct", "check"])
@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_what_no_reader_understands_is_2(invprob, tmp_path, command, arguments, words):
    write_exchange(tmp_path / "x.h5")
    done = invprob(command, "x.h5", *arguments)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert words in done.err


def test_read_is_what_the_flags_are_short_for(invprob, tmp_path):
    write_exchange(tmp_path / "x.h5")
    texts = {
        "views": "::2",
        "rows": "1:4",
        "angles": f"0:{180 - 180 / VIEWS}:{VIEWS}",
        "angles-unit": "deg",
        "pixel-size": "0.5",
        "axis": "9",
        "image-shape": "40x44",
        "phase-retrieval": "2:10:20",
    }
    accepted = READERS["data-exchange"].accepts
    assert {name.replace("-", "_") for name in texts} | {"rings"} == {o.name for o in accepted if o.flag}
    flags = [word for name, text in texts.items() for word in (f"--{name}", text)]
    read = [word for name, text in texts.items() for word in ("--read", f"{name}={text}")]
    results = []
    for arguments in ([*flags, "--rings"], [*read, "--read", "rings=true"], flags):
        done = invprob("reconstruct", "x.h5", "--method", "fbp", "--overwrite", *arguments)
        assert (done.code, done.err) == (0, "")
        results.append(load_result("x_fbp.h5"))
    assert results[0].x.shape == (3, 40, 44)
    assert torch.equal(results[0].x, results[1].x)
    assert results[0].provenance == results[1].provenance
    assert not torch.equal(results[0].x, results[2].x)


def test_read_reaches_inspect_and_check(invprob, tmp_path):
    write_exchange(tmp_path / "x.h5")
    flags = ["--angles", "0:88:24", "--angles-unit", "deg"]
    read = ["--read", "axis=9", "--read", "angles=0:88:24", "--read", "angles_unit=deg"]
    for command, short in (("check", [*flags, "--axis", "9"]), ("inspect", [*flags, "--read", "axis=9"])):
        first, second = invprob(command, "x.h5", *short), invprob(command, "x.h5", *read)
        assert first.code == second.code == 0
        assert first.err == second.err
        assert "cover 91.83 degrees" in first.err


def test_a_blur_takes_no_views(invprob, tmp_path):
    save_scan(tmp_path / "blur.h5", Scan(Blur((8, 8), torch.ones(3, 3) / 9), torch.rand(8, 8)))
    done = invprob("reconstruct", "blur.h5", "--read", "views=0:3")
    assert (done.code, done.err) == (3, "error: leave out --views: a Blur has no views\n")
