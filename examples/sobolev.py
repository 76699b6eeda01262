"""Landweber's iteration in Sobolev norms
======================================

Deblurring by Landweber's iteration in Sobolev norms: the same best image, reached and left at different speeds.

`--png FILE` also draws PSNR against the iteration number.
"""

import argparse

import torch
from skimage.data import camera
from skimage.transform import resize
from torch import Tensor

from invprob import metrics
from invprob.fidelities import SobolevL2, estimate_s
from invprob.loop import iterate
from invprob.operators import Blur
from invprob.solvers import GradientDescent

ORDERS = (-2.0, -1.0, 0.0, 1.0)
CHECKS = (10, 100, 1000)


def gaussian(width: float) -> Tensor:
    taps = torch.exp(-0.5 * (torch.arange(-8, 9) / width) ** 2)
    return torch.outer(taps, taps) / taps.sum() ** 2


def rough_share(x: Tensor) -> float:
    """The share of the amplitude above half the Nyquist frequency."""
    spectrum = torch.fft.fft2(x).abs()
    xi = 2 * torch.pi * torch.fft.fftfreq(len(x))
    return float(spectrum[torch.hypot(xi[:, None], xi) > torch.pi / 2].square().sum() / spectrum.square().sum()) ** 0.5


torch.set_num_threads(1)  # images this small gain nothing from more
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--png", help="where to draw the curves")
arguments = parser.parse_args()

truth = torch.from_numpy(resize(camera() / 255, (128, 128), anti_aliasing=True)).float()
A = Blur(truth.shape, gaussian(1.5), boundary="periodic")
y = A(truth)
y = y + 0.02 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))


def psnr(x: Tensor) -> float:
    return float(metrics.psnr(x, truth, data_range=1.0))


print(f"data {psnr(y):.2f} dB; noise is white: s = {float(estimate_s(y - A(truth)).s):.2f}")
print("   s   best at iteration   PSNR at " + " / ".join(map(str, CHECKS)) + "   rough share at 10 / 100")
curves, shares = {}, {}
for s in ORDERS:
    curve, rough = [], []
    for step in iterate(GradientDescent(max_iter=max(CHECKS), tol=0.0), SobolevL2(A, y, s)):
        curve.append(psnr(step.state.x))
        if step.state.iteration in CHECKS[:2]:
            rough.append(rough_share(step.state.x))
    curves[s], shares[s] = torch.tensor(curve), rough
    best = int(curves[s].argmax())
    at = " / ".join(f"{curve[k - 1]:.2f}" for k in CHECKS)
    print(f"{s:4.0f}   {curve[best]:.2f} dB at {best + 1:4d}    {at}    {rough[0]:.1e} / {rough[1]:.1e}")

if arguments.png:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    for s, curve in curves.items():
        plt.semilogx(range(1, len(curve) + 1), curve, label=f"s = {s:g}")
    plt.xlabel("iteration")
    plt.ylabel("PSNR in dB")
    plt.legend()
    plt.savefig(arguments.png)

peaks = [float(curves[s].max()) for s in ORDERS]
places = [int(curves[s].argmax()) for s in ORDERS]
assert max(peaks) - min(peaks) < 0.1  # the metric changes the path, not where it leads ...
assert places == sorted(places, reverse=True)
assert len(set(places)) == len(ORDERS)  # ... but how fast
assert all(list(share) == sorted(share) for share in zip(*shares.values(), strict=True))
ends = [float(curves[s][-1]) for s in ORDERS]
assert ends == sorted(ends, reverse=True)  # and what is lost by going on
assert ends[0] > ends[-1] + 10
