"""Samplers side by side in CT
===========================

Sparse-view CT under a prior fitted in seconds, every preset side by side.

The prior is a mixture of Gaussians with few axes, fitted to generated bodies; data are simulated on a grid twice as
fine. PSNR of one draw and of the mean of the chains, what the draws leave of the noise, and what 90 % intervals cover.
"""

import math

import torch

from invprob import Scan, metrics, reconstruct
from invprob.operators import ParallelBeam
from invprob.phantoms import bodies
from invprob.priors import GaussianMixture
from invprob.sampling import PRESETS, sample

SIZE, VIEWS = 32, 10
learnt = bodies(160, SIZE, 0)
prior = GaussianMixture.fitted(learnt, components=1, rank=100)

angles = torch.arange(VIEWS, dtype=torch.float64) * math.pi / VIEWS
A = ParallelBeam((SIZE, SIZE), angles, 48, pixel_size=1 / SIZE, detector_size=1 / SIZE)
fine = ParallelBeam((2 * SIZE,) * 2, angles, 48, pixel_size=0.5 / SIZE, detector_size=1 / SIZE)
truth = bodies(2, SIZE, 77)
clean = fine(bodies(2, 2 * SIZE, 77))
noise = 0.02 * float(clean.max())
y = clean + noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))

tv = float(metrics.psnr(reconstruct(Scan(A, y, noise), "tv").x, truth, data_range=1.0).mean())
print(f"{'tv':12} {tv:6.2f} dB")
quality = {}
for name in PRESETS:
    if name in ("prior", "fast_dips", "ddiff", "ddrm"):  # draws without data; slow; for singular vectors
        continue
    found = sample(prior, A, y, noise, name, chains=4, steps=8 if name == "pnp_dm" else 40)
    one = float(metrics.psnr(found.samples[0], truth, data_range=1.0).mean())
    quality[name] = float(metrics.psnr(found.x, truth, data_range=1.0).mean())
    cover = float(metrics.coverage(found.x, found.spread, truth, level=0.9).mean())
    left = float(found.history["residual_to_noise"].mean())
    print(f"{name:12} {quality[name]:6.2f} dB, one draw {one:6.2f}; residual {left:5.2f}; covers {cover:.0%}")

assert quality["flower"] > tv - 1
