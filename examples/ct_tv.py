"""Sparse-view CT
==============

Sparse-view CT: filtered back-projection against total variation, from 40 noisy views of an analytic phantom."""

import math

import torch

from invprob import Scan, metrics, phantoms, reconstruct
from invprob.operators import ParallelBeam

size = 128
phantom = phantoms.shepp_logan(radius=size / 2)
A = ParallelBeam((size, size), torch.arange(40) * math.pi / 40, detectors=183)

# exact means over the bins, so that the data do not come from the projector that inverts them
clean = phantoms.detected(phantom, A)
data, sigma = phantoms.add_gaussian_noise(clean, 0.01, 0)
scan = Scan(operator=A, data=data, noise=sigma, truth=phantom.image((size, size)))

quality, images = {}, {"truth": scan.truth}
for method in ("fbp", "tv"):
    result = reconstruct(scan, method)
    images[method] = result.x
    quality[method] = float(metrics.psnr(result.x, scan.truth, data_range=1.0))
    print(f"{method:4s} {quality[method]:5.1f} dB, {result.status}, {result.settings}")

print("residual relative to the noise:", float(result.certificate.residual_to_noise))
assert quality["tv"] > quality["fbp"] + 6
