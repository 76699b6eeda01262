"""From a coarse grid to a finer one, along one to three axes."""

import pytest
import torch
from laws import relative

from invprob.problem import prolong

DOUBLE = torch.float64
SHAPES = pytest.mark.parametrize("shape", [(9,), (6, 9), (4, 5, 6)])


def ramp(shape, pixel):
    """x + 2 y + ... at the middles of the pixels."""
    axes = [(torch.arange(n, dtype=DOUBLE) + 0.5) * pixel for n in shape]
    return sum(k * t for k, t in enumerate(torch.meshgrid(*axes, indexing="ij"), start=1))


@SHAPES
def test_a_smooth_image_stays_smooth(shape):
    """Linear interpolation keeps a linear function, between the middles of the outermost coarse pixels."""
    coarse, fine = ramp(shape, 2.0), tuple(2 * n for n in shape)
    inside = tuple(slice(1, -1) for _ in shape)
    found = prolong(coarse, fine, smooth=True)
    assert relative(found[inside], ramp(fine, 1.0)[inside]) <= 1e-14
    assert float(found.min()) >= float(coarse.min())
    both = prolong(torch.stack([coarse, 1j * coarse]), fine, smooth=True)
    assert relative(both, torch.stack([found, 1j * found])) <= 1e-14


@SHAPES
def test_blocks(shape):
    coarse = ramp((2, *shape), 2.0)
    expected = coarse
    for axis in range(1, coarse.ndim):
        expected = expected.repeat_interleave(2, dim=axis)
    assert torch.equal(prolong(coarse, tuple(2 * n for n in shape), smooth=False), expected)
    assert prolong(coarse, shape, smooth=True) is coarse


def test_odd_sizes_and_too_many_axes():
    assert prolong(torch.ones(3, 2, 3, 4), (3, 5, 7), smooth=True).eq(1).all()
    with pytest.raises(ValueError, match="one to three axes"):
        prolong(torch.ones(2, 2, 2, 2), (4, 4, 4, 4), smooth=True)
