"""A scan holds together only if its shapes, values and noise do."""

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from invprob.likelihood import Poisson
from invprob.operators import Identity, ParallelBeam
from invprob.scan import Scan, Units


@pytest.fixture
def A():
    return ParallelBeam((8, 8), np.arange(4) * np.pi / 4, 12)


def test_a_scan_holds_its_parts_and_knows_its_batch(A):
    scan = Scan(A, torch.ones(3, 4, 12), 0.1, torch.ones(3, 8, 8), provenance={"source": "here"})
    assert scan.batch_shape == (3,)
    assert (scan.noise, scan.provenance["source"]) == (0.1, "here")
    assert scan.units == Units("pixel", "1", "1")
    assert Scan(A, torch.ones(4, 12)).batch_shape == ()


def test_a_scan_is_frozen(A):
    with pytest.raises(FrozenInstanceError):
        Scan(A, torch.ones(4, 12)).noise = 1.0


def test_attenuation_is_per_length():
    assert Units.attenuation("mm") == Units(length="mm", image="1/mm", data="1")


@pytest.mark.parametrize("shape", [(12,), (12, 4), (3, 4, 13), (4, 12, 1)])
def test_data_of_another_shape_are_refused_with_both_shapes(A, shape):
    with pytest.raises(ValueError, match=r"ParallelBeam measures items of \(4, 12\)") as caught:
        Scan(A, torch.ones(shape))
    assert str(shape) in str(caught.value)


def test_truth_of_another_shape_is_refused(A):
    with pytest.raises(ValueError, match=r"truth has shape \(8, 8\).*\(3, 8, 8\)"):
        Scan(A, torch.ones(3, 4, 12), truth=torch.ones(8, 8))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_data_are_counted_and_located(A, value):
    data = torch.ones(2, 4, 12)
    data[1, 2, 3:5] = value
    with pytest.raises(ValueError, match=r"2 NaN or infinite values, the first at index \(1, 2, 3\)"):
        Scan(A, data)


def test_complex_and_integer_data_are_fine():
    Scan(Identity((2,)), torch.tensor([1j, 2.0]))
    Scan(Identity((2,)), torch.tensor([1, 2]))


@pytest.mark.parametrize("noise", [-0.1, math.nan, math.inf, torch.tensor([0.1, -0.1, 0.1])])
def test_noise_is_a_standard_deviation(A, noise):
    with pytest.raises(ValueError, match="finite and not negative"):
        Scan(A, torch.ones(3, 4, 12), noise)


def test_noise_is_per_item(A):
    Scan(A, torch.ones(3, 4, 12), torch.ones(3))
    with pytest.raises(ValueError, match=r"batch shape \(3,\), got shape \(2,\)"):
        Scan(A, torch.ones(3, 4, 12), torch.ones(2))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": [[1.0] * 12] * 4}, "data: a tensor or a numpy array is needed, got list"),
        ({"truth": "organ"}, "truth: a tensor or a numpy array is needed, got str"),
        ({"likelihood": Poisson}, "an object such as Poisson.., got the class Poisson"),
        ({"units": "mm"}, "units must be Units of three texts, .* got 'mm'"),
        ({"units": Units(length=2)}, "units must be Units of three texts"),
    ],
)
def test_what_is_of_another_kind_is_refused_in_words(A, changes, words):
    with pytest.raises(TypeError, match=words):
        Scan(A, **({"data": torch.ones(4, 12)} | changes))


def test_a_scan_is_doubted_once(monkeypatch):
    """A command says what is doubtful before it reconstructs, and the result says it again."""
    scan, asked = Scan(Identity((4,)), torch.ones(4)), []

    def doubts(y):
        asked.append(y)
        return ["a doubt"]

    monkeypatch.setattr(scan.operator, "doubts", doubts)
    scan.doubts().append("of the caller's own")
    assert scan.doubts() == ["a doubt"]
    assert len(asked) == 1
