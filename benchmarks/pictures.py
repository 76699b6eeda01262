"""The pictures of README and the site's first pages, from phantoms of this project: python benchmarks/pictures.py.

They are written into docs/pictures. Titles hold the PSNR over a data range of 1.
"""

from __future__ import annotations

import argparse
import math
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import torch
from limited_angle import made, matthews
from torch import Tensor

from invprob import Scan, metrics, phantoms, reconstruct, show
from invprob.methods import segment
from invprob.operators import Blur, Downsample, Mask, ParallelBeam
from invprob.phantoms import shaken_kernel

mpl.use("Agg")
import matplotlib.pyplot as plt

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
SIZE = 256


def tomography() -> dict[str, Tensor]:
    """A slice of a chest from 60 views with 1 % of noise; data come from a grid twice as fine."""
    fine = phantoms.organ((2 * SIZE, 2 * SIZE), 5)
    truth = fine.reshape(SIZE, 2, SIZE, 2).mean((1, 3))
    angles = torch.arange(60) * math.pi / 60
    bins = math.ceil(SIZE * 2**0.5)
    make = ParallelBeam(fine.shape, angles, 2 * bins, pixel_size=0.5, detector_size=0.5)
    data, sigma = phantoms.add_gaussian_noise(make(fine).reshape(60, bins, 2).mean(-1), 0.01, 0)
    scan = Scan(ParallelBeam((SIZE, SIZE), angles, bins), data, noise=sigma)
    found = {method: reconstruct(scan, method).x for method in ("fbp", "tv", "pnp")}
    return {**found, "truth": truth}


def photograph() -> dict[str, Tensor]:
    """A generated scene in colour, shaken, with holes, or with a quarter of the pixels."""
    sharp = phantoms.training_images(1, SIZE, 12, colours=3, kinds={"leaves": 1.0})[0]
    shape, draw = (SIZE, SIZE), torch.Generator().manual_seed(0)
    holes = torch.rand(shape, generator=draw) < 0.3
    spoilt = {
        "shaken": Blur(shape, shaken_kernel(21, 3), "reflect"),
        "70 % missing": Mask(holes),
        "half as large": Downsample(shape, 2),
    }
    found: dict[str, Tensor] = {}
    for name, operator in spoilt.items():
        A = operator.lift((3,), channels="colour")
        data = A(sharp)
        data = data + 0.01 * torch.randn(data.shape, generator=draw)
        found[name] = data * holes if name.endswith("missing") else data
        found[f"{name}: pnp"] = reconstruct(Scan(A, found[name], noise=0.01), "pnp").x
    return {**found, "truth": sharp}


def draw(name: str, images: dict[str, Tensor], columns: int) -> None:
    """Write the images side by side, with what they reach where they are of the size of the truth."""
    truth = images["truth"]
    window = (0.0, float(truth.quantile(0.999)))
    rows = math.ceil(len(images) / columns)
    figure, places = plt.subplots(
        rows, columns, figsize=(2.9 * columns, 3.2 * rows), squeeze=False, layout="constrained"
    )
    for place in places.flat:
        place.axis("off")
    for place, (title, image) in zip(places.flat, images.items(), strict=False):
        item = image.clamp(*window)
        picture = show(item, image.ndim, window=window, channels="colour" if image.ndim == 3 else None)
        place.imshow(plt.imread(BytesIO(picture.png())), cmap="gray", vmin=0, vmax=1)
        same = image.shape == truth.shape and image is not truth
        level = f", {float(metrics.psnr(image, truth, data_range=1.0, ndim=image.ndim)):.1f} dB" if same else ""
        place.set_title(title + level, fontsize=11)
    figure.savefig(FOLDER / name, dpi=100, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)


def arcs(size: int = 128, degrees: int = 60) -> None:
    """Draw generated discs of one material from an arc, under a beam that hardens, with Matthews' correlation."""
    discs = ("made1", "packed0")
    figure, places = plt.subplots(len(discs), 3, figsize=(8.7, 6.2), squeeze=False, layout="constrained")
    for line, disc in zip(places, discs, strict=True):
        scan, whole = made(disc, degrees, 0, size)
        truth = torch.from_numpy(whole).float().unfold(0, 4, 4).unfold(1, 4, 4).mean((-2, -1))
        images = {method: reconstruct(scan, method).x for method in ("tv", "limited-angle")}
        for place, (name, image) in zip(line, {**images, "truth": truth}.items(), strict=True):
            level = float(image.quantile(0.9))
            picture = show(image.clamp(0, 1.2 * level), window=(0.0, 1.2 * level))
            place.imshow(plt.imread(BytesIO(picture.png())), cmap="gray", vmin=0, vmax=1)
            place.axis("off")
            score = matthews((segment(image, 2) > 0).numpy(), (truth > 0.5).numpy())
            place.set_title(name if image is truth else f"{name}, {score:.3f}", fontsize=11)
    figure.savefig(FOLDER / "arcs.png", dpi=100, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)


def script() -> None:
    """Draw what stands in the gallery for an example that is not run when the site is built."""
    figure = plt.figure(figsize=(3.2, 2.24), facecolor="#f3f4f6")
    figure.text(0.5, 0.5, "import invprob", family="monospace", size=17, color="#6b7280", ha="center", va="center")
    figure.savefig(FOLDER / "script.png", dpi=100)
    plt.close(figure)


def main() -> None:
    """Make those that are asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="tomography, photograph, arcs, script")
    wanted = parser.parse_args().names
    FOLDER.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    if not wanted or "tomography" in wanted:
        draw("tomography.png", tomography(), 4)
    if not wanted or "photograph" in wanted:
        draw("photograph.jpg", photograph(), 4)
    if not wanted or "arcs" in wanted:
        arcs()
    if not wanted or "script" in wanted:
        script()


if __name__ == "__main__":
    main()
