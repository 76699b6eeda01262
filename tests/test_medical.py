"""DICOM and NIfTI files as pictures, written here by pydicom and nibabel."""

import importlib

import nibabel
import numpy as np
import pytest
from layout_files import dicom

from invprob import load_scan
from invprob.errors import InputError
from invprob.operators import Downsample, Identity

STORED = np.arange(-40, 152, dtype=np.int16).reshape(12, 16)


def nifti(path, values):
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(path)
    return path


def test_hounsfield_units_stay_such(tmp_path):
    scan = load_scan(dicom(tmp_path / "slice.dcm", STORED, 2, -1024))
    assert isinstance(scan.operator, Identity)
    assert np.array_equal(scan.data.numpy(), 2.0 * STORED - 1024)
    assert scan.provenance["reader"] == "medical"


def test_of_several_frames_one_is_chosen(tmp_path):
    path = dicom(tmp_path / "film", np.stack([STORED, STORED + 5, STORED + 9]), frames=3)
    with pytest.raises(InputError, match="holds 3 slices: choose one, as in --read slice=1"):
        load_scan(path)
    assert np.array_equal(load_scan(path, slice=2).data.numpy(), STORED + 9)
    with pytest.raises(InputError, match="from 0 to 2: there is no slice 3"):
        load_scan(path, slice=3)


@pytest.mark.parametrize("name", ["head.nii", "head.nii.gz"])
def test_slices_of_nifti_stand_upright(tmp_path, name):
    values = np.random.default_rng(0).random((16, 12, 3), dtype=np.float32)  # right, forward, up
    path = nifti(tmp_path / name, values)
    found = load_scan(path, slice=1).data.numpy()
    assert found.shape == (12, 16)
    assert found[0, 3] == values[3, -1, 1]  # the top row is what lies in front
    assert np.array_equal(found, values[:, ::-1, 1].T)


def test_what_happened_to_it_is_said_as_of_any_picture(tmp_path):
    scan = load_scan(dicom(tmp_path / "slice", STORED), factor=2, noise=3.0)
    assert isinstance(scan.operator, Downsample)
    assert (scan.operator.domain_shape, scan.noise) == ((24, 32), 3.0)


@pytest.mark.parametrize("write", [dicom, nifti])
def test_a_damaged_file_is_a_sentence(tmp_path, write):
    path = write(tmp_path / "whole.nii", STORED)
    path.write_bytes(path.read_bytes()[:420])
    with pytest.raises(InputError, match="cannot be read"):
        load_scan(path)


def test_a_damaged_archive_and_an_unknown_kind_of_number_are_sentences(tmp_path):
    path = nifti(tmp_path / "head.nii.gz", np.random.default_rng(0).random((16, 12, 3), dtype=np.float32))
    content = bytearray(path.read_bytes())
    content[12:40] = bytes(28)
    path.write_bytes(content)
    with pytest.raises(InputError):
        load_scan(path)
    path = nifti(tmp_path / "head.nii", np.random.default_rng(0).random((16, 12, 3), dtype=np.float32))
    content = bytearray(path.read_bytes())
    content[70:72] = bytes(2)  # the kind of its numbers
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        load_scan(path)


def test_an_absurd_size_is_refused(tmp_path):
    path = dicom(tmp_path / "slice", STORED, frames=10**9)
    with pytest.raises(InputError, match="more than fit into memory"):
        load_scan(path)


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    def absent(name, *rest):
        raise ImportError(name)

    path = dicom(tmp_path / "slice", STORED)
    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(InputError, match=r"needs pydicom, which is not installed: pip install 'invprob\[medical\]'"):
        load_scan(path)
