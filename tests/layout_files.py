"""A small file of every layout that is read, for the tests of the readers and for `faults`."""

import h5py
import mri_files
import numpy as np
import scipy.io
import torch
from PIL import Image

from invprob.io import save_scan
from invprob.io.cfl import save_cfl
from invprob.operators import ParallelBeam
from invprob.scan import Scan

VIEWS, ROW_COUNT, COLUMNS = 24, 5, 20
ANGLES = np.arange(VIEWS) * np.pi / VIEWS


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


def write_turntable(path):
    """Two points on a table, far from the antenna: frequencies down, angles across."""
    hertz, turns = np.linspace(9e9, 11e9, 12), np.deg2rad(np.linspace(-6, 6, 10))
    ranges = 0.3 * np.cos(turns) + 0.1 * np.sin(turns)
    echoes = 1 + 0.5j * np.exp(4j * np.pi / 299792458 * hertz[:, None] * ranges)
    with path.open("wb") as stream:
        scipy.io.savemat(stream, {"echoes": echoes})


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


def dicom(path, stored, slope=1, intercept=0, frames=None):
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = CTImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid(entropy_srcs=["a test"])
    file.Rows, file.Columns = stored.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
    file.RescaleSlope, file.RescaleIntercept = slope, intercept
    if frames is not None:
        file.NumberOfFrames = frames
    file.PixelData = stored.astype("<i2").tobytes()
    file.save_as(path, enforce_file_format=True)
    return path


def write_medical(path):
    dicom(path, np.arange(12 * 16, dtype=np.int16).reshape(12, 16))


WRITERS = {
    "invprob-scan": write_own,
    "data-exchange": write_exchange,
    "matlab": write_challenge,
    "turntable": write_turntable,
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


def needed(name, folder):
    """Return the options, as they are typed, without which the file of a layout in `folder` cannot be read."""
    fields = {which: str(folder / f"{which}.npy") for which in ("flats", "darks")}
    return {
        "numpy": {"axes": "slice,y,x"},
        "turntable": {"frequencies": "9e9:11e9:12", "angles": "-6:6:10", "angles_unit": "deg", "image_shape": "12x12"},
        "projections": {"angles": f"0:{180 - 180 / VIEWS}:{VIEWS}", "angles_unit": "deg", "axis": "9", **fields},
    }.get(name, {})
