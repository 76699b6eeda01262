"""MRI on spirals
==============

MRI on spirals: units of the trajectory, gridding with density weights, wavelets; k-space of the phantom is exact."""

import math

import torch

from invprob import Scan, metrics, phantoms, reconstruct
from invprob.operators import NonCartesianMRI, radians_per_pixel

size, shots = 64, 8
arms = phantoms.spiral(shots, 420, turns=size / 32)  # a half of the turns that sample the image fully
omega = radians_per_pixel(arms / (2 * math.pi), "cycles/pixel")  # the unit is named, never guessed
phantom, coils = phantoms.shepp_logan(radius=0.9 * size / 2), phantoms.birdcage(6)
A = NonCartesianMRI((size, size), omega, coils.sampled((size, size)).to(torch.complex64))

clean = phantom.kspace(omega, (size, size), coils=coils).to(torch.complex64)
data, sigma = phantoms.add_gaussian_noise(clean, 0.001, 0, ndim=3)
truth = phantom.image((size, size)).to(torch.complex64)
scan = Scan(operator=A, data=data, noise=float(sigma), truth=truth)

quality = {}
for method, settings in (("zero-filled", {}), ("cg-sense", {}), ("l1-wavelet", {"strength": 2e-3})):
    result = reconstruct(scan, method, **settings)
    quality[method] = float(metrics.psnr(result.x, scan.truth, data_range=1.0))
    print(f"{method:12s} {quality[method]:5.1f} dB, {result.status}, {result.settings}")

print("accuracy of the transform:", f"{A.accuracy():.1e}")
assert quality["cg-sense"] > quality["zero-filled"] + 2
assert quality["l1-wavelet"] > quality["cg-sense"] + 1
