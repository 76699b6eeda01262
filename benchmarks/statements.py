"""Every number of quality that README and docs state, and the command that measures it again.

python benchmarks/statements.py                     # what needs no data but the project's
python benchmarks/statements.py --data DIR          # with pictures and kernels, too; hours
python benchmarks/statements.py --only restoration  # of some pages
python benchmarks/statements.py --rewrite           # write what was measured into the pages

A statement is a passage of a page, told by a regular expression whose groups are the numbers. Those marked quick are
measured again in the test suite.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from skimage.data import camera
from skimage.io import imread
from torch import Tensor

import invprob
from invprob.benchmark.tables import TOLERANCE
from invprob.methods.coloured_noise import NEARLY_WHITE
from invprob.methods.warm_start import CREDIBLE
from invprob.phantoms import organ
from invprob.priors import Equivariant, load_pretrained
from invprob.stack.memory import SHARE
from invprob.transforms import Identity, SobolevMetric

ROOT = Path(__file__).parents[1]
NUMBER = r"(-?\d+(?:\.\d+)?)"


@dataclass(frozen=True)
class Statement:
    """A passage of a page with numbers in groups, and what measures them.

    Arguments:
        page: the file, from the project's root.
        passage: a regular expression that is found there once; {} stands for a number.
        measure: returns the numbers, given the folder of data.
        within: by how much they may be off.
        data: whether it needs the folder.
        quick: whether the test suite measures it.
    """

    page: str
    passage: str
    measure: Callable[[Path | None], Sequence[float]]
    within: float
    data: bool = False
    quick: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        """The passage with its numbers in groups."""
        return re.compile(self.passage.replace("{}", NUMBER))

    def found(self) -> re.Match[str]:
        """Return where it stands; LookupError unless that is in one place."""
        places = list(self.pattern.finditer((ROOT / self.page).read_text(encoding="utf-8")))
        if len(places) != 1:
            raise LookupError(f"{self.page}: {len(places)} passages are like {self.passage!r}, where 1 is due")
        return places[0]

    @property
    def stated(self) -> list[float]:
        """The numbers on the page."""
        return [float(number) for number in self.found().groups()]

    def rewrite(self, measured: Sequence[float]) -> None:
        """Put other numbers in their places, with as many digits as there were."""
        path, place = ROOT / self.page, self.found()
        text = path.read_text(encoding="utf-8")
        for k in reversed(range(len(measured))):
            digits = len(place[k + 1].partition(".")[2])
            text = f"{text[: place.start(k + 1)]}{measured[k]:.{digits}f}{text[place.end(k + 1) :]}"
        path.write_text(text, encoding="utf-8")


# --- README ---


@cache
def demo() -> str:
    """Return what the command of README prints."""
    command = [sys.executable, "-c", "import sys; from invprob.cli.main import main; sys.exit(main())"]
    line = ["reconstruct", str(ROOT / "data/shepp_parallel.h5"), "--output", "demo.h5", "--overwrite"]
    return subprocess.run([*command, *line], capture_output=True, text=True, check=True, cwd=_scratch()).stdout


def on_screen(passage: str) -> Callable[[Path | None], Sequence[float]]:
    """Return a measurement that reads a passage off the screen of the demo."""
    pattern = re.compile(passage.replace("{}", NUMBER))

    def measure(data: Path | None) -> list[float]:
        del data
        place = pattern.search(demo())
        if place is None:
            raise LookupError(f"the demo says nothing like {passage!r}")
        return [float(number) for number in place.groups()]

    return measure


@cache
def _scratch() -> str:
    return mkdtemp()


# --- the quick benchmark, measured by `make benchmark` ---


def gains(method: str, *problems: str) -> Callable[[Path | None], Sequence[float]]:
    """Return a measurement of what a method gains over tv in dB, both with their own strengths, in the reference."""

    def measure(data: Path | None) -> list[float]:
        del data
        entries = json.loads((ROOT / "benchmarks/reference.json").read_text(encoding="utf-8"))["entries"]
        level = {(e["problem"], e["method"]): e.get("psnr") for e in entries if e["mode"] == "auto"}
        return [level[problem, method]["mean"] - level[problem, "tv"]["mean"] for problem in problems]

    return measure


# --- restoration ---


def coloured(clean: Tensor, s: float) -> Tensor:
    """Return a picture with noise of power spectrum <xi>^-2s and standard deviation 0.1."""
    white = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noise = SobolevMetric(clean.shape, -s, boundary="neumann")(white)
    return clean + 0.1 * noise / noise.std()


def denoised(picture: Callable[[], Tensor], s: float) -> Callable[[Path | None], Sequence[float]]:
    """Return a measurement: PSNR of tv and sobolev-tv, and the order found."""

    def measure(data: Path | None) -> list[float]:
        del data
        clean = picture()
        scan = invprob.Scan(Identity(clean.shape), coloured(clean, s))
        found = [invprob.reconstruct(scan, method) for method in ("tv", "sobolev-tv")]
        levels = [float(invprob.metrics.psnr(r.x, clean, data_range=1.0)) for r in found]
        return [*levels, float(found[1].settings["order"])]

    return measure


def cameraman() -> Tensor:
    """Return the camera man on 128 x 128 pixels, in [0, 1]."""
    fine = torch.from_numpy(camera().astype(np.float32) / 255)
    return torch.nn.functional.avg_pool2d(fine[None], 4)[0]


def body() -> Tensor:
    """Return a phantom on 128 x 128 pixels."""
    return organ((128, 128), 0)


def example(name: str, *options: str, passage: str) -> Callable[[Path | None], Sequence[float]]:
    """Return a measurement by an example with the folder of data, whose last lines hold the numbers."""

    def measure(data: Path | None) -> list[float]:
        command = [sys.executable, str(ROOT / "examples" / name), *([] if data is None else [str(data)]), *options]
        told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=_scratch()).stdout
        return [float(n) for place in re.finditer(passage.replace("{}", NUMBER), told) for n in place.groups()]

    return measure


# --- denoisers ---


def set12(wrap: str | None) -> Callable[[Path | None], Sequence[float]]:
    """Return a measurement: mean PSNR of the shipped denoiser on Set12 at noise of 15, 25 and 50 of 255."""

    def measure(data: Path | None) -> list[float]:
        network = load_pretrained("denoiser")
        D = network if wrap is None else Equivariant(network, wrap)  # type: ignore[arg-type]
        found = []
        for level in (15, 25, 50):
            values = []
            for k, path in enumerate(sorted((Path(data or ".") / "images/set12").glob("*.png"))):
                clean = torch.from_numpy(imread(path).astype(np.float32) / 255)
                noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(k))
                with torch.no_grad():
                    x = D(clean + level / 255 * noise, torch.tensor(level / 255)).clamp(0, 1)
                values.append(float(invprob.metrics.psnr(x, clean, data_range=1.0)))
            found.append(sum(values) / len(values))
        return found

    return measure


def size(name: str) -> int:
    """Return how many weights a shipped network has."""
    return sum(p.numel() for p in load_pretrained(name).parameters())


def thousands(data: Path | None) -> list[float]:
    """Return how many thousand times as many weights the U-Net has as the learned regulariser."""
    del data
    return [size("denoiser") / size("lpn-natural-like") / 1000]


def levin(data: Path | None) -> list[float]:
    """Return the gain of tv on each photograph, their mean and the worst."""
    each = example("deblur_levin.py", passage=GAIN)(data)
    return [*each, sum(each) / len(each), min(each)]


def levin_by_pnp(data: Path | None) -> list[float]:
    """Return the mean and the least of what pnp gains over tv on the photographs."""
    by_tv = example("deblur_levin.py", passage=GAIN)(data)
    by_pnp = example("deblur_levin.py", "--method", "pnp", passage=GAIN)(data)
    more = [p - t for p, t in zip(by_pnp, by_tv, strict=True)]
    return [sum(more) / len(more), min(more)]


EIGHT = 8 * r" \| {}"
GAIN = r"dB, \+{}  \("
PNP, LPN, RESTORATION = "docs/plug-and-play.md", "docs/learned-proximal.md", "docs/restoration.md"
TABLE = ("ct-30", "dose-1e3", "blur-gaussian", "noise-coloured", "holes-random", "finer-2")
SCREEN = (  # passages of README's screen, and by how much a number may be off
    (r"done      {} iterations", 25),
    (r"{} mirrored copies at once", 0),
    (r"strength {}, nonnegative True", 4e-4),
    (r"relative error {}, PSNR", 0.01),
    (r"PSNR {} dB, SSIM", 0.5),
    (r"SSIM {}\n", 0.01),
    (r"The residual is {} times the noise", 0.05),
    (r"half of the views changes the image by {} %", 1.0),
    (r"conditions of a minimum are met to {} %", 0.02),
    (r"predictive risk among {} trials", 2),
    (r"norm is {}, at most {} \(Collatz", 0.5),
)
SPOILT = [("blue, s = -1", -1.0), ("s = -0.5", -0.5), ("white", 0.0)]

STATEMENTS = (
    *(Statement("README.md", passage, on_screen(passage), within, quick=True) for passage, within in SCREEN),
    *(
        Statement(RESTORATION, rf"\| {name} \| {noise} \| {{}} \| {{}} \| {{}} \|", denoised(picture, s), 0.3)
        for name, picture in (("camera", cameraman), ("phantom `organ`, seed 0", body))
        for noise, s in SPOILT
    ),
    Statement(
        RESTORATION,
        r"\| 1" + EIGHT + r" \|\n\| 2" + EIGHT + r" \|\n\nThe mean is {} dB, the worst {}\.",
        levin,
        0.3,
        data=True,
    ),
    Statement(
        RESTORATION,
        r"total variation reaches {}, conjugate gradients at their best {}\.",
        lambda data: example("lensless.py", passage=r"(?:gradients|variation): +{}")(data)[::-1],
        1e-4,
        data=True,
    ),
    Statement(PNP, r"it reaches {}, {} and {} dB at noise of 15, 25 and 50 of 255", set12(None), 0.1, data=True),
    Statement(PNP, r'"pair"\)`\), it reaches {}, {} and {} dB', set12("pair"), 0.1, data=True),
    Statement(PNP, r"over all eight orientations {}, {} and {}\.", set12("mean"), 0.1, data=True),
    Statement(
        PNP,
        r"pnp_deblur.py DATA`\) \| {} on average, {} at worst",
        example("pnp_deblur.py", passage=r"gains {} dB on average, {} dB at worst"),
        0.3,
        data=True,
    ),
    Statement(PNP, r"--method pnp`\) \| {} on average, {} at worst", levin_by_pnp, 0.3, data=True),
    Statement(PNP, r"1 000 photons per ray \| {}; {} \|", gains("pnp", *TABLE[:2]), 0.06, quick=True),
    Statement(PNP, r"pixels twice as fine \| {}; {}; {}; {} \|", gains("pnp", *TABLE[2:]), 0.06, quick=True),
    Statement(
        LPN,
        r"`lpn` gains {} dB over `tv` from 30 views, {} at 1 000 photons per ray, {} under Gaussian blur, {} with\n"
        r"coloured noise, {} where 80 % of the pixels are missing and {} where they",
        gains("lpn", *TABLE),
        0.06,
        quick=True,
    ),
    Statement(PNP, r"U-Net of {} million weights", lambda _: [size("denoiser") / 1e6], 0.06, quick=True),
    Statement(PNP, r"and at most {} times it\.", lambda _: [CREDIBLE], 0.0, quick=True),
    Statement(RESTORATION, r"orders nearer to 0 than {},", lambda _: [NEARLY_WHITE], 0.0, quick=True),
    Statement("docs/stacks.md", r"`max_memory` {} % of", lambda _: [100 * SHARE], 0.0, quick=True),
    Statement("docs/benchmark.md", r"more than\n{} dB is an error", lambda _: [TOLERANCE["psnr"]], 0.0, quick=True),
    Statement(LPN, r"has {},000 times as many weights", thousands, 0.5, quick=True),
    Statement(LPN, r"at most {} from the soft", example("lpn_laplace.py", passage=r"threshold: at most {},"), 0.01),
)


def main() -> int:
    """Measure, print a line per statement, and return 1 if a page is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with images/set12, images/levin, kernels/Levin09.mat, ...")
    parser.add_argument("--only", default="", metavar="TEXT", help="pages whose name contains this")
    parser.add_argument("--quick", action="store_true", help="what the test suite measures, too")
    parser.add_argument("--rewrite", action="store_true", help="write what was measured into the pages")
    wanted = parser.parse_args()
    data = None if wanted.data is None else wanted.data.resolve()
    wrong = 0
    for statement in STATEMENTS:
        skipped = (statement.data and data is None) or (wanted.quick and not statement.quick)
        if skipped or wanted.only not in statement.page:
            continue
        stated, measured = statement.stated, list(statement.measure(data if statement.data else None))
        off = max(abs(a - b) for a, b in zip(stated, measured, strict=True))
        wrong += off > statement.within
        told = ", ".join(f"{number:.5g}" for number in measured)
        print(f"{'WRONG' if off > statement.within else 'ok':5s} {statement.page}: {statement.found()[0]!r}: {told}")
        sys.stdout.flush()
        if wanted.rewrite:
            statement.rewrite(measured)
    return int(wrong > 0 and not wanted.rewrite)


if __name__ == "__main__":
    sys.exit(main())
