"""Photographs of a shaken camera
==============================

Photographs blurred by a shaken camera, deblurred by a method that finds its own strength.

`deblur_levin.py DATA` takes the 16 photographs of Levin et al. (CVPR 2009) from DATA/images/levin, the shifts that
register them with the sharp images from its alignment.json, and the kernels from DATA/kernels/Levin09.mat, where they
lie rotated by 180 degrees. Without DATA, a phantom is shaken. `--png FILE` shows the last photograph, before and after.

The camera also sees what lies beyond the border, and blurs it into the photograph: the image is larger than the data.
Those kernels are estimates, and what they cannot explain counts as noise: without that, fine detail is made up.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from skimage.io import imread
from torch import Tensor

from invprob import Scan, metrics, phantoms, reconstruct
from invprob.operators import Blur

MARGIN = 25  # pixels of the border that do not count
MISMATCH = 0.01  # of white: what an estimated kernel leaves unexplained


@dataclass
class Photograph:
    name: str
    data: Tensor
    kernel: Tensor
    truth: Tensor
    noise: float
    shift: tuple[int, int] = (0, 0)  # by how much the photograph lies off the truth

    def psnr(self, x: Tensor) -> float:
        registered = x.roll((-self.shift[0], -self.shift[1]), (0, 1))
        inner = slice(MARGIN, -MARGIN)
        return float(metrics.psnr(registered[inner, inner], self.truth[inner, inner], data_range=1.0))


def of_levin(folder: Path) -> Iterator[Photograph]:
    with h5py.File(folder / "kernels" / "Levin09.mat") as file:
        cells = np.asarray(file["kernels"]).ravel()
        kernels = [torch.from_numpy(np.asarray(file[cell]).T[::-1, ::-1].copy()) for cell in cells]
    shifts = json.loads((folder / "images" / "levin" / "alignment.json").read_text())
    for image in (1, 2):
        for number, kernel in enumerate(kernels, start=1):
            name = f"im{image}_kernel{number}"
            photo, truth = (picture(folder / "images" / "levin" / f"{f}.png") for f in (f"{name}_img", f"gt_im{image}"))
            yield Photograph(name, photo, kernel, truth, MISMATCH, tuple(shifts[name]["shift_yx"]))


def picture(path: Path) -> Tensor:
    return torch.from_numpy(imread(path).astype(np.float32) / 255)


def shaken_phantom() -> Photograph:
    """A camera that wanders while the shutter is open."""
    kernel, sharp, noise = phantoms.shaken_kernel(15, 1), phantoms.organ((174, 174), 3), 0.003
    sharp = sharp / sharp.max()
    seen = Blur(sharp.shape, kernel, "valid")(sharp)
    noisy = seen + noise * torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
    return Photograph("phantom", noisy, kernel, sharp[7:-7, 7:-7], noise)


def deblurred(photo: Photograph, method: str) -> tuple[Tensor, str]:
    rows, columns = (n + taps - 1 for n, taps in zip(photo.data.shape, photo.kernel.shape, strict=True))
    A = Blur((rows, columns), photo.kernel, "valid")
    result = reconstruct(Scan(A, photo.data, photo.noise), method)
    top, left = ((taps - 1) // 2 for taps in photo.kernel.shape)  # where "valid" begins
    inside = result.x[top:, left:][: photo.data.shape[0], : photo.data.shape[1]]
    return inside, f"{result.status}, strength {result.settings['strength']:.1e}"


torch.set_num_threads(1)  # images this small gain nothing from more
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data", nargs="?", type=Path, help="folder with images/levin and kernels/Levin09.mat")
parser.add_argument("--method", default="tv", help="tv, pnp, ... (default: tv)")
parser.add_argument("--png", help="where to draw the last photograph, what came of it, and the truth")
arguments = parser.parse_args()

gains = []
for photo in of_levin(arguments.data) if arguments.data else [shaken_phantom()]:
    sharper, how = deblurred(photo, arguments.method)
    before, after = photo.psnr(photo.data), photo.psnr(sharper)
    gains.append(after - before)
    print(f"{photo.name:12s} {before:.2f} -> {after:.2f} dB, {gains[-1]:+.2f}  ({how})", flush=True)
print(f"gain {sum(gains) / len(gains):.2f} dB on average, {min(gains):.2f} dB on the worst")

images = {"photograph": photo.data, "deblurred": sharper, "truth": photo.truth}
if arguments.png:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.imsave(arguments.png, torch.cat(list(images.values()), 1).clamp(0, 1), cmap="gray", vmin=0, vmax=1)

assert sum(gains) / len(gains) > 5
assert min(gains) > 5
