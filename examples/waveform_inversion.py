"""Full-waveform inversion
=======================

Full-waveform inversion in a borehole: an own nonlinear operator, and how far off the first guess may be.

Waves from a source at the surface are recorded at several depths; sought is the speed of sound of every layer. Least
squares compares traces sample by sample, so a first guess whose waves arrive half a period off leads astray ("cycle
skipping"). A Sobolev norm in time with s < 0 weighs low frequencies most and sees farther.
"""

import math

import torch
from torch import Tensor

from invprob import solve
from invprob.fidelities import HalfSquaredSobolev, Misfit
from invprob.functional import Zero
from invprob.linop import Linearised, LinearOperator, Operator
from invprob.solvers import GaussNewton
from invprob.transforms import SobolevMetric

FREQUENCY = 5.0  # of the wavelet's peak, in hertz
STEP = 0.0045  # in time, in seconds
STEPS = 20  # of Gauss-Newton


class Acoustic(Operator):
    """Traces (receivers, steps) of u_tt + 2 d u_t = c^2 (u_zz + f), f a Ricker wavelet at one depth; x is c (cells,).

    Kilometres and seconds; stable for c up to spacing / dt = 4.4. Second-order differences in depth and time,
    u^{n+1} = a (2 u^n - b u^{n-1} + dt^2 c^2 (u^n_zz + f^n)) with a = 1 / (1 + d dt) and b = 1 - d dt; the damping d
    grows towards both ends, where waves are to leave.
    """

    def __init__(self, refine: int = 1) -> None:
        cells, steps, receivers = 140 * refine, 560 * refine, [refine * r for r in range(40, 121, 16)]
        super().__init__((cells,), (len(receivers), steps), dtype=torch.float64)
        self.spacing, self.dt, self.receivers = 0.02 / refine, STEP / refine, receivers
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

    def march(self, c: Tensor, sources: Tensor) -> Tensor:
        """The fields u^1 ... u^N that sources f^n, `(steps, ..., cells)`, drive: a sum over dt^2 c^2 f^n in time."""
        before = u = torch.zeros_like(sources[0] + c)
        stiffness, fields = (self.dt * c) ** 2, []
        for f in sources:
            before, u = u, self.a * (2 * u - self.b * before + stiffness * (self.bend(u) + f))
            fields.append(u)
        return torch.stack(fields)

    def _forward(self, x: Tensor) -> Tensor:
        return self.at_receivers(self.march(x, self.source))

    def at_receivers(self, fields: Tensor) -> Tensor:
        """What is recorded of fields `(steps, ..., cells)`."""
        return fields[..., self.receivers].movedim(0, -1)

    def linearised(self, x: Tensor) -> "Born":
        """The derivative, which keeps the fields."""
        return Born(self, x)

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        """The Born approximation."""
        return self.linearised(x)(u)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """The adjoint-state method (Plessix 2006)."""
        return self.linearised(x).adjoint(v)


class Born(Linearised):
    """Scattered waves: du_tt + 2 d du_t = c^2 du_zz + 2 c dc (u_zz + f), with the fields u of c kept."""

    operator: Acoustic

    def _prepare(self) -> Tensor:
        A = self.operator
        fields = A.march(self.point, A.source)
        before = torch.cat([torch.zeros_like(fields[:1]), fields[:-1]])
        shape = A.source.shape[:1] + (1,) * (self.point.ndim - 1) + A.source.shape[1:]
        self.drives = A.bend(before) + A.source.reshape(shape)
        return A.at_receivers(fields)

    def _push(self, x: Tensor, u: Tensor) -> Tensor:
        return self.operator.at_receivers(self.operator.march(x, self.drives * (2 * u / x)))

    def _pull(self, x: Tensor, v: Tensor) -> Tensor:
        """The same waves backwards in time, driven by v at the receivers."""
        A, stiffness = self.operator, (self.operator.dt * x) ** 2
        later, gradient = torch.zeros_like(x), torch.zeros_like(x)
        carried = torch.zeros_like(x)  # what the steps after this one say of u^n
        for drive, recorded in zip(self.drives.flip(0), v.movedim(-1, 0).flip(0), strict=True):
            carried[..., A.receivers] += recorded
            p = A.a * carried
            gradient += p * drive
            carried = 2 * p - A.b * later + A.bend(stiffness * p)
            later = p
        return 2 * A.dt**2 * x * gradient


class Around(Operator):
    """x = start + P u: unknowns u of unit size whose x are smooth, around a first guess, `(*batch, cells)`."""

    def __init__(self, start: Tensor, P: LinearOperator) -> None:
        super().__init__(P.domain_shape, P.range_shape, dtype=P.dtype)
        self.first, self.P = start, P

    def _forward(self, x: Tensor) -> Tensor:
        return self.first + self.P(x)

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        return self.P(u)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.P.adjoint(v)


def misfit(A: Operator, y: Tensor, s: float) -> Misfit:
    """1/2 |A(x) - y|^2 in H^s of the time axis; structure below 0.2 s counts as high frequency."""
    return Misfit(A, HalfSquaredSobolev(y, s, axes=[-1], spacing=STEP, length_scale=0.2))


def invert(A: Acoustic, y: Tensor, s: float, starts: Tensor) -> Tensor:
    """Minimise the misfit over x = start + P_-1 u by Gauss-Newton, all starts at once.

    u makes the steps smooth in depth, and inner systems solved no better than to 90 % keep the first of them short: a
    full step would believe the arrivals it sees.
    """
    P = SobolevMetric(starts.shape[-1:], -1.0, length_scale=10.0, boundary="neumann", dtype=torch.float64)
    model = Around(starts, P)
    f = misfit(A @ model, y.expand(len(starts), *y.shape), s)
    return model(solve(GaussNewton(max_iter=STEPS, tol=5e-2, damping=10.0, inner_tol=0.9), f, Zero(ndim=1)).x)


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

    starts = torch.stack([guess * (1.7 + 0.2 * A.depth) for guess in (1.0, 1.3, 1.4)])
    print("first guess   " + "".join(f"{100 * error(x):8.1f} %" for x in starts))
    arrived = []
    for s in (0.0, -0.5, -1.0):
        errors = [error(x) for x in invert(A, y, s, starts)]
        print(f"after, s = {s:4.1f}" + "".join(f"{100 * e:8.1f} %" for e in errors))
        arrived.append(sum(e < 0.08 for e in errors))
    # the lower s, the farther off a first guess may be
    assert arrived == [1, 2, 3]


if __name__ == "__main__":
    main()
