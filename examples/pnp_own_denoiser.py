"""A denoiser of your own
======================

Plug-and-play: any callable D(v, sigma) as a prior. Here, scikit-image's non-local means in sparse-view CT.

A function of numpy arrays is wrapped in `PerItem`; a network, torch code, a model of another library go in as they are.
"""

import math

import numpy as np
import torch
from skimage.restoration import denoise_nl_means

from invprob import metrics, phantoms, solve
from invprob.fidelities import L2
from invprob.operators import ParallelBeam
from invprob.priors import Denoiser, PerItem
from invprob.solvers import ADMM


def denoise(image: np.ndarray, sigma: float) -> np.ndarray:
    """Call scikit-image on one image."""
    return denoise_nl_means(image, patch_size=5, patch_distance=6, h=0.8 * sigma, sigma=sigma, fast_mode=True)


# simulated on a grid twice as fine: the projector that inverts the data has not made them
fine = phantoms.organ((192, 192), 3)
truth = fine.unflatten(1, (96, 2)).unflatten(0, (96, 2)).mean((1, 3))
angles = torch.arange(30) * math.pi / 30
clean = ParallelBeam((192, 192), angles, 274, pixel_size=0.5, detector_size=0.5)(fine).unflatten(-1, (137, 2)).mean(-1)
data, sigma = phantoms.add_gaussian_noise(clean, 0.02, 1)

A = ParallelBeam((96, 96), angles, 137)
f = L2(A, data)
start = A.direct(data)
rho = 0.03 * float(A.norm() ** 2)
prior = Denoiser(PerItem(denoise), sigma=0.08)
result = solve(ADMM(rho=rho, max_iter=15), f, prior, x0=start, noise=sigma)

before = float(metrics.psnr(start, truth, data_range=1.0))
after = float(metrics.psnr(result.x, truth, data_range=1.0))
print(f"filtered back-projection {before:.1f} dB, plug-and-play {after:.1f} dB; {result.message}")
print(f"data residual relative to the noise: {float(result.certificate.residual_to_noise):.2f}")
for assumption in result.certificate.assumptions:
    answer = {True: "holds", False: "fails", None: "unknown"}[assumption.holds]
    print(f" - {assumption.statement}: {answer} ({assumption.reason})")
images = {"truth": truth, "filtered back-projection": start, "plug-and-play": result.x}
assert after > before + 4
