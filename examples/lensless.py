"""A camera without a lens
=======================

A camera without a lens: a diffuser spreads every point of the scene over the whole sensor, and TV brings it back.

`lensless.py DATA` takes the point response psf_sample.tif and the photograph rawdata_hand_sample.tif of the DiffuserCam
tutorial (Antipa et al., Optica 5, 2018) from the folder DATA, 8 x 8 pixels binned; without it, a phantom is seen
through a made-up diffuser. A tenth of the sensor's pixels is held out: an image is the better, the better it predicts
them. Least squares by conjugate gradients predict best when stopped at the right time; total variation does better.
`--png FILE` draws the middle of the scene.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from skimage.io import imread
from torch import Tensor

from invprob import Scan, phantoms, reconstruct
from invprob.fidelities import L2
from invprob.loop import iterate
from invprob.operators import Blur
from invprob.solvers import ConjugateGradient

BINNING = 8
DARK = slice(5, 15)  # a corner of the point response that no light reaches


def measured(folder: Path) -> tuple[Tensor, Tensor]:
    """The point response and the photograph, binned, without the dark level, of unit length."""
    response, photo = (imread(folder / f).astype(np.float64) for f in ("psf_sample.tif", "rawdata_hand_sample.tif"))
    dark = response[DARK, DARK].mean()
    return binned(torch.from_numpy(response - dark)), binned(torch.from_numpy(photo - dark))


def binned(t: Tensor) -> Tensor:
    t = t.unflatten(0, (-1, BINNING)).unflatten(2, (-1, BINNING)).mean((1, 3))
    return t / t.norm()


def simulated() -> tuple[Tensor, Tensor]:
    """Bright lines of light as a wavy surface focuses them, and a body seen through them."""
    generator = torch.Generator().manual_seed(0)
    surface = torch.randn(48, 64, generator=generator)
    soft = torch.exp(-0.5 * (torch.arange(-6, 7) / 2.0) ** 2)
    waves = Blur((48, 64), torch.outer(soft, soft) / soft.sum() ** 2)(surface)
    response = torch.exp(-((waves / waves.std()) ** 2) / 0.02)
    response = response / response.norm()
    scene = torch.zeros(95, 127)
    scene[24:72, 32:96] = phantoms.organ((48, 64), 3)
    photo = Blur(scene.shape, response, "valid")(scene)
    noise = torch.randn(photo.shape, generator=generator)
    return response, photo + 0.003 * photo.abs().max() * noise


torch.set_num_threads(1)  # images this small gain nothing from more
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data", nargs="?", type=Path, help="folder with psf_sample.tif and rawdata_hand_sample.tif")
parser.add_argument("--png", help="where to draw the scene")
arguments = parser.parse_args()

response, photo = measured(arguments.data) if arguments.data else simulated()
y = (photo / photo.max()).float()
# the sensor sees light from beyond what it would see without a diffuser
A = Blur([2 * n - 1 for n in y.shape], response, "valid")
held_out = torch.rand(y.shape, generator=torch.Generator().manual_seed(0)) < 0.1
weights = (~held_out).float()


def misfit(x: Tensor) -> float:
    """The residual of the pixels held out, relative to them."""
    return float((A(x) - y)[held_out].norm() / y[held_out].norm())


steps = iterate(ConjugateGradient(max_iter=300, tol=0.0), L2(A, y, weights))
plain = [misfit(step.state.x) for step in steps]
print(f"conjugate gradients: {min(plain):.5f} at iteration {1 + plain.index(min(plain))} of {len(plain)}")

result = reconstruct(Scan(A, y, weights=weights), "tv", strength=3e-6, tol=1e-3)
print(f"total variation:     {misfit(result.x):.5f} ({result.status} after {int(result.n_iter)} iterations)")

height, width = y.shape
scene = result.x[height // 2 : height // 2 + height, width // 2 : width // 2 + width]
images = {"sensor": y, "scene": scene}
if arguments.png:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.imsave(arguments.png, scene, cmap="gray", vmin=0, vmax=float(scene.quantile(0.999)))

assert misfit(result.x) < min(plain)
