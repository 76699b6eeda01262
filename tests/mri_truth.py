"""Ellipses seen by a ring of coils: k-space from the closed form, so that nothing of it is made by a discrete model.

Lengths are in pixels, points (row, column) from the pixel floor(N/2) of each axis. An ellipse of semi-axes a, b has the
transform v a b J1(2 pi q) / q with q = hypot(a k_a, b k_b); a map that is a sum of waves exp(2 pi i q.r/P) shifts it.
"""

import itertools

import numpy as np
import scipy.special

# value, (row, column), (semi-axis along rows, along columns), tilt; all relative to half a field of view
HEAD = [
    (1.0, (0.0, 0.0), (0.85, 0.68), 0.0),
    (-0.6, (0.02, 0.0), (0.78, 0.62), 0.0),
    (0.3, (-0.1, 0.2), (0.3, 0.12), 0.3),
    (0.3, (-0.1, -0.22), (0.36, 0.15), -0.3),
    (0.4, (0.4, 0.0), (0.2, 0.22), 0.0),
    (0.5, (-0.5, 0.05), (0.06, 0.1), 0.0),
]


def points(shape):
    return np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij"), -1).astype(float)


class Coils:
    """Maps of `count` coils around the image, as sums of waves of `order` periods in `period` images at most.

    They are like those of a ring within `reach` of the image's border, and anything beyond.
    """

    def __init__(self, count, shape, order=3, period=1.5, reach=1.0):
        self.period = period * reach * np.array(shape)
        self.waves = np.array(list(itertools.product(range(-order, order + 1), repeat=2)))
        coarse = points(shape)[:: max(1, shape[0] // 32), :: max(1, shape[1] // 32)].reshape(-1, 2) * reach
        half = np.array(shape) / 2
        angles = 2 * np.pi * np.arange(count) / count
        ring = 1.5 * reach * np.stack([np.sin(angles), np.cos(angles)], -1)
        away = coarse[:, None] / half - ring
        wanted = np.exp(1j * (angles + np.arctan2(away[..., 0], away[..., 1]))) / np.linalg.norm(away, axis=-1)
        E = self._table(coarse)
        normal = E.conj().T @ E + 1e-6 * len(coarse) * np.eye(len(self.waves))
        self.a = np.linalg.solve(normal, E.conj().T @ wanted).T  # (count, waves)

    def _table(self, r):
        return np.exp(2j * np.pi * (r / self.period) @ self.waves.T)

    def maps(self, shape):
        """(count, *shape)"""
        return np.moveaxis(self._table(points(shape)) @ self.a.T, -1, 0)


def scaled(ellipses, shape):
    half = np.array(shape) / 2
    return [(v, half * centre, half * axes, tilt) for v, centre, axes, tilt in ellipses]


def transform(ellipses, k):
    """The integral of f exp(-2 pi i k.r) at k, (..., 2) in cycles per pixel."""
    total = np.zeros(k.shape[:-1], complex)
    for v, centre, (a, b), tilt in ellipses:
        c, s = np.cos(tilt), np.sin(tilt)
        q = np.hypot(a * (c * k[..., 0] + s * k[..., 1]), b * (c * k[..., 1] - s * k[..., 0]))
        safe = np.where(q > 1e-9, q, 1.0)
        shape = np.where(q > 1e-9, scipy.special.j1(2 * np.pi * safe) / safe, np.pi)
        total += v * a * b * shape * np.exp(-2j * np.pi * k @ centre)
    return total


def kspace(ellipses, coils, shape, k=None):
    """(coils, ...) samples at k in cycles per pixel, by default those of the Cartesian grid, in the unit of pixels."""
    k = points(shape) / np.array(shape) if k is None else k
    y = sum(
        np.multiply.outer(a, transform(ellipses, k - q / coils.period))
        for a, q in zip(coils.a.T, coils.waves, strict=True)
    )
    return y / np.sqrt(np.prod(shape))


def inside(ellipses, shape):
    """Where the first ellipse is."""
    _, centre, axes, _ = ellipses[0]
    return (((points(shape) - centre) / axes) ** 2).sum(-1) < 1


def noise(shape, sigma, seed=0):
    rng = np.random.default_rng(seed)
    return sigma / np.sqrt(2) * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
