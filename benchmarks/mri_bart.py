"""BART's reconstruction of a scan, where the program is installed (mrirecon.github.io/bart)."""

from __future__ import annotations

import math
import os
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invprob import Scan
from invprob.io.cfl import read_cfl, save_cfl
from invprob.operators import CartesianMRI, NonCartesianMRI


def pics(scan: Scan, *options: str) -> tuple[float, Tensor] | None:
    """Return processor seconds of `bart pics` with some options, its start included, and its image; None without BART.

    A last axis is BART's first dimension: k-space (coils, 1, H, W), or samples (coils, shots, samples, 1) with their
    trajectory in units of one over the field of view. The factor between the conventions is the one that fits the data.
    """
    A, program = scan.operator, shutil.which("bart")
    if program is None or not isinstance(A, CartesianMRI | NonCartesianMRI) or A.maps is None:
        return None
    with tempfile.TemporaryDirectory() as name:
        folder, given = Path(name), list(options)
        save_cfl(folder / "maps", A.maps[:, None])
        if isinstance(A, NonCartesianMRI):
            sizes = torch.tensor(A.image_shape[::-1], dtype=torch.float64)
            along = A.trajectory.flip(-1) * sizes / (2 * math.pi)
            save_cfl(folder / "trajectory", np.pad(along.numpy(), [(0, 0)] * (along.ndim - 1) + [(0, 1)]))
            save_cfl(folder / "data", scan.data[..., None])
            given += ["-t", "trajectory"]
        else:
            save_cfl(folder / "data", scan.data[:, None])
        threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        command, begun = [program, "pics", *given, "data", "maps", "image"], _spent()
        subprocess.run(command, cwd=folder, env=os.environ | threads, check=True, capture_output=True)
        seconds, image = _spent() - begun, read_cfl(folder / "image.hdr").reshape(A.image_shape)
    x = torch.from_numpy(np.array(image))
    y = A(x)
    return seconds, x * (y.conj() * scan.data).sum() / y.abs().square().sum()


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
