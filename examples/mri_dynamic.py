"""A film by MRI
=============

A film by MRI, an eighth of the lines per frame: one frame alone, low rank plus sparse, total variation in time."""

import torch

from invprob import Scan, metrics, phantoms, reconstruct
from invprob.operators import CartesianMRI

size, frames = 48, 8
coils, phase = phantoms.birdcage(8), phantoms.smooth_phase(0)
maps = coils.sampled((size, size)).to(torch.complex64)

# a body in which two organs beat, once around, and other lines in every frame
swing = torch.sin(2 * torch.pi * torch.arange(frames, dtype=torch.float64) / frames)
radii = torch.tensor([[20.0, 17.0], [5.5, 7.0], [4.0, 3.0], [2.5, 2.5]], dtype=torch.float64)
centres = torch.tensor([[0.0, 0.0], [-7.0, 1.5], [7.0, -3.0], [1.5, 9.0]], dtype=torch.float64)
values, turns = torch.tensor([0.5, 0.5, 0.3, -0.2]).double(), torch.zeros(4, dtype=torch.float64)
beats = torch.tensor([[0.0], [0.2], [-0.2], [0.0]], dtype=torch.float64)
film = [phantoms.Ellipses(values, centres, radii * (1 + beats * s), turns) for s in swing]
masks = torch.stack([phantoms.random_lines(size, 8, seed, calibration=3) for seed in range(frames)])
A = CartesianMRI(masks.unsqueeze(-2), maps, frames=frames)

grid = phantoms.cartesian_positions((size, size))
clean = torch.stack([body.kspace(grid, (size, size), coils=coils.times(phase)) for body in film])
clean = (clean * A.measured).to(torch.complex64)
data, sigma = phantoms.add_gaussian_noise(clean, 0.002, 0, ndim=4, measured=A.measured)
truth = torch.stack([body.image((size, size)) for body in film]) * phase.sampled((size, size))[0]
scan = Scan(operator=A, data=data, noise=float(sigma), truth=truth.to(torch.complex64))

quality = {}
settings = {
    "cg-sense": {},
    "low-rank-sparse": {"strength": 3e-3, "max_iter": 40},
    "tv": {"strength": 1e-3, "max_iter": 60},
}
for method, given in settings.items():
    result = reconstruct(scan, method, **given)
    quality[method] = float(metrics.psnr(result.x, scan.truth, data_range=1.0, ndim=3))
    print(f"{method:16s} {quality[method]:5.1f} dB, {result.status}, {result.settings}")

assert quality["low-rank-sparse"] > quality["cg-sense"] + 5
assert quality["tv"] > quality["cg-sense"] + 8
