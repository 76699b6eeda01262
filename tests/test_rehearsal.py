"""What strangers wrote is read in a copy of the process first: what ends the copy is a sentence here."""

import faulthandler
import os
import signal
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
    faulthandler.disable()  # that of the tests would tell of it
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(*_):
    while True:
        pass


def devour(*_):
    return bytearray(2**40)


def complain(*_):
    raise ValueError("as it will again, where it can be told")


@pytest.mark.parametrize(
    ("read", "words"),
    [(crash, "parser died of SIGSEGV"), (hang, "takes over 1 s to read"), (devour, "asks for more memory")],
)
def test_what_ends_the_copy_is_refused(path, read, words):
    with pytest.raises(InputError, match=words):
        rehearse(path, read, seconds=1)


def test_complaints_are_left_to_the_reader(path):
    rehearse(path, complain)
    rehearse(path, list)


@pytest.mark.parametrize("layout", ["matlab", "picture", "medical"])
def test_what_is_no_hdf5_is_parsed_in_a_copy(tmp_path, monkeypatch, layout):
    layout_files.WRITERS[layout](tmp_path / "scan")
    monkeypatch.setitem(READERS, layout, replace(READERS[layout], parse=crash))
    with pytest.raises(InputError, match="parser died of SIGSEGV"):
        load_scan(tmp_path / "scan")


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
