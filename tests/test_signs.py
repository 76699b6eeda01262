"""Automatic x >= 0 gives way to data that contradict it; pictures in [-1, 1]; settings of the wrong kind."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from laws import randn, relative

import invprob
from invprob.likelihood import Laplace
from invprob.methods.setting_kinds import wrong_kind
from invprob.metrics import psnr
from invprob.operators import Blur, ParallelBeam
from invprob.phantoms import Ellipses, detected, shepp_logan
from invprob.problem import Problem, contradicts_nonnegative
from invprob.scan import Scan

N = 32
A = ParallelBeam((N, N), np.arange(40) * math.pi / 40, 48)


def discs(second):
    """A disc of value 1 and beside it one of another value, with the integrals over the bins."""
    body = Ellipses(
        torch.tensor([1.0, second]),
        torch.tensor([[-6.0, 0.0], [7.0, 1.0]]),
        torch.tensor([[5.0, 5.0], [6.0, 6.0]]),
        torch.zeros(2),
    )
    return body.image((N, N)), detected(body, A)


def noisy(y, percent, seed=0):
    sigma = percent / 100 * float(y.abs().max())
    return y + sigma * randn(y.shape, y.dtype, seed), sigma


@pytest.mark.parametrize("told", [True, False])
def test_negative_objects_keep_their_sign(told):
    truth, y = discs(-1.0)
    y, sigma = noisy(y, 1.0)
    result = invprob.reconstruct(Scan(A, y, sigma if told else None), "tv")
    assert result.settings["nonnegative"] is False
    assert float(result.x[truth == -1].mean()) == pytest.approx(-1, abs=0.1)
    assert relative(result.x, truth) < 0.25


@pytest.mark.parametrize("percent", [0.0, 1.0, 5.0, 20.0])
@pytest.mark.parametrize("shift", [0.0, -0.01])
def test_noise_and_flat_fields_are_no_contradiction(percent, shift):
    y = detected(shepp_logan(14.0), A)
    y, sigma = noisy(y + shift * y.abs().max(), percent)
    for noise in (None, torch.tensor(sigma)):
        assert not bool(contradicts_nonnegative(Problem(A, y, noise)))


def test_what_contradicts_is_said_per_item():
    positive, negative = noisy(discs(0.6)[1], 2.0)[0], noisy(discs(-0.4)[1], 2.0)[0]
    both = torch.stack([positive, negative, torch.zeros_like(positive), randn(positive.shape, positive.dtype)])
    assert contradicts_nonnegative(Problem(A, both, None)).tolist() == [False, True, False, False]
    hidden = (negative > 0).float()  # where nothing was measured nothing contradicts
    assert not bool(contradicts_nonnegative(Problem(A, negative, None, hidden)))
    assert not bool(contradicts_nonnegative(Problem(A, negative, None, likelihood=Laplace())))
    assert not bool(contradicts_nonnegative(Problem(A, negative + 0j, None)))


@pytest.mark.parametrize(("method", "settings"), [("tv", {}), ("wavelet", {}), ("pnp", {"steps": 4, "max_iter": 2})])
def test_a_neighbour_of_another_sign_changes_nothing(method, settings):
    positive, negative = noisy(discs(0.6)[1], 1.0), noisy(discs(-1.0)[1], 1.0, seed=1)
    alone = [invprob.reconstruct(Scan(A, y, sigma), method, **settings) for y, sigma in (positive, negative)]
    y, sigma = torch.stack([positive[0], negative[0]]), torch.tensor([positive[1], negative[1]])
    both = invprob.reconstruct(Scan(A, y, sigma), method, **settings)
    for found, result in zip(both.x, alone, strict=True):
        assert relative(found, result.x) < 5e-3  # as far as the tolerance of the solvers
    assert float(both.x[1].min()) < -0.5
    if method != "pnp":
        assert both.settings["nonnegative"] == [True, False]
        assert [result.settings["nonnegative"] for result in alone] == [True, False]
    assert float(both.x[0].min()) >= 0


def picture():
    at = torch.linspace(-1, 1, 48)
    return torch.clamp(0.45 + 0.4 * torch.sin(5 * at) * torch.cos(3 * at[:, None]) + 0.3 * (at > 0.3), 0, 1)


BLUR = Blur((48, 48), torch.ones(3, 3) / 9)


@pytest.mark.parametrize(("method", "settings"), [("tv", {}), ("pnp", {"steps": 4, "max_iter": 2})])
def test_pictures_between_minus_one_and_one(method, settings):
    """The same picture in another range is the same problem: 2 x - 1 for x."""
    x = picture()
    y = BLUR(x) + 0.02 * randn((48, 48), torch.float32)
    usual = invprob.reconstruct(Scan(BLUR, y, 0.02), method, **settings)
    signed = invprob.reconstruct(Scan(BLUR, 2 * y - 1, 0.04), method, **settings)
    before, after = (float(psnr(t, x, data_range=1.0)) for t in (usual.x, (signed.x + 1) / 2))
    assert after > before - 0.5


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("tv", {"nonnegative": "no"}, "nonnegative of tv must be True, False or None, got 'no'"),
        ("tv", {"nonnegative": "False"}, "must be True, False or None"),
        ("pnp", {"nonnegative": 1}, "must be True, False or None, got 1"),
        ("lpn", {"nonnegative": 0.0}, "must be True, False or None"),
        ("wavelet", {"wavelet": 3}, "wavelet of wavelet must be a text, got 3"),
        ("wavelet", {"tol": "fine"}, "tol of wavelet must be a number"),
        ("sobolev-tv", {"nonnegative": "maybe"}, "must be True, False or None"),
    ],
)
def test_settings_of_the_wrong_kind_are_refused_before_the_work(method, settings, words):
    y = BLUR(picture())
    with pytest.raises(ValueError, match=words):
        invprob.reconstruct(Scan(BLUR, y), method, **settings)


def test_what_a_signature_says_of_a_setting():
    def recipe(problem: Any, *, a: bool | None = None, b: float = 1.0, c: int | None = None, d: Any = 1) -> None:
        del problem, a, b, c, d

    right = {
        "a": [True, None],
        "b": [2, 0.5, np.float32(1), torch.tensor(1.0)],
        "c": [3, None, np.int64(2)],
        "d": ["x"],
    }
    wrong = {"a": ["no", 0, np.bool_(True)], "b": ["1", True, None], "c": [2.5, "3", True]}
    assert all(wrong_kind(recipe, name, value) is None for name, values in right.items() for value in values)
    assert all(wrong_kind(recipe, name, value) for name, values in wrong.items() for value in values)
    assert wrong_kind(recipe, "c", 2.5) == "a whole number or None"
