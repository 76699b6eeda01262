"""CT of a limited arc
===================

Limited-angle CT: a plate of one material with holes from 60 degrees, under a beam that hardens."""

import math

import torch

from invprob import Scan, reconstruct
from invprob.methods import segment
from invprob.operators import FanBeam

size = 96
row, column = torch.meshgrid(torch.arange(4 * size), torch.arange(4 * size), indexing="ij")
x, y = (column + 0.5) / 4 - size / 2, size / 2 - (row + 0.5) / 4
plate = (x - 1) ** 2 + (y + 2) ** 2 < 40**2
for hole_x, hole_y, radius in ((-14, 12, 8), (16, 10, 6), (2, -18, 9)):
    plate &= (x - hole_x) ** 2 + (y - hole_y) ** 2 > radius**2

angles = torch.arange(0, 61, 2) * math.pi / 180
A = FanBeam((size, size), angles, 140, source_distance=400.0, detector_distance=140.0)
# chords on pixels and bins four times as fine, behind which two energies of the beam are left
fine = A.finer(image=4, bins=2)
chords = fine(plate.float()).reshape(len(angles), 140, 2).mean(-1)
readings = -torch.log(0.5 * torch.exp(-0.012 * chords) + 0.5 * torch.exp(-0.04 * chords))
noise = 0.002 * float(readings.max())
readings += noise * torch.randn(readings.shape, generator=torch.Generator().manual_seed(0))
scan = Scan(operator=A, data=readings, noise=noise)

truth = plate.reshape(size, 4, size, 4).float().mean((1, 3)) > 0.5
wrong = {}
for method in ("tv", "limited-angle"):
    result = reconstruct(scan, method)
    wrong[method] = int(((segment(result.x, 2) > 0) != truth).sum())
    print(f"{method:13s} {wrong[method]:4d} pixels wrong; {result.settings}")

assert wrong["limited-angle"] < 0.5 * wrong["tv"]
