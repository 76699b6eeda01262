"""Full-waveform inversion in a borehole: an own nonlinear operator, and how far off the first guess may be.

Waves from a source at the surface are recorded at several depths; sought is the speed of sound of every layer. Least
squares compares traces sample by sample, so a first guess whose waves arrive half a period off leads astray ("cycle
skipping"). A Sobolev norm in time with s < 0 weighs low frequencies most and sees farther.
"""

import math

import torch
from scipy.optimize import minimize
from torch import Tensor

from invprob.fidelities import HalfSquaredSobolev, Misfit
from invprob.linop import Operator
from invprob.transforms import SobolevMetric

FREQUENCY = 5.0  # of the wavelet's peak, in hertz
FASTEST = 4.2  # km/s; the time step is stable up to spacing / dt = 4.4


class Acoustic(Operator):
    """Traces (receivers, steps) of u_tt + 2 d u_t = c^2 (u_zz + f), f a Ricker wavelet at one depth; x is c (cells,).

    Kilometres and seconds. Second-order differences in depth and time,
    u^{n+1} = a (2 u^n - b u^{n-1} + dt^2 c^2 (u^n_zz + f^n)) with a = 1 / (1 + d dt) and b = 1 - d dt; the damping d
    grows towards both ends, where waves are to leave.
    """

    def __init__(self, refine: int = 1) -> None:
        cells, steps, receivers = 140 * refine, 560 * refine, [refine * r for r in range(40, 121, 16)]
        super().__init__((cells,), (len(receivers), steps), dtype=torch.float64)
        self.spacing, self.dt, self.receivers = 0.02 / refine, 0.0045 / refine, receivers
        self.depth = self.spacing * torch.arange(cells, dtype=torch.float64)
        inwards = torch.minimum(self.depth, self.depth[-1] - self.depth)
        damping = 20.0 * (1 - inwards / 0.4).clamp(min=0) ** 2
        self.a, self.b = 1 / (1 + damping * self.dt), 1 - damping * self.dt
        phase = (math.pi * FREQUENCY * (self.dt * torch.arange(steps, dtype=torch.float64) - 1.5 / FREQUENCY)) ** 2
        self.source = torch.zeros(steps, cells, dtype=torch.float64)
        self.source[:, 22 * refine] = (1 - 2 * phase) * torch.exp(-phase) / self.spacing

    def bend(self, u: Tensor) -> Tensor:
        """u_zz with u = 0 beyond the ends; its own adjoint."""
        padded = torch.nn.functional.pad(u, (1, 1))
        return (padded[..., 2:] - 2 * u + padded[..., :-2]) / self.spacing**2

    def march(self, c: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The fields u^1 ... u^N and what drove them, u^n_zz + f^n."""
        before, u = torch.zeros_like(c), torch.zeros_like(c)
        stiffness, fields, drives = (self.dt * c) ** 2, [], []
        for f in self.source:
            drive = self.bend(u) + f
            before, u = u, self.a * (2 * u - self.b * before + stiffness * drive)
            fields.append(u)
            drives.append(drive)
        return fields, drives

    def _forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.march(x)[0], -1)[..., self.receivers, :]

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """The adjoint-state method (Plessix 2006): the same waves backwards in time, driven by v at the receivers."""
        x, v = self.as_image(x), self.as_data(v)
        stiffness, drives = (self.dt * x) ** 2, self.march(x)[1]
        later, gradient = torch.zeros_like(x), torch.zeros_like(x)
        carried = torch.zeros_like(x)  # what the steps after this one say of u^n
        for n in reversed(range(len(drives))):
            p = carried.clone()
            p[..., self.receivers] += v[..., n]
            p = self.a * p
            gradient = gradient + p * drives[n]
            carried = 2 * p - self.b * later + self.bend(stiffness * p)
            later = p
        return 2 * self.dt**2 * x * gradient


def misfit(A: Acoustic, y: Tensor, s: float) -> Misfit:
    """1/2 |A(x) - y|^2 in H^s of the time axis; structure below 0.2 s counts as high frequency."""
    return Misfit(A, HalfSquaredSobolev(y, s, axes=[-1], spacing=A.dt, length_scale=0.2))


def invert(f: Misfit, start: Tensor) -> Tensor:
    """Minimise f over x = start + P_-1 u by L-BFGS: u makes the gradient a Sobolev gradient, smooth in depth."""
    P = SobolevMetric(start.shape, -1.0, length_scale=3.0, boundary="neumann", dtype=torch.float64)

    def model(u: object) -> Tensor:  # within what the time step allows
        return (start + P(torch.as_tensor(u))).clamp(0.8, FASTEST)

    def value_and_gradient(u: object) -> tuple[float, object]:
        x = model(u)
        residual = f.A(x)
        return 1e3 * float(f.phi.value(residual)), 1e3 * P(f.A.vjp(x, f.phi.grad(residual))).numpy()

    limits = {"maxiter": 25, "maxfun": 25}
    found = minimize(value_and_gradient, torch.zeros_like(start), jac=True, method="L-BFGS-B", options=limits)
    return model(found.x)


def layers(depth: Tensor) -> Tensor:
    """Four layers, the third slower than the second."""
    tops, speeds = torch.tensor([0.99, 1.49, 1.89], dtype=depth.dtype), torch.tensor([1.7, 2.1, 1.8, 2.6])
    return speeds.to(depth)[torch.bucketize(depth, tops)]


def main() -> None:
    torch.set_num_threads(1)  # problems this small gain nothing from more
    A, fine = Acoustic(), Acoustic(refine=2)
    truth = layers(A.depth)
    y = fine(layers(fine.depth))[..., 1::2]  # simulated on a grid twice as fine
    seen = slice(25, 118)  # between the source and the lowest receiver

    def error(x: Tensor) -> float:
        return float(torch.linalg.vector_norm((x - truth)[seen]) / torch.linalg.vector_norm(truth[seen]))

    starts = {guess: guess * (1.7 + 0.2 * A.depth) for guess in (1.0, 1.1, 1.4)}
    print("first guess   " + "".join(f"{100 * error(x):8.1f} %" for x in starts.values()))
    arrived = {}
    for s in (0.0, -0.5, -1.0):
        errors = [error(invert(misfit(A, y, s), start)) for start in starts.values()]
        print(f"after, s = {s:4.1f}" + "".join(f"{100 * e:8.1f} %" for e in errors))
        arrived[s] = sum(e < 0.08 for e in errors)
    # the lower s, the farther off a first guess may be
    assert list(arrived.values()) == [1, 2, 3]


if __name__ == "__main__":
    main()
