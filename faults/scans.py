"""Small scans of every kind that the campaigns damage, the files they are in, and what a file says."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import torch

from invprob.io import save_result, save_scan
from invprob.methods import reconstruct
from invprob.operators import Blur, CartesianMRI, NearFieldMIMO, ParallelBeam
from invprob.scan import Scan

__all__ = ["blur", "challenge", "echoes", "exchange", "layouts", "mri", "radar", "said_in", "stack"]


def stack(path: Path, rows: int = 4, size: int = 12, seed: int = 0) -> Path:
    """Write a stack of a parallel beam."""
    A = ParallelBeam((size, size), np.arange(8) * np.pi / 8, size + 4)
    truth = torch.rand(rows, size, size, generator=torch.Generator().manual_seed(seed))
    save_scan(path, Scan(A, A(truth), 0.05, truth), overwrite=True)
    return path


def blur(path: Path) -> Path:
    """Write a blurred picture."""
    A = Blur((12, 12), torch.tensor([[0.0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 8)
    truth = torch.zeros(12, 12)
    truth[3:8, 4:9] = 1.0
    save_scan(path, Scan(A, A(truth), 0.02), overwrite=True)
    return path


def mri(path: Path) -> Path:
    """Write k-space, of which half was measured."""
    mask = torch.zeros(12, 12)
    mask[:, ::2] = 1
    A = CartesianMRI(mask)
    truth = torch.zeros(12, 12, dtype=torch.complex64)
    truth[3:8, 4:9] = 1.0
    save_scan(path, Scan(A, A(truth), 0.02), overwrite=True)
    return path


def echoes(path: Path) -> Path:
    """Write k-space of three frames, in which something fades."""
    mask = torch.ones(3, 12, 12)
    mask[:, :, ::3] = 0
    A = CartesianMRI(mask, image_shape=(12, 12), frames=3)
    truth = torch.zeros(3, 12, 12, dtype=torch.complex64)
    truth[:, 3:8, 4:9] = torch.tensor([1.0, 0.7, 0.5]).reshape(3, 1, 1)
    save_scan(path, Scan(A, A(truth), 0.02), overwrite=True)
    return path


def radar(path: Path) -> Path:
    """Write echoes of a voxel."""
    axis, depths = np.linspace(-0.02, 0.02, 4), np.linspace(0.3, 0.34, 4)
    antennas, offset = np.array([[-0.1, 0.0, 0.0], [0.0, 0.0, 0.0], [0.1, 0.0, 0.0]]), np.array([0.0, 0.05, 0.0])
    A = NearFieldMIMO((axis, axis, depths), antennas, antennas + offset, np.linspace(4e9, 12e9, 3))
    truth = torch.zeros(4, 4, 4, dtype=torch.complex64)
    truth[1, 2, 2] = 1.0
    save_scan(path, Scan(A, A(truth), 0.02), overwrite=True)
    return path


def exchange(path: Path) -> Path:
    """Write counts in the Data Exchange layout."""
    A = ParallelBeam((12, 12), np.arange(20) * np.pi / 20, 16)
    truth = torch.zeros(3, 12, 12)
    truth[:, 4:8, 3:9] = 0.1
    counts = 1000 * torch.exp(-A(truth)).permute(1, 0, 2).numpy() + 10
    with h5py.File(path, "w") as file:
        file["exchange/data"] = counts.astype("u2")
        file["exchange/data_white"] = np.full((2, 3, 16), 1010, "u2")
        file["exchange/data_dark"] = np.full((2, 3, 16), 10, "u2")
        file["exchange/theta"] = np.arange(20) * 9.0
        file["exchange/theta"].attrs["units"] = "degrees"
    return path


def challenge(path: Path, sinogram: np.ndarray | None = None, *, compressed: bool = True) -> Path:
    """Write a file like those of the Helsinki challenge, of 12 views and 16 bins."""
    parameters = {
        "angles": np.arange(12) * 30.0,
        "distanceUnit": "mm",
        "distanceSourceOrigin": 400.0,
        "distanceSourceDetector": 600.0,
        "pixelSizePost": 0.5,
        "effectivePixelSizePost": 0.3,
    }
    sinogram = np.random.default_rng(0).random((12, 16)) if sinogram is None else sinogram
    struct = {"type": "2D", "sinogram": sinogram, "parameters": parameters}
    scipy.io.savemat(path, {"CtDataFull": struct}, do_compression=compressed)
    return path


def layouts(folder: Path) -> dict[str, Path]:
    """Write a file of every layout."""
    own = stack(folder / "own.h5")
    from invprob.io import load_scan

    save_result(folder / "result.h5", reconstruct(load_scan(own), "fbp"), overwrite=True)
    return {
        "own scan": own,
        "own result": folder / "result.h5",
        "exchange": exchange(folder / "exchange.h5"),
        "matlab": challenge(folder / "compressed.mat"),
        "matlab, plain": challenge(folder / "plain.mat", compressed=False),
    }


def said_in(path: Path, but: Collection[str] = ("seconds", "digest")) -> dict[str, object]:
    """Return all that an HDF5 file says but some of its attributes: the time that it took, and the digest over that."""
    with h5py.File(path) as file:
        found: dict[str, object] = {k: str(file.attrs[k]) for k in file.attrs if k not in but}
        file.visititems(
            lambda name, item: found.__setitem__(name, item[()].tobytes()) if isinstance(item, h5py.Dataset) else None
        )
    return found
