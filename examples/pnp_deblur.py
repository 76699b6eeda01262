"""Deblurring by plug-and-play
===========================

Non-blind deblurring by plug-and-play with the denoiser that ships, beside total variation.

`pnp_deblur.py` blurs a generated picture; `pnp_deblur.py DATA` blurs the twelve pictures in DATA/images/set12, each
with one of the eight kernels in DATA/kernels/Levin09.mat, at noise levels of 2.55 and 7.65 of 255. What lies beyond
the picture wraps around, as in Zhang et al. 2021 (DPIR). `--png FILE` shows the last picture.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from skimage.io import imread
from torch import Tensor

from invprob import Scan, metrics, reconstruct
from invprob.operators import Blur
from invprob.phantoms import shaken_kernel, training_images

METHODS = ("tv", "pnp")


def of_set12(folder: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    with h5py.File(folder / "kernels" / "Levin09.mat") as file:
        cells = np.asarray(file["kernels"]).ravel()
        kernels = [torch.from_numpy(np.asarray(file[cell]).T.copy()) for cell in cells]
    for k, path in enumerate(sorted((folder / "images" / "set12").glob("*.png"))):
        picture = torch.from_numpy(imread(path).astype(np.float32) / 255)
        yield f"{path.stem}, kernel {k % len(kernels) + 1}", picture, kernels[k % len(kernels)]


def generated() -> Iterator[tuple[str, Tensor, Tensor]]:
    picture = training_images(1, 128, torch.Generator().manual_seed(2**40), kinds={"leaves": 1.0})[0]
    yield "generated", picture, shaken_kernel(13, 3)


torch.set_num_threads(1)  # pictures this small gain nothing from more
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data", nargs="?", type=Path, help="folder with images/set12 and kernels/Levin09.mat")
parser.add_argument("--png", help="where to draw the last picture: blurred, by either method, and sharp")
arguments = parser.parse_args()

gains = []
for name, sharp, kernel in of_set12(arguments.data) if arguments.data else generated():
    A = Blur(sharp.shape, kernel)
    for level in (2.55, 7.65):
        noise = level / 255 * torch.randn(sharp.shape, generator=torch.Generator().manual_seed(0))
        data = A(sharp) + noise
        images = [reconstruct(Scan(A, data, level / 255), method).x for method in METHODS]
        by_tv, by_pnp = (float(metrics.psnr(x, sharp, data_range=1.0)) for x in images)
        gains.append(by_pnp - by_tv)
        print(f"{name}, noise {level}/255: tv {by_tv:.2f} dB, pnp {by_pnp:.2f} dB, {gains[-1]:+.2f}", flush=True)
print(f"plug-and-play gains {sum(gains) / len(gains):.2f} dB on average, {min(gains):.2f} dB at worst")

if arguments.png:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.imsave(arguments.png, torch.cat([data, *images, sharp], 1).clamp(0, 1), cmap="gray", vmin=0, vmax=1)

assert sum(gains) / len(gains) > 0.5
