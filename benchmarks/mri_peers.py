"""What other packages of MRI take for the same tasks; run by the interpreter of their environment.

`python mri_peers.py TASK.npz RESULT.npz` reads what the task is, does it and writes seconds and results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def best(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the seconds of the fastest of some calls after one to warm up, and what it returned."""
    result, found = call(), []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        found.append(time.perf_counter() - start)
    return min(found), result


def nufft_of_sigpy(task: Any) -> dict[str, Any]:
    """Transform images to samples and back."""
    import sigpy

    x, omega = task["x"], task["omega"]
    coord = (omega * np.array(x.shape[1:]) / (2 * np.pi)).astype(np.float32)
    A = sigpy.linop.NUFFT(x.shape, coord)
    forward, y = best(lambda: A * x, 3)
    adjoint, _ = best(lambda: A.H * y, 3)
    return {"forward": forward, "adjoint": adjoint, "y": y}


def nufft_of_torchkbnufft(task: Any) -> dict[str, Any]:
    """Transform images to samples and back."""
    import torch
    import torchkbnufft as tkbn

    torch.set_num_threads(int(task["threads"]))
    x = torch.from_numpy(task["x"])[None]
    omega = torch.from_numpy(task["omega"].T.copy()).float()
    size = tuple(x.shape[2:])
    down, up = tkbn.KbNufft(im_size=size), tkbn.KbNufftAdjoint(im_size=size)
    forward, y = best(lambda: down(x, omega, norm="ortho"), 3)
    adjoint, _ = best(lambda: up(y, omega, norm="ortho"), 3)
    # its "ortho" divides by the root of the pixels of the doubled grid
    return {"forward": forward, "adjoint": adjoint, "y": 2 * y[0].numpy()}


def apps_of_sigpy(task: Any) -> dict[str, Any]:
    """Run SenseRecon and L1WaveletRecon; seconds are those of the processor."""
    from sigpy.mri import app

    y, maps = task["y"], task["maps"]
    coord = task.get("coord")
    given = {"coord": coord, "show_pbar": False}
    if "weights" in task:
        given["weights"] = task["weights"]
    start = time.process_time()
    sense = app.SenseRecon(y, maps, max_iter=int(task["steps"]), **given).run()
    middle = time.process_time()
    sparse = app.L1WaveletRecon(y, maps, float(task["lam"]), max_iter=int(task["iterations"]), **given).run()
    return {"sense": middle - start, "wavelet": time.process_time() - middle, "x_sense": sense, "x_wavelet": sparse}


if __name__ == "__main__":
    asked = np.load(sys.argv[1])
    np.savez(sys.argv[2], **globals()[str(asked["what"])](asked))
