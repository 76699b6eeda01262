"""The laws themselves: each is broken by something that it must notice, and says what to look at."""

import math

import pytest
import torch
import torch.nn.functional as F
from cases import DOUBLE, Attenuation, parallel
from laws import randn
from torch import Tensor

import invprob
from invprob import testing
from invprob.fidelities import L2
from invprob.functional import Functional
from invprob.grid import Grid
from invprob.linop import Coarser, LinearOperator, Operator
from invprob.linop.diagonal import Diagonal
from invprob.linop.linear import Bound
from invprob.operators import Mask, ParallelBeam
from invprob.priors import L1, Tikhonov

SHAPE = (3, 4)


class Plain(LinearOperator):
    """y = 2 x, a sound operator to break: every law below breaks one method of it."""

    def __init__(self, shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = DOUBLE, **kinds: bool) -> None:
        super().__init__(shape, shape, dtype=dtype, **kinds)

    def _forward(self, x: Tensor) -> Tensor:
        return 2 * x

    def _adjoint(self, y: Tensor) -> Tensor:
        return 2 * y


def broken(_base: type = Plain, **methods: object) -> LinearOperator:
    return type("Broken", (_base,), methods)()


def same(self: object, t: Tensor) -> Tensor:
    return 2 * t


def noisy(self: object, x: Tensor) -> Tensor:
    return 2 * x + 1e-3 * torch.rand_like(x.real)


class Spectrum(Plain):
    """An FFT without its 1/N, as they are written."""

    def __init__(self) -> None:
        super().__init__(is_complex=True)

    def _forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return torch.fft.ifft2(y)


class Coarse(Plain):
    """An operator with a coarser twin."""

    factor = 2.0

    def __init__(self) -> None:
        super().__init__((4, 4))

    def coarser(self) -> Coarser:
        def restrict(y: Tensor) -> Tensor:
            return self.factor / 2 * F.avg_pool2d(y.reshape(-1, 1, 4, 4), 2).reshape(*y.shape[:-2], 2, 2)

        return Coarser(Plain((2, 2)), restrict, 4)


BROKEN = {
    "shapes": (broken(__call__=lambda self, x: self._forward(x)), "call A"),
    "linearity": (broken(_forward=lambda self, x: 2 * x + 1), "offset"),
    "batches": (broken(_forward=lambda self, x: 2 * x - x.mean()), "neighbours|alone"),
    "purity": (broken(_forward=noisy), "second call|global random"),
    "precision": (broken(_forward=lambda self, x: 2 * x.float()), "float32"),
    "adjoint": (broken(_adjoint=lambda self, y: 4 * y), "too large by 2.00"),
    "adjoint ": (broken(_adjoint=lambda self, y: -2 * y), "a sign"),
    "adjoint  ": (Spectrum(), r"too small by the number of pixels, 12: a missing 1/N"),
    "adjoint   ": (broken(_adjoint=lambda self, y: 2 * y.flip(-1)), "leave it out and it is derived"),
    "complex": (broken(_forward=lambda self, x: 2 * (x.real + 0 * x)), "drops the imaginary part"),
    "matrix": (broken(nonnegative=True, _forward=lambda self, x: -2 * x, _adjoint=lambda self, y: -2 * y), "negative"),
    "autograd": (broken(_forward=lambda self, x: 2 * x.detach()), "loses the gradient"),
    "gram": (broken(_weighted_gram=lambda self, x, weights: 4 * x), "for weights of shape"),
    "gram ": (broken(_gram=lambda self, x: 2 * x), "gram"),
    "diagonals": (broken(diagonal=lambda self: Diagonal(torch.tensor(3.0, dtype=DOUBLE), "any")), "any basis"),
    "norm": (broken(_norm_bound=lambda self: Bound(torch.tensor(1.9, dtype=DOUBLE), "guess")), "exceeds|largest|norm"),
    "norm ": (broken(_norm=lambda self: torch.tensor(1.5, dtype=DOUBLE)), "largest singular value 2"),
    "solve": (broken(solve=lambda self, b, shift, x0=None, tol=0.0: b), "is not"),
    "direct": (broken(direct=lambda self, y, weights=None: 0.5 * y), "weight is 0"),
    "direct ": (broken(direct=lambda self, y, weights=None: y.clamp(-1, 1)), "threshold"),
    "hold_out": (broken(hold_out=lambda *_: torch.ones(SHAPE, dtype=torch.bool)), "hold_out.0. sets something aside"),
    "hold_out ": (broken(hold_out=lambda self, share, generator: torch.rand(SHAPE) < share), "same generator"),
    "measured": (broken(measured=torch.ones(SHAPE)), "booleans are due"),
    "fill": (broken(fill=lambda self, y, weights=None: y), "depends on readings"),
    "fill ": (broken(fill=lambda self, y, weights=None: y if weights is None else 0 * y), "changes readings"),
    "words": (broken(data_kind="images"), "data_kind 'images'"),
    "words ": (broken(grid=Grid((1.0,))), "a grid of 1 axes"),
    "words  ": (broken(doubts=lambda self, y=None: "none"), "list of sentences"),
    "degree": (broken(degree=2.0), "degree says 2"),
    "description": (broken(extra_repr=lambda self: "two\nlines"), "several lines"),
    "description ": (broken(config=lambda self: {"shape": (4, 3)}), "argument is missing"),
    "coarser": (broken(Coarse, factor=4.0), "average"),
    "coarser ": (broken(Coarse, _forward=lambda self, x: 8 * x, _adjoint=lambda self, y: 8 * y), "averaged data"),
    "conversion": (broken(_forward=lambda self, x: x * torch.full((), 2.0, dtype=DOUBLE).expand(1)), "float64|raises"),
    "copies": (broken(__deepcopy__=lambda self, memo: Plain() @ Plain()), "copy"),
    "torch.func": (broken(jvp=lambda self, x, u: u), "jvp"),
    "scipy": (broken(as_scipy=lambda self: Plain().H.__class__(2 * Plain()).as_scipy()), "something else"),
    "adjoint operator": (broken(H=property(lambda self: (2 * self) * 0.5)), "another object|H"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_operator_is_noticed(name):
    A, told = BROKEN[name]
    report = testing.examine(A)
    law = report[name.strip()]
    assert not report
    assert not law.passed
    with pytest.raises(testing.LawError, match=told) as error:
        testing.check(A, only=[name.strip()])
    assert error.value.report.failures[0].name == name.strip()


def test_the_sound_ones_are_sound():
    for A in (Plain(), Coarse(), Plain(dtype=torch.float32), Mask(randn((2, 3, 4)).abs(), ndim=2)):
        testing.check(A)


def test_numbers_that_are_not_finite_are_told_first_and_alone():
    report = testing.examine(broken(_forward=lambda self, x: 2 * x / (0 * x)))
    assert [law.name for law in report.failures] == [law.name for law in report] == ["finite"]
    assert "A gives infinite in 12 of 12 values" in report["finite"].look
    report = testing.examine(broken(_adjoint=lambda self, y: y * math.nan))
    assert [law.name for law in report] == ["finite"]
    assert "A^H gives NaN in 12 of 12 values of random data" in report["finite"].look


def test_tensors_that_functions_hold_must_follow():
    M = randn((5, 12)).float()

    def made(follow):
        return LinearOperator.from_functions(
            lambda x: x.flatten(-2) @ follow(x).mT, lambda y: (y @ follow(y)).unflatten(-1, SHAPE), SHAPE, (5,)
        )

    report = testing.examine(made(lambda t: M))
    assert [law.name for law in report.failures] == ["conversion"]
    assert "after A.to(torch.float64) it fails: tensors that the functions hold" in report["conversion"].look
    testing.check(made(M.to))


def test_a_wrong_adjoint_is_not_called_a_wrong_gram():
    assert testing.examine(BROKEN["adjoint"][0], only="matrix")["matrix"].look == "A^H is not M^H"


# ---- nonlinear operators


@pytest.mark.parametrize("method", ["jvp", "vjp"])
def test_a_wrong_derivative_is_noticed(method):
    right = getattr(Operator, method)
    A = type("Bent", (Attenuation,), {method: lambda self, x, u: 1.1 * right(self, x, u)})(SHAPE)
    assert not testing.examine(A)["derivative"].passed
    testing.check(Attenuation(SHAPE), around=torch.full(SHAPE, 3.0, dtype=DOUBLE))


# ---- functionals


class Hinge(L1):
    """Sound, with an attribute for mistakes."""

    mistake = ""

    def _value(self, x: Tensor) -> Tensor:
        total = super()._value(x)
        return total.sum().expand_as(total) if self.mistake == "sum" else total

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        if self.mistake == "epsilon":
            return super()._prox(v, t) * (v.abs() > 1e-4)
        return super()._prox(v, 1.001 * t if self.mistake == "step" else t)


@pytest.mark.parametrize(("mistake", "law"), [("sum", "value"), ("step", "prox"), ("epsilon", "scale")])
def test_a_broken_functional_is_noticed(mistake, law):
    g = Hinge(0.4)
    testing.check(g, degree=1)
    g.mistake = mistake
    assert not testing.examine(g, degree=1)[law].passed


def test_a_wrong_gradient_a_wrong_constant_and_a_wrong_hessian_are_noticed():
    wrong = {"_grad": lambda self, x: 1.01 * x, "lipschitz": lambda self: 0.2}
    report = testing.examine(type("Steep", (Tikhonov,), wrong)(0.4))
    assert {law.name for law in report.failures} >= {"gradient", "lipschitz", "terms", "stationary"}


def test_what_it_claims_to_have_must_be_there():
    class Claims(Functional):
        ndim = 2
        supports = frozenset({"value"})

    report = testing.examine(Claims())
    assert "has no value" in report["value"].look
    with pytest.raises(testing.LawError) as error:
        report.raise_for_failures()
    assert isinstance(error.value.__cause__, TypeError)


def test_an_expansive_prox_is_no_prox_of_a_convex_functional():
    class Away(Functional):
        ndim = 2

        def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
            return v + torch.as_tensor(tau)[..., None, None] * v

    assert not testing.examine(Away())["non-expansive"].passed
    away = Away()
    away.convex = False
    assert testing.examine(away)


def test_a_functional_of_real_images_is_told_how_to_say_so():
    class Sign(Functional):
        ndim = 2

        def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
            return torch.sign(v) * (v.abs() - torch.as_tensor(tau)[..., None, None]).clamp(min=0)

    report = testing.examine(Sign())
    assert report.failures
    assert all("say real=True" in law.look for law in report.failures)
    testing.check(Sign(), real=True)


def test_a_fidelity_is_checked_on_both_sides():
    f = L2(parallel(), randn((4, 8)))
    names = [law.name for law in testing.check(f)]
    assert {"gradient", "prox", "stationary", "gradient of phi", "prox of phi", "moreau of phi"} <= set(names)
    assert len(names) == len(set(names))


# ---- denoisers


def test_denoisers():
    def mean(v: Tensor, sigma: Tensor) -> Tensor:
        s = sigma.reshape(*sigma.shape, 1, 1) if sigma.ndim else sigma
        return (1 - s) * v + s * v.mean((-2, -1), keepdim=True)

    testing.check(mean)
    testing.check(mean, shape=(4, 6), dtype=DOUBLE)
    broken = {
        "shapes": lambda v, sigma: mean(v, sigma)[..., 1:],
        "batches": lambda v, sigma: v - v.mean(),
        "purity": lambda v, sigma: v.mul_(0.5),
    }
    for name, denoiser in broken.items():
        assert not testing.examine(denoiser)[name].passed


# ---- the report


def test_a_report_is_a_table_of_sentences():
    report = testing.examine(BROKEN["adjoint"][0])
    lines = str(report).splitlines()
    assert lines[0].startswith("Broken(")
    assert "  BROKEN  adjoint" in str(report)
    assert any(line.strip().startswith("-> the adjoint is too large by 2.00") for line in lines)
    assert max(map(len, lines)) < 160
    assert len(report.laws) == len({law.name for law in report})
    assert all(law.sentence for law in report)
    assert report["shapes"].passed
    assert report["adjoint"].measured > report["adjoint"].allowed == 1e-12
    with pytest.raises(KeyError, match="no law 'nonsense'"):
        report["nonsense"]


def test_only_some_laws():
    assert [law.name for law in testing.check(Plain(), only=["norm", "adjoint"])] == ["adjoint", "norm"]
    assert [law.name for law in testing.check(Plain(), only="adjoint")] == ["adjoint"]
    with pytest.raises(ValueError, match="unknown laws adjoin; known: finite"):
        testing.check(Plain(), only=["adjoin"])
    with pytest.raises(TypeError, match="int is no Operator"):
        testing.check(3)


def test_options_that_there_are_not():
    for thing, words in ((Plain(), "operators"), (L1(0.3), "functionals"), (lambda v, sigma: v, "denoisers")):
        with pytest.raises(TypeError, match=f"testing: {words} have no option colour, tint; they have only"):
            testing.check(thing, colour=1, tint=2)


def test_large_operators_are_tried_without_their_matrix():
    """And no law needs more products than a short reconstruction."""
    angles = [math.pi * k / 30 for k in range(30)]
    A = ParallelBeam((40, 44), angles, 50)
    calls = []
    A.register_forward_hook(lambda *_: calls.append(1))
    report = testing.check(A)
    assert not {"matrix", "diagonals", "scipy"} & {law.name for law in report}
    assert {"adjoint", "norm", "solve", "direct", "coarser"} <= {law.name for law in report}
    assert len(calls) < 400


def test_the_laws_leave_the_global_random_state_alone():
    before = torch.random.get_rng_state()
    testing.check(Plain())
    testing.check(L1(0.3))
    assert torch.equal(before, torch.random.get_rng_state())


def test_it_is_a_public_name():
    assert invprob.testing is testing
