"""Streams that cannot be written, and variables that libraries trip over: the work goes on, or a sentence is told."""

import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from rich.console import Console

from invprob.cli import console
from invprob.cli.environment import check_environment
from invprob.cli.streams import steady
from invprob.threads import jit

ROOT = Path(__file__).parents[1]
START = "import sys; from invprob.cli.start import main; sys.exit(main())"
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")


class Full(io.StringIO):
    """A stream of a full disk, with a descriptor of its own."""

    def __init__(self, file, error=28):
        super().__init__()
        self.file, self.error = file, error

    def write(self, _):
        raise OSError(self.error, os.strerror(self.error))

    def fileno(self):
        return self.file.fileno()


@pytest.fixture
def file(tmp_path):
    with (tmp_path / "stream").open("w") as stream:
        yield stream


def written(stream):
    """Return whether what is written to a descriptor still reaches its file."""
    before = os.fstat(stream.fileno()).st_size
    os.write(stream.fileno(), b"more")
    return os.fstat(stream.fileno()).st_size > before


def start(*arguments, **streams):
    return subprocess.run(
        [sys.executable, "-c", START, *arguments],
        check=False, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, **streams,
    )  # fmt: skip


def test_a_full_disk_under_the_log_is_told_and_the_work_goes_on(file, monkeypatch):
    out, err = Full(file), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with steady():
        console.say("a line")
        Console().print("a page of help")
    assert err.getvalue().startswith("warning: the output cannot be written (No space left on device)")
    assert not written(out)
    assert sys.stdout is out


def test_a_pipe_that_is_closed_silences_its_own_stream_alone(file, tmp_path, monkeypatch):
    err = Full(file, error=32)
    monkeypatch.setattr(sys, "stderr", err)
    with (tmp_path / "out").open("w") as out, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        with steady():
            console.warn("nobody reads this")
            console.say("but this")
            assert written(out)
            assert not written(err)
    assert (tmp_path / "out").read_text() == "but this\nmore"


@full
@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2), (["inspect", "nope.h5"], 3)])
def test_full_devices_change_no_exit_code(arguments, code):
    with open("/dev/full", "w") as device:
        told = start(*arguments, stdout=device, stderr=subprocess.PIPE)
        assert start(*arguments, stdout=subprocess.PIPE, stderr=device).returncode == code
    assert told.returncode == code
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ["0", "-1", "00", "two", "1.5", "9" * 30])
def test_a_number_of_threads_that_is_none_is_2_in_one_line(invprob, monkeypatch, value):
    monkeypatch.setenv("NUMBA_NUM_THREADS", value)
    done = invprob("list")
    assert (done.code, done.out, done.err.count("\n"), "NUMBA_NUM_THREADS" in done.err) == (2, "", 1, True)


@pytest.mark.parametrize("value", ["", "1", "64"])
def test_any_other_number_of_threads_will_do(monkeypatch, value):
    monkeypatch.setenv("NUMBA_NUM_THREADS", value)
    check_environment()


def test_a_terminal_without_columns_is_written_to(invprob, monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    done = invprob("inspect", "nope.h5")
    assert (done.code, done.err) == (3, "error: nope.h5 does not exist: check the path\n")


def full_disk(*_):
    raise OSError(28, "No space left on device")


def test_compiled_code_is_used_where_it_cannot_be_kept(monkeypatch):
    monkeypatch.setattr(numba.core.caching.FunctionCache, "save_overload", full_disk)

    @jit
    def doubled(x):
        return 2 * x

    assert doubled(np.float64(3)) == 6


def test_kept_code_that_cannot_be_read_is_compiled_again(tmp_path, monkeypatch):
    """Another version of the program may have kept it, with types of modules that are no more."""
    path = tmp_path / "kernels.py"
    path.write_text("from invprob.threads import jit\n\n\n@jit\ndef doubled(x):\n    return 2 * x\n")

    def loaded():
        spec = importlib.util.spec_from_file_location("kernels", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.doubled

    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    assert loaded()(3.0) == 6
    index = next((tmp_path / "__pycache__").glob("*.nbi"))
    sound = index.read_bytes()
    index.write_bytes(sound[:-20])
    assert loaded()(3.0) == 6
    again = loaded()
    assert again(3.0) == 6
    assert sum(again.stats.cache_hits.values()) == 1
    index.write_bytes(sound[:-20])
    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "_open_for_write", full_disk)
    assert loaded()(3.0) == 6
