"""MRI from a quarter of the lines
===============================

Parallel MRI from a quarter of the lines: zero-filled, CG-SENSE and total variation on exact k-space of a phantom."""

import torch

from invprob import Scan, metrics, phantoms, reconstruct
from invprob.operators import CartesianMRI

size = 96
phantom, coils, phase = phantoms.shepp_logan(radius=size / 2), phantoms.birdcage(8), phantoms.smooth_phase(0)
mask = phantoms.random_lines(size, 4, 0, calibration=8)
A = CartesianMRI(mask, coils.sampled((size, size)).to(torch.complex64))

# the spectrum of the ellipses themselves, so that the data do not come from the operator that inverts them
clean = phantom.kspace(phantoms.cartesian_positions((size, size)), (size, size), coils=coils.times(phase))
clean = (clean * A.measured).to(torch.complex64)
data, sigma = phantoms.add_gaussian_noise(clean, 0.001, 0, ndim=3, measured=A.measured)
truth = (phantom.image((size, size)) * phase.sampled((size, size))[0]).to(torch.complex64)
scan = Scan(operator=A, data=data, noise=float(sigma), truth=truth)

quality, images = {}, {"truth": scan.truth}
for method, settings in (("zero-filled", {}), ("cg-sense", {}), ("tv", {"strength": 5e-4})):
    result = reconstruct(scan, method, **settings)
    images[method] = result.x
    quality[method] = float(metrics.psnr(result.x, scan.truth, data_range=1.0))
    print(f"{method:12s} {quality[method]:5.1f} dB, {result.status}, {result.settings}")

print("residual relative to the noise:", float(result.certificate.residual_to_noise))
assert quality["cg-sense"] > quality["zero-filled"] + 1
assert quality["tv"] > quality["cg-sense"] + 5
