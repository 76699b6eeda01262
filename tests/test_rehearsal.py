"""What strangers wrote is read in a copy of the process first: what ends the copy is a sentence here."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import h5py
import layout_files
import mri_files
import numpy as np
import pytest

from invprob.errors import InputError
from invprob.io import READERS, load_scan
from invprob.io.rehearsal import rehearse
from invprob.io.safe_hdf5 import open_hdf5, touch

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system copies no processes")


@pytest.fixture
def path(tmp_path):
    (tmp_path / "scan").write_bytes(b"something")
    return tmp_path / "scan"


def crash(*_):
    os.kill(os.getpid(), signal.SIGSEGV)


def be_killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def hang_on(*_):
    """Take no notice of the first limit of the time."""
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    hang()


def hang(*_):
    while True:
        pass


def devour(*_):
    return bytearray(2**40)


def complain(*_):
    raise ValueError("as it will again, where it can be told")


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (crash, "parser died of SIGSEGV"),
        (hang, "takes over 1 s to read"),
        (hang_on, "takes over 1 s to read"),
        (be_killed, "was killed: free memory, or copy it again"),
        (devour, "asks for more memory"),
    ],
)
def test_what_ends_the_copy_is_refused(path, read, words):
    with pytest.raises(InputError, match=words):
        rehearse(path, read, seconds=1)


UNDER_A_LIMIT = """
import os, resource, sys
from pathlib import Path
from invprob.errors import InputError
from invprob.io.rehearsal import rehearse
from invprob.machine import address_space

resource.setrlimit(resource.RLIMIT_AS, (address_space() + 2**28,) * 2)
try:
    rehearse(Path(sys.argv[1]), lambda: os.abort())
except InputError:
    print("refused")
"""


def test_a_copy_keeps_to_the_limits_of_the_user(path):
    done = subprocess.run([sys.executable, "-c", UNDER_A_LIMIT, path], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"


@pytest.mark.parametrize(
    ("words", "kind"),
    [("memory allocation failed for chunk", MemoryError), ("address of object past end of allocation", None)],
)
def test_memory_that_hdf5_did_not_get_is_told(tmp_path, monkeypatch, words, kind):
    """HDF5 calls it an OSError, as any other complaint; outside the copy it would get that memory, and fill it."""

    def failing(*_):
        raise OSError(f"Can't synchronously read data ({words})")

    with h5py.File(tmp_path / "scan", "w") as file:
        file["data"] = np.ones(3)
        monkeypatch.setattr(h5py.Dataset, "__getitem__", failing)
        with pytest.raises(kind) if kind else nullcontext():
            touch(file)


def test_complaints_are_left_to_the_reader(path):
    rehearse(path, complain)
    rehearse(path, list)


@pytest.mark.parametrize("layout", ["matlab", "picture", "medical"])
def test_what_is_no_hdf5_is_parsed_in_a_copy(tmp_path, monkeypatch, layout):
    layout_files.WRITERS[layout](tmp_path / "scan")
    monkeypatch.setitem(READERS, layout, replace(READERS[layout], parse=crash))
    with pytest.raises(InputError, match="parser died of SIGSEGV"):
        load_scan(tmp_path / "scan")


@pytest.mark.parametrize("own", [False, True], ids=["invprob- in a text", "an own file"])
def test_no_word_in_a_file_spares_it_the_copy(tmp_path, monkeypatch, own):
    path = tmp_path / "scan"
    if own:
        layout_files.WRITERS["invprob-scan"](path)
        monkeypatch.setattr("invprob.io.readers.touch", crash)
    else:
        layout_files.WRITERS["matlab"](path)
        path.write_bytes(b"MATLAB 5.0 MAT-file invprob-scan".ljust(116) + path.read_bytes()[116:])
        monkeypatch.setitem(READERS, "matlab", replace(READERS["matlab"], parse=crash))
    with pytest.raises(InputError, match="parser died of SIGSEGV"):
        load_scan(path)


def test_texts_and_records_are_read_too(tmp_path, monkeypatch):
    record = mri_files.acquisition(np.ones((1, 4), np.complex64))
    mri_files.write_ismrmrd(tmp_path / "scan", [record], mri_files.header(4, 4))
    seen, read = [], h5py.Dataset.__getitem__

    def watched(self, *arguments, **named):
        seen.append(self.name)
        return read(self, *arguments, **named)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    with open_hdf5(tmp_path / "scan") as file:
        touch(file)
    assert sorted(seen) == ["/dataset/data", "/dataset/xml"]


@pytest.mark.parametrize("layout", ["nxtomo", "data-exchange", "fastmri", "ismrmrd"])
def test_names_that_cannot_be_listed_are_no_internal_error(tmp_path, layout):
    """HDF5 lists the names of a group from a heap; recognising a layout must not stumble over a damaged one."""
    path = tmp_path / "scan.h5"
    layout_files.WRITERS[layout](path)
    sound = path.read_bytes()
    assert b"HEAP" in sound
    for damaged in (
        sound.replace(b"HEAP", b"HEAQ"),
        sound.replace(b"SNOD", b"SNOE"),
        sound.replace(b"HEAP", b"HEAQ", 1),
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError):
            load_scan(path)
