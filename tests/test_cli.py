"""The command line as a user meets it: what it does, what it says, and how it ends."""

import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.scans import stack
from invprob import methods
from invprob.cli import console, parse
from invprob.cli.simulate_command import Phantom
from invprob.grid import Grid
from invprob.io import load_result, load_scan, open_stack, save_scan
from invprob.operators import ParallelBeam
from invprob.phantoms import random_ellipses
from invprob.scan import Scan, Units
from invprob.stack import ClusterReconstruction, StackReconstruction, memory, reconstruction

ROOT = Path(__file__).parents[1]
SIZE, VIEWS = 24, 16


def make_scan(rows=0, noise=0.3):
    A = ParallelBeam((SIZE, SIZE), np.arange(VIEWS) * np.pi / VIEWS, 36, pixel_size=2.0, detector_size=2.0)
    bodies = [random_ellipses(SIZE * 1.0, seed) for seed in range(max(1, rows))]
    data = torch.stack([body.line_integrals(*A.rays()) for body in bodies]).float()
    truth = torch.stack([body.image((SIZE, SIZE), pixel_size=2.0) for body in bodies])
    data += noise * torch.randn(data.shape, generator=torch.Generator().manual_seed(0))
    if not rows:
        data, truth = data[0], truth[0]
    return Scan(A, data, noise, truth, units=Units.attenuation("mm"), provenance={"origin": "made up"})


@pytest.fixture
def scan_file(tmp_path):
    save_scan(tmp_path / "scan.h5", make_scan())
    return "scan.h5"


@pytest.fixture
def stack_file(tmp_path):
    save_scan(tmp_path / "stack.h5", make_scan(rows=5))
    return "stack.h5"


def write_exchange(path, rows=5, unit="degrees", **changes):
    """Write counts, flats and darks of a stack in the Data Exchange layout, some of them replaced."""
    scan = make_scan(rows)
    counts = 100 + 40000 * np.exp(-0.02 * scan.data.numpy().swapaxes(0, 1))
    fields = {"data_white": np.full((2, rows, 36), 40100.0), "data_dark": np.full((2, rows, 36), 100.0)}
    arrays = {"data": counts, "theta": np.arange(VIEWS) * 180.0 / VIEWS} | fields | changes
    with h5py.File(path, "w") as file:
        for key, values in arrays.items():
            file[f"exchange/{key}"] = values
        if unit:
            file["exchange/theta"].attrs["units"] = unit


def with_nan(rows=5, at=(3, 4, 7)):
    counts = np.full((VIEWS, rows, 36), 40100.0)
    counts[:, :, 6:30] = 20000.0
    counts[at] = np.nan
    return counts


def is_one_line(text):
    return text.startswith("error: ") and text.count("\n") == 1 and "Traceback" not in text


# --- reconstruct ---


def test_a_scan_becomes_a_result_beside_the_user(invprob, scan_file, tmp_path):
    done = invprob("reconstruct", scan_file, "--method", "least-squares")
    assert (done.code, done.err) == (0, "")
    stored = load_result(tmp_path / "scan_least-squares.h5")
    assert stored.x.shape == (SIZE, SIZE)
    assert stored.status == "converged"
    assert stored.command == "invprob reconstruct scan.h5 --method least-squares"
    assert (stored.units, stored.grid) == (Units.attenuation("mm"), Grid((2.0, 2.0), "mm"))
    assert stored.provenance["digest"].startswith("sha256:")
    assert stored.history["residual"].ndim == 1
    for words in ("in mm, image in 1/mm", "strength 0.", "verdict", "times the noise", "scan_least-squares.h5"):
        assert words in done.out


def test_the_default_method_is_tv(invprob, scan_file, tmp_path):
    done = invprob("reconstruct", scan_file, "--strength", "0.01", "--set", "max_iter=5")
    assert done.code == 0
    assert load_result(tmp_path / "scan_tv.h5").settings["max_iter"] == 5


def test_the_other_files(invprob, scan_file, tmp_path):
    wanted = ["--png", "a.png", "--tiff", "a.tif", "--npy", "a.npy", "--report", "a.html"]
    done = invprob("reconstruct", scan_file, "--method", "fbp", "-o", "out.h5", *wanted)
    assert done.code == 0
    image = load_result(tmp_path / "out.h5").x.numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), image)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), image)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (SIZE, SIZE)
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert all(name in done.out for name in ("out.h5", "a.png", "a.tif", "a.npy", "a.html"))


def test_what_was_found_and_assumed_is_said(invprob, tmp_path):
    write_exchange(tmp_path / "x.h5")
    done = invprob("reconstruct", "x.h5", "--method", "fbp")
    assert done.code == 0
    assert re.search(r"axis +column 17\.\d\d \+- \d\.\d\d, found in the data \(--axis COLUMN", done.out)
    assert "lengths in pixels, as the file gives no pixel size (--pixel-size MM does)" in done.out
    assert "noise     not known" in done.out
    assert re.search(r"column 17\.\d\d, found", load_result(tmp_path / "x_fbp.h5").provenance["axis"])


def test_the_options_of_the_reader_arrive(invprob, tmp_path):
    write_exchange(tmp_path / "x.h5", unit=None, theta=np.full(VIEWS, np.nan))
    reading = ["--views", "::2", "--rows", "1:3", "--angles", "0:168.75:16", "--angles-unit", "deg"]
    more = ["--pixel-size", "0.5", "--axis", "17.5", "--image-shape", "20x30"]
    done = invprob("reconstruct", "x.h5", "--method", "fbp", *reading, *more)
    assert done.code == 0
    assert "8 angles over 157.5 degrees" in done.out
    stored = load_result(tmp_path / "x_fbp.h5")
    assert (tuple(stored.x.shape), stored.grid) == ((2, 20, 30), Grid((0.5, 0.5), "mm"))


def test_a_bad_row_that_is_not_asked_for_does_no_harm(invprob, tmp_path):
    write_exchange(tmp_path / "x.h5", data=with_nan(at=(3, 2, 7)))
    assert invprob("reconstruct", "x.h5", "--method", "fbp", "--axis", "17.5", "--rows", "3:5").code == 0
    assert invprob("reconstruct", "x.h5", "--method", "fbp", "--axis", "17.5", "--rows", "2:5", "-o", "y.h5").code == 3


# --- stacks ---


@pytest.mark.parametrize("method", ["fbp", "least-squares"])
def test_chunks_make_no_difference(invprob, stack_file, tmp_path, monkeypatch, method):
    assert invprob("reconstruct", stack_file, "--method", method, "-o", "whole.h5").code == 0
    monkeypatch.setattr(memory, "_MAX_ROWS", 2)
    done = invprob("reconstruct", stack_file, "--method", method, "-o", "parts.h5")
    assert done.code == 0
    assert "rows 2 to 3:" in done.out
    whole, parts = load_result(tmp_path / "whole.h5"), load_result(tmp_path / "parts.h5")
    torch.testing.assert_close(parts.x, whole.x, rtol=1e-5, atol=1e-5)
    assert parts.item_status == whole.item_status
    assert torch.equal(parts.n_iter, whole.n_iter)
    assert len(parts.certificate.data_residual) == 5
    # a few views judge direct images of several rows, all of them the row that comes alone
    near = 0.03 if method == "fbp" else 1e-4
    torch.testing.assert_close(parts.certificate.data_residual, whole.certificate.data_residual, rtol=near, atol=0)
    if method != "fbp":
        assert len(parts.settings["strength"]) == 5
        assert parts.history["residual"].shape[1] == 5


def test_a_bad_row_late_in_a_stack_costs_its_chunk_only(invprob, tmp_path, monkeypatch):
    write_exchange(tmp_path / "x.h5", data=with_nan())
    monkeypatch.setattr(memory, "_MAX_ROWS", 1)
    done = invprob("reconstruct", "x.h5", "--method", "fbp", "--axis", "17.5", "--tiff", "x.tif", "--png", "x.png")
    assert done.code == 6
    assert is_one_line(done.err)
    assert "rows 4 to 4: left out" in done.err
    assert "first at view 3, row 4, column 7" in done.err
    assert not (tmp_path / "x_fbp.h5").exists()
    image = load_result(tmp_path / "x_fbp.h5.partial").x
    assert image.isnan().all(dim=(1, 2)).tolist() == [False] * 4 + [True]
    assert "the other files are written when no row is missing" in done.out
    assert not (tmp_path / "x.tif").exists()
    assert not (tmp_path / "x.png").exists()
    shown = invprob("inspect", "x_fbp.h5.partial")
    assert "1 of 5 rows: There is no image" in shown.out


def test_the_memory_is_respected(invprob, stack_file, monkeypatch):
    per_row = 4 * (memory._IMAGES * SIZE**2 + memory._SINOGRAMS * VIEWS * 36)
    monkeypatch.setattr(memory, "available_memory", lambda: (memory._FIXED + 2.7 * per_row) / memory.SHARE)
    assert "2 at a time" in invprob("reconstruct", stack_file, "--method", "fbp").out
    done = invprob("reconstruct", stack_file, "--method", "fbp", "-o", "b.h5", "--max-memory", "0.01")
    assert done.code == 4
    assert is_one_line(done.err)
    assert "raise --max-memory" in done.err


# --- how it ends ---


def fake_progress(monkeypatch, status="converged", interrupt_in_call=0):
    """Replace the methods by one that ends with a status, or is interrupted in its n-th call."""
    calls = []

    def fake(scan, method, **settings):
        calls.append(method)
        final = replace(methods.reconstruct(scan, "fbp"), status=status, item_status=(status,) * len(scan.data))
        yield methods.Progress("thinking", 1, 2, 0.5, lambda: replace(final, status="stopped"))
        if len(calls) == interrupt_in_call:
            raise KeyboardInterrupt
        yield methods.Progress("thinking", 2, 2, 0.1, lambda: final)

    monkeypatch.setattr(reconstruction, "followed", fake)


def test_divergence_is_5_and_the_best_image_is_kept(invprob, stack_file, tmp_path, monkeypatch):
    fake_progress(monkeypatch, "diverged")
    done = invprob("reconstruct", stack_file)
    assert done.code == 5
    assert is_one_line(done.err)
    assert "Do not rely on this image" in done.out
    stored = load_result(tmp_path / "stack_tv.h5")
    assert stored.status == "diverged"
    assert stored.x.isfinite().all()


def test_an_interrupted_stack_keeps_what_it_has_and_says_how_to_go_on(invprob, stack_file, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_MAX_ROWS", 2)
    fake_progress(monkeypatch, interrupt_in_call=2)
    done = invprob("reconstruct", stack_file)
    assert done.code == 130
    assert "2 of 5 rows are finished; go on with the same command and --resume" in done.err
    assert not (tmp_path / "stack_tv.h5").exists()
    image = load_result(tmp_path / "stack_tv.h5.partial").x
    assert image.isnan().all(dim=(1, 2)).tolist() == [False] * 4 + [True]


def test_the_command_that_is_told_goes_on(invprob, stack_file, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_MAX_ROWS", 2)
    fake_progress(monkeypatch, interrupt_in_call=2)
    others = ("--png", "a.png", "--report", "a.html", "--npy", "a.npy")
    done = invprob("reconstruct", stack_file, *others)
    assert (done.code, "a.png" in done.out) == (130, False)
    assert sorted(os.listdir(tmp_path)) == [stack_file, "stack_tv.h5.journal", "stack_tv.h5.partial"]
    done = invprob("reconstruct", stack_file, *others, "--resume")
    assert (done.code, done.err) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["a.html", "a.npy", "a.png", stack_file, "stack_tv.h5"]


def test_an_interruption_before_there_is_anything_leaves_nothing(invprob, scan_file, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(reconstruction, "followed", interrupted)
    done = invprob("reconstruct", scan_file)
    assert (done.code, done.err) == (130, "error: interrupted before there was an image: nothing was written\n")
    assert os.listdir(tmp_path) == ["scan.h5"]


def start(*arguments, cwd, **options):
    """Start the real program; its output is a pipe."""
    program = [sys.executable, "-c", "import sys; from invprob.cli.main import main; sys.exit(main())"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*program, *arguments], cwd=cwd, **{**pipes, **options})


def wait_for(process, word):
    for line in process.stdout:
        if line.startswith(word):
            return
    pytest.fail(f"no line with {word}: {process.stderr.read()}")


ENDLESS = ["--strength", "0.001", "--set", "tol=0", "--set", "max_iter=1000000"]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_the_best_image_so_far(tmp_path, sent, code):
    save_scan(tmp_path / "scan.h5", make_scan())
    with start("reconstruct", "scan.h5", *ENDLESS, "--report", "a.html", cwd=tmp_path) as process:
        wait_for(process, "progress")
        process.send_signal(sent)
        out, err = process.communicate(timeout=100)
    assert process.returncode == code
    assert err == "error: interrupted: this is the best image so far\n"
    assert "scan_tv.h5" in out
    stored = load_result(tmp_path / "scan_tv.h5")
    assert stored.status == "stopped"
    assert stored.x.shape == (SIZE, SIZE)
    assert stored.x.isfinite().all()
    assert (tmp_path / "a.html").exists()


def test_a_run_outlives_the_reader_of_its_words(tmp_path):
    save_scan(tmp_path / "scan.h5", make_scan())
    with start("reconstruct", "scan.h5", "--method", "fbp", cwd=tmp_path) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, "")
    assert (tmp_path / "scan_fbp.h5").exists()


# --- bad input: 3 ---


def content(text):
    return lambda path: path.write_bytes(text)


def truncated(path):
    write_exchange(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def exchange(**changes):
    return lambda path: write_exchange(path, **changes)


BAD_FILES = {
    "missing": (lambda path: None, "does not exist: check the path"),
    "a directory": (lambda path: path.mkdir(), "is a directory"),
    "empty": (content(b""), r"error: bad.h5 is empty \(0 bytes\): copy it again$"),
    "a pipe": (os.mkfifo, "is a pipe, no file: copy"),
    "not HDF5": (content(b"GIF89a" + bytes(100)), "is not a scan this program can read"),
    "truncated": (truncated, "is cut short"),
    "one NaN": (exchange(data=with_nan()), "in 1 of 2880 places, first at view 3, row 4, column 7"),
    "too few angles": (exchange(theta=np.arange(9.0)), r"9 angles for exchange/data of shape \(16, 5, 36\)"),
    "no unit": (exchange(unit=None), "no unit: add --angles-unit"),
    "zero flat": (exchange(data_white=np.zeros((2, 5, 36))), "not above the dark field"),
    "negative counts": (exchange(data=np.full((VIEWS, 5, 36), -5.0)), "are zero or negative"),
}


@pytest.mark.parametrize("command", ["reconstruct .", "check .", "inspect .", "reconstruct ''", "inspect /"])
def test_a_folder_without_a_name_is_3_in_one_line(invprob, tmp_path, command):
    (tmp_path / "words.txt").write_text("no scan")
    done = invprob(*shlex.split(command))
    assert (done.code, is_one_line(done.err), "is a directory with" in done.err) == (3, True, True)


def test_a_page_with_the_scan_of_another_is_2_in_one_line(invprob, scan_file, tmp_path):
    assert invprob("reconstruct", scan_file, "--method", "fbp", "-o", "a.h5").code == 0
    stack(tmp_path / "b.h5", rows=1, size=8)
    done = invprob("show", "a.h5", "--scan", "b.h5", "--report", "a.html")
    assert (done.code, is_one_line(done.err), "scan that it was made from" in done.err) == (2, True, True)
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize("make", [StackReconstruction, partial(ClusterReconstruction, cluster="local")])
@pytest.mark.parametrize("limit", [float("nan"), float("inf"), 1e300, -1.0, "4"])
def test_a_limit_of_the_memory_is_a_number(scan_file, tmp_path, monkeypatch, make, limit):
    monkeypatch.chdir(tmp_path)
    source = open_stack(scan_file) if make is StackReconstruction else scan_file
    with pytest.raises(ValueError, match="max_memory is a number of GiB"):
        make(source, "out.h5", method="fbp", max_memory=limit)


@pytest.mark.parametrize(("make", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_are_3_in_one_line(invprob, tmp_path, make, words):
    make(tmp_path / "bad.h5")
    before = sorted(os.listdir(tmp_path))
    done = invprob("reconstruct", "bad.h5", "--axis", "17.5")
    assert done.code == 3
    assert is_one_line(done.err)
    assert re.search(words, done.err)
    assert "bad.h5" in done.err
    assert sorted(os.listdir(tmp_path)) == before


def test_a_result_is_no_scan(invprob, scan_file):
    invprob("reconstruct", scan_file, "--method", "fbp")
    done = invprob("reconstruct", "scan_fbp.h5")
    assert done.code == 3
    assert "is a result, not a scan" in done.err


def test_names_cannot_control_the_terminal(invprob):
    done = invprob("reconstruct", "a\x1b[2Jb.h5")
    assert done.code == 3
    assert "\x1b" not in done.err


# --- usage: 2 ---

BAD_USAGE = {
    "no such command": ("reconstrut scan.h5", "'reconstruct'"),
    "no such option": ("reconstruct scan.h5 --metod fbp", "did you mean --method"),
    "no file": ("reconstruct", "reconstruct --help"),
    "unknown method": ("reconstruct scan.h5 --method tvv", "no method is called 'tvv'; did you mean tv?"),
    "code as a method": ("reconstruct scan.h5 --method os:system", "'os:system' is code: say --plugin os, too"),
    "unknown setting": ("reconstruct scan.h5 --set max_iters=3", "no setting 'max_iters'; did you mean max_iter"),
    "setting of another method": ("reconstruct scan.h5 --method fbp --strength 1", "no setting 'strength'"),
    "no value": ("reconstruct scan.h5 --set max_iter", "is not KEY=VALUE"),
    "set twice": ("reconstruct scan.h5 --set tol=1 --set tol=2", "tol is given twice"),
    "two strengths": ("reconstruct scan.h5 --strength 1 --set strength=2", "given twice"),
    "negative strength": ("reconstruct scan.h5 --strength -1", "neither auto nor a number >= 0"),
    "NaN strength": ("reconstruct scan.h5 --strength nan", "neither auto nor a number >= 0"),
    "bad setting": ("reconstruct scan.h5 --strength 1 --set max_iter=0", "max_iter"),
    "setting of another type": ("reconstruct scan.h5 --set max_iter=many", "max_iter of tv is a number like 300"),
    "unknown window": ("reconstruct scan.h5 --method fbp --set window=box", "window"),
    "views": ("reconstruct scan.h5 --views 3", "is not START:STOP"),
    "views backwards": ("reconstruct scan.h5 --views 9:0:-1", "step -1"),
    "angles": ("reconstruct scan.h5 --angles 0:180 --angles-unit deg", "is not FIRST:LAST:COUNT"),
    "angles without unit": ("reconstruct scan.h5 --angles 0:180:60", "--angles needs a unit"),
    "image shape": ("reconstruct scan.h5 --image-shape 512", "is not HxW"),
    "pixel size": ("reconstruct scan.h5 --pixel-size -1", "not a number greater than 0"),
    "memory": ("reconstruct scan.h5 --max-memory 0", "not a number greater than 0"),
    "memory beyond all machines": ("reconstruct scan.h5 --max-memory 1e300", "greater than 0, and at most 1e.09"),
    "memory of a check": ("check scan.h5 --max-memory 1e300", "greater than 0, and at most 1e.09"),
    "output in no directory": ("reconstruct scan.h5 --method fbp -o no/a.h5", "does not exist: create it first"),
    "output is a directory": ("reconstruct scan.h5 --method fbp -o . --overwrite", "no file name|not a plain file"),
    "output is the input": ("reconstruct scan.h5 --method fbp -o scan.h5 --overwrite", "is the input"),
    "picture is the input": ("reconstruct scan.h5 --method fbp --png scan.h5 --overwrite", "its name denies"),
    "picture in no directory": ("reconstruct scan.h5 --method fbp --png no/a.png", "create it first"),
    "two outputs in one": ("reconstruct scan.h5 --method fbp --png a --tiff a", "the same name"),
    "noise and photons": ("simulate a.h5 --noise 1 --photons 10", "exclude each other"),
    "negative noise": ("simulate a.h5 --noise -1", "--noise"),
    "too many turns": ("simulate a.h5 --arc 2000", "greater than 0, and at most 720"),
    "noise beyond single precision": ("simulate a.h5 --noise 1e300", "--noise"),
    "endless noise": ("simulate a.h5 --noise inf", "--noise"),
    "no photons": ("simulate a.h5 --geometry fan --photons 1e-300", "greater than 0.001"),
    "seed beyond all": ("simulate a.h5 --seed 99999999999999999999", "--seed"),
    "more than all lines": ("simulate a.h5 --geometry cartesian --acceleration 0.5", "acceleration is at least 1"),
    "a number next to none": ("simulate a.h5 --geometry cartesian --acceleration 7e-319", "acceleration is at least 1"),
    "no lines": ("simulate a.h5 --size 32 --geometry cartesian --acceleration 1e9", "none of 32 lines"),
    "decibels": ("simulate a.h5 --phantom radar-target --geometry x-array --snr 1e300", "--snr"),
    "threads": ("train denoiser --out t --threads 99999999999", "--threads"),
    "unknown phantom": ("simulate a.h5 --phantom brain", "'shepp-logan'"),
    "scan exists": ("simulate scan.h5", "scan.h5 exists"),
}


@pytest.mark.parametrize(("line", "words"), BAD_USAGE.values(), ids=BAD_USAGE)
def test_bad_usage_is_2_in_one_line(invprob, scan_file, tmp_path, line, words):
    before = (tmp_path / "scan.h5").read_bytes()
    done = invprob(*shlex.split(line))
    assert done.code == 2
    assert is_one_line(done.err)
    assert re.search(words, done.err)
    assert os.listdir(tmp_path) == ["scan.h5"]
    assert (tmp_path / "scan.h5").read_bytes() == before


def test_nothing_is_overwritten_unasked(invprob, scan_file, tmp_path):
    for name in ("scan_fbp.h5", "a.png"):
        (tmp_path / name).write_text("precious")
    done = invprob("reconstruct", scan_file, "--method", "fbp")
    assert (done.code, "add --overwrite" in done.err) == (2, True)
    done = invprob("reconstruct", scan_file, "--method", "fbp", "-o", "b.h5", "--png", "a.png")
    assert (done.code, "a.png exists" in done.err) == (2, True)
    assert not (tmp_path / "b.h5").exists()
    assert (tmp_path / "a.png").read_text() == "precious"
    assert invprob("reconstruct", scan_file, "--method", "fbp", "--png", "a.png", "--overwrite").code == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_2(invprob, scan_file, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    done = invprob("reconstruct", scan_file, "--method", "fbp", "-o", "locked/a.h5")
    assert (done.code, "no permission" in done.err) == (2, True)


# --- the program itself ---


def test_no_arguments_show_the_help(invprob):
    done = invprob()
    assert (done.code, done.err) == (2, "")
    assert "reconstruct" in done.out


def test_help_and_version(invprob):
    assert invprob("--version").out == "invprob 0.1.0\n"
    for command in ("reconstruct", "inspect", "simulate", "list"):
        done = invprob(command, "--help")
        assert (done.code, done.err) == (0, "")
        assert "--debug" in done.out


def test_a_bug_is_one_line_and_a_traceback_on_request(invprob, scan_file, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("what\nnow")

    monkeypatch.setattr(reconstruction, "followed", broken)
    done = invprob("reconstruct", scan_file)
    assert done.code == 1
    assert is_one_line(done.err)
    assert "internal error, ZeroDivisionError: what now" in done.err
    assert "Traceback" in invprob("reconstruct", scan_file, "--debug").err


def test_no_memory_is_4(invprob, scan_file, monkeypatch):
    def hungry(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes")

    monkeypatch.setattr(reconstruction, "followed", hungry)
    done = invprob("reconstruct", scan_file)
    assert (done.code, is_one_line(done.err), "--max-memory" in done.err) == (4, True, True)


def test_a_log_holds_plain_lines(invprob, scan_file):
    out = invprob("reconstruct", scan_file, "--strength", "0.01", "--set", "max_iter=5").out
    assert "\r" not in out
    assert "\x1b" not in out
    assert "progress  total variation" in out


def test_a_terminal_shows_a_bar(scan_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    colourless = {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color"}
    arguments = ["reconstruct", scan_file, "--strength", "0.01", "--set", "max_iter=5"]
    with start(*arguments, cwd=tmp_path, stdout=theirs, stderr=theirs, env=colourless) as process:
        os.close(theirs)
        shown = b""
        while block := read_terminal(ours):
            shown += block
    os.close(ours)
    assert process.returncode == 0
    assert b"\x1b[" in shown  # the bar moves the cursor
    assert not re.search(rb"\x1b\[(1;)?3[0-7]m", shown)
    assert b"total variation" in shown


def read_terminal(descriptor):
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux's way to say that the other side has closed
        return b""


def test_a_wrong_angle_unit_is_warned_of_once(invprob, tmp_path):
    write_exchange(tmp_path / "x.h5", unit="radians")
    done = invprob("reconstruct", "x.h5", "--method", "fbp", "--axis", "17.5")
    assert done.code == 0
    assert done.err.count("is the unit degrees instead?") == 1


def test_times_are_told_as_people_do():
    assert [console._duration(t) for t in (0.4, 89, 91, 3600, 7500)] == ["0 s", "89 s", "2 min", "60 min", "2 h 05 min"]


def test_settings_keep_their_types():
    pairs = ["a=1", "b=0.5", "c=true", "d=null", "e=ramp", "max-iter=3", "f=[1]"]
    found = {"a": 1, "b": 0.5, "c": True, "d": None, "e": "ramp", "max_iter": 3, "f": "[1]"}
    assert parse.settings(pairs) == found


# --- inspect, simulate, list ---


def test_inspect_tells_of_a_scan(invprob, tmp_path):
    write_exchange(tmp_path / "x.h5")
    done = invprob("inspect", "x.h5")
    assert (done.code, done.err) == (0, "")
    for words in ("Data Exchange", "exchange/data: 16 x 5 x 36", "unit degrees", "column 17.", "none NaN", "rows"):
        assert words in done.out


def test_inspect_warns(invprob, tmp_path):
    write_exchange(tmp_path / "x.h5", unit=None, data=with_nan())
    done = invprob("inspect", "x.h5")
    assert done.code == 0
    assert "warning: " in done.err
    assert "--angles-unit" in done.err
    assert "1 NaN or infinite" in done.out
    assert "doubtful" not in done.out


@pytest.mark.parametrize("value", ["no", "maybe", "0"])
def test_a_truth_value_is_true_or_false(invprob, scan_file, value):
    done = invprob("reconstruct", scan_file, "--method", "tv", "--set", f"nonnegative={value}")
    assert (done.code, is_one_line(done.err)) == (2, True)
    assert "nonnegative of tv is true or false" in done.err


def test_results_are_read_as_they_are(invprob, scan_file):
    invprob("reconstruct", scan_file, "--method", "fbp")
    done = invprob("inspect", "scan_fbp.h5", "--read", "views=0:3")
    assert (done.code, is_one_line(done.err)) == (2, True)
    assert "leave out views" in done.err


def test_inspect_tells_of_a_result(invprob, scan_file):
    invprob("reconstruct", scan_file, "--method", "least-squares")
    done = invprob("inspect", "scan_least-squares.h5")
    assert (done.code, done.err) == (0, "")
    for words in ("24 x 24 pixels of 2 mm, in 1/mm", "converged", "origin: made up", "verdict", "--method least-sq"):
        assert words in done.out


@pytest.mark.parametrize("name", ["missing.h5", "."])
def test_inspect_refuses_what_is_no_file(invprob, name):
    done = invprob("inspect", name)
    assert (done.code, is_one_line(done.err)) == (3, True)


@pytest.mark.parametrize("phantom", ["shepp-logan", "ellipses", "organ"])
@pytest.mark.parametrize("geometry", ["parallel", "fan"])
def test_a_simulated_scan_fits_its_truth(invprob, tmp_path, phantom, geometry):
    shape = ["--size", "64", "--views", "120", "--noise", "0", "--seed", "1"]
    done = invprob("simulate", "a.h5", "--phantom", phantom, "--geometry", geometry, *shape)
    assert (done.code, done.err) == (0, "")
    scan = load_scan(tmp_path / "a.h5")
    assert scan.noise is None
    assert scan.units == Units.attenuation("mm")
    assert scan.provenance["command"].startswith("invprob simulate a.h5")
    assert 0.02 < float(scan.truth.max()) <= 0.04
    misfit = torch.linalg.vector_norm(scan.operator(scan.truth) - scan.data) / torch.linalg.vector_norm(scan.data)
    assert 0.001 < misfit < 0.08  # the same physics, but not the same discretisation
    assert invprob("inspect", "a.h5").err == ""


def test_simulated_noise_is_known(invprob, tmp_path):
    common = ["--size", "64", "--views", "60", "--rows", "2"]
    assert invprob("simulate", "clean.h5", *common, "--noise", "0").code == 0
    assert invprob("simulate", "gauss.h5", *common, "--noise", "2").code == 0
    assert invprob("simulate", "photons.h5", *common, "--photons", "1e4").code == 0
    assert invprob("simulate", "bright.h5", *common, "--photons", "1e14").code == 0  # intensities are averaged here
    clean = load_scan(tmp_path / "clean.h5").data
    for name, without in (("gauss", clean), ("photons", load_scan(tmp_path / "bright.h5").data)):
        scan = load_scan(tmp_path / f"{name}.h5")
        assert scan.noise.shape == (2,)
        torch.testing.assert_close((scan.data - without).std(dim=(1, 2)).double(), scan.noise, rtol=0.05, atol=0)
    assert load_scan(tmp_path / "gauss.h5").noise[0] == pytest.approx(0.02 * float(clean[0].max()), rel=1e-6)


def test_a_seed_makes_a_scan_again(invprob, tmp_path):
    for name in ("a", "b"):
        assert invprob("simulate", f"{name}/scan.h5", "--size", "16").code == 2
        (tmp_path / name).mkdir()
        assert invprob("simulate", f"{name}/scan.h5", "--size", "16", "--phantom", "ellipses", "--seed", "3").code == 0
    a, b = (load_scan(tmp_path / f"{name}/scan.h5") for name in ("a", "b"))
    assert torch.equal(a.data, b.data)


def shipped():
    commands = re.findall(r"`invprob (simulate data/\S+ .*?)`", (ROOT / "data/README.md").read_text())
    return [shlex.split(command) for command in commands]


@pytest.mark.parametrize("command", shipped(), ids=lambda command: command[1])
def test_the_shipped_scans_are_what_their_readme_says(invprob, tmp_path, command):
    file = ROOT / command[1]
    assert file.stat().st_size < 300_000
    assert invprob("simulate", "again.h5", *command[2:]).code == 0
    shipped, again = load_scan(file), load_scan(tmp_path / "again.h5")
    torch.testing.assert_close(again.truth, shipped.truth, rtol=1e-5, atol=1e-7)
    assert again.noise == pytest.approx(shipped.noise, rel=1e-5)
    mine, theirs = again.operator.config(), shipped.operator.config()
    assert mine.keys() == theirs.keys()
    for key, value in mine.items():
        np.testing.assert_array_equal(value, theirs[key], err_msg=key)
    if "--photons" in command:
        # rates rounded otherwise change one draw, and with it all that follow: the noise is another, of one size
        bare = command[2 : command.index("--photons")] + command[command.index("--photons") + 2 :]
        assert invprob("simulate", "clean.h5", *bare, "--photons", "1e14").code == 0
        clean = load_scan(tmp_path / "clean.h5").data
        for noise in (again.data - clean, shipped.data - clean):
            assert float(noise.double().std()) == pytest.approx(shipped.noise, rel=0.03)
            assert abs(float(noise.double().mean())) < 5 * shipped.noise / noise.numel() ** 0.5
    else:
        torch.testing.assert_close(again.data, shipped.data, rtol=1e-5, atol=1e-5)
    assert shipped.provenance["command"] == shlex.join(["invprob", *command])


def test_list_names_everything(invprob):
    out = invprob("list").out
    for name in ("fbp", "least-squares", "tikhonov", "tv", "parallel-beam", "fan-beam", *Phantom, "data-exchange"):
        assert name in out
    assert "strength=auto" in out
