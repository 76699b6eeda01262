"""Readers own their options: one table says what each accepts, and a row of it is all that a new layout takes."""

import re
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from layout_files import ANGLES, COLUMNS, ROW_COUNT, VIEWS, WRITERS, needed, write_exchange, write_own

from invprob.errors import InputError
from invprob.io import READERS, Option, Reader, Stack, load_result, load_scan, open_stack, save_scan, scan_summary
from invprob.io.mri_options import OFF_THE_GRID, TRAJECTORY, TRAJECTORY_UNIT
from invprob.io.options import ROWS
from invprob.io.readers import known_options
from invprob.operators import Blur, Identity, ParallelBeam
from invprob.scan import Scan

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
    "frames": "slice",
    "reference": "scan",
    "permittivity": 4.0,
    "frequencies": np.linspace(9e9, 11e9, 12),
    "distance": 20.0,
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
    "trajectory": "trajectory.npy",
    "trajectory_unit": "rad/pixel",
    "matrix": (16, 16),
}
OF_TRAJECTORIES = {option.name for option in (TRAJECTORY, *OFF_THE_GRID)}


def test_every_layout_of_the_table_is_tested():
    assert WRITERS.keys() == READERS.keys()
    assert VALUES.keys() == known_options().keys()


@pytest.mark.parametrize("option", VALUES)
@pytest.mark.parametrize("name", READERS)
def test_what_a_reader_does_not_accept_is_refused(tmp_path, monkeypatch, name, option):
    monkeypatch.chdir(tmp_path)
    np.save("maps.npy", np.ones((1, 16, 16), "c8"))
    np.save("trajectory.npy", np.zeros((16, 16, 2)))
    WRITERS[name](tmp_path / "scan")
    typed = {key: text for key, text in needed(name, tmp_path).items() if key != "axis"}
    given = {key: known_options()[key].parse(text) for key, text in typed.items()}
    accepted = option in {known.name for known in READERS[name].accepts}
    together = {"angles": ["angles_unit"], "turned": ["blur"], "boundary": ["blur"], "phase_retrieval": ["pixel_size"]}
    value = given.get(option, VALUES[option])
    options = given | {option: value} | {other: VALUES[other] for other in together.get(option, []) if accepted}
    if accepted and option in OF_TRAJECTORIES and TRAJECTORY_UNIT in READERS[name].accepts:
        words = "trajectory" if option == "trajectory" else "the acquisitions are Cartesian|it goes with"
        with pytest.raises(InputError, match=words):
            load_scan(tmp_path / "scan", **options)  # on the grid; tests/test_off_grid_files.py has those that are not
        return
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


def test_an_opened_file_knows_who_reads_it(invprob, frames, monkeypatch):
    assert (stack := open_stack("a.npz", rows=slice(0, 1))).reader is FRAMES
    assert stack.accepts == (ROWS, FRAME)
    asked = []
    monkeypatch.setitem(READERS, "frames", replace(FRAMES, recognises=lambda _: asked.append("frames") or True))
    assert invprob("check", "a.npz").code == 0
    assert asked == ["frames"]  # recognised once


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
