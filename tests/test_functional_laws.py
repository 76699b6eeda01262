"""The laws of every functional: priors, fidelities and what they are made of."""

import math
from functools import cache

import pytest
import torch
from cases import BOUND, DOUBLE, FIDELITIES, PRIORS, classes_in, classes_of, mixing, parallel
from laws import dense, dense_map, randn, relative
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor

from invprob import testing
from invprob.fidelities import L2, Fidelity, HalfSquaredDistance, Misfit, QuadraticFidelity
from invprob.functional import Functional, Zero
from invprob.operators import Gradient, Identity
from invprob.priors import (
    L1,
    Analysis,
    Box,
    Denoiser,
    DiffusionPrior,
    GreyLevels,
    GroupL1,
    NonNegative,
    Prior,
    Sum,
    Tikhonov,
    TotalVariation,
)
from invprob.testing.functional_probe import FunctionalProbe

EVERY = pytest.mark.parametrize("name", PRIORS)
LAM = 0.4


def having(*abilities):
    names = [name for name, case in PRIORS.items() if set(abilities) <= case.make(LAM).supports]
    return pytest.mark.parametrize("name", names)


def images(case, batch=(), seed=0, dtype=DOUBLE):
    """Real and, where they make sense, complex images."""
    kinds = [dtype] if case.real else [dtype, torch.complex128 if dtype == DOUBLE else torch.complex64]
    return [randn((*batch, *case.shape), kind, seed) for kind in kinds]


def test_every_class_has_a_case():
    tried = set().union(*(classes_in(case.make(LAM)) for case in PRIORS.values()))
    A = parallel()
    tried |= set().union(*(classes_in(make(A, torch.zeros(A.range_shape))) for make in FIDELITIES.values()))
    there = set(classes_of(Functional, "invprob.priors", "invprob.fidelities", "invprob.functional"))
    # a diffusion prior has no weight lam, and grey levels are not convex: laws of their own in
    # tests/test_diffusion_priors.py and tests/test_grey_levels.py
    assert there - {Prior, Fidelity, Misfit, DiffusionPrior, GreyLevels} <= tried


@EVERY
def test_laws(name):
    case = PRIORS[name]
    report = testing.check(
        case.make(LAM),
        make=case.make,
        shape=case.shape,
        degree=case.degree,
        constraint=case.constraint,
        tol=case.tol,
        convex=True,
        pickles=name != "denoiser",  # what it is made of is a function of this session
    )
    asked, supports = {law.name for law in report}, case.make(LAM).supports
    assert asked >= {"abilities", "weights", "batches", "purity", "terms", "copies"}
    assert ("value" in asked) == ("value" in supports)
    assert ("gradient" in asked) == ({"value", "grad"} <= supports)
    assert ("prox" in asked) == ({"value", "prox"} <= supports)
    assert ({"moreau", "guess", "non-expansive", "steps"} <= asked) == ("prox" in supports)
    assert ("scale" in asked) == (case.degree is not None)


@EVERY
def test_laws_in_single_precision(name):
    case = PRIORS[name]
    g = case.make(LAM).to(torch.float32)
    laws = ["value", "batches", "purity"]
    testing.check(g, only=laws, shape=case.shape, constraint=case.constraint, tol=case.tol, dtype=torch.float32)


@EVERY
def test_real_and_complex_images(name):
    """Which functionals refuse complex images is found out by trying; here it is said."""
    case = PRIORS[name]
    probe = FunctionalProbe(case.make(LAM), shape=case.shape)
    assert probe.real == case.real
    assert [x.is_complex() for x in probe.images()] == ([False] if case.real else [False, True])


@having("prox")
def test_the_prox_of_nothing_is_nothing(name):
    case = PRIORS[name]
    for v in images(case, (2,)):
        assert not bool(case.make(LAM).prox(torch.zeros_like(v), 2.0).any())


@pytest.mark.parametrize("name", FIDELITIES)
def test_laws_of_fidelities(name):
    f = FIDELITIES[name](parallel(), 2 * randn((4, 8), DOUBLE, 71))
    positive = True if name == "transmission" else None  # more light than without an object has no Lipschitz constant
    asked = {law.name for law in testing.check(f, positive=positive)}
    assert asked >= {
        "abilities",
        "value",
        "batches of phi",
        "purity",
        "prox of phi",
        "moreau of phi",
        "non-expansive of phi",
    }
    assert ("stationary" in asked) == ({"grad", "prox"} <= f.supports)


# ---- what a functional says it can do


def test_a_prior_may_write_hooks_or_the_methods_themselves():
    class Hooks(Prior):
        def _prox(self, v: Tensor, t: Tensor) -> Tensor:
            return v

    class Whole(Prior):
        def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
            return v

    assert Hooks().supports == Whole().supports == {"prox"}
    assert Prior().supports == frozenset()


# ---- value


def test_values_by_their_formulas():
    x = torch.tensor([[3.0, -4.0], [0.0, 1.0]], dtype=DOUBLE)
    z = torch.tensor([[3.0 + 4.0j, 0.0], [0.0, -1.0j]])
    assert float(Tikhonov(0.5).value(x)) == 0.25 * 26
    assert float(L1(2.0).value(x)) == 16
    assert float(L1(2.0).value(z)) == 12
    assert float(GroupL1(1.0).value(x)) == pytest.approx(3 + 17**0.5)
    assert float(TotalVariation(1.0).value(x)) == pytest.approx(math.hypot(3, 7) + 5 + 1)
    assert float(TotalVariation(1.0, isotropic=False).value(x)) == 3 + 7 + 5 + 1
    assert float(TotalVariation(1.0).value(z)) == pytest.approx(math.hypot(5, 5) + 1 + 1)
    vectorial = TotalVariation(1.0, ndim=3, axes=2, shared_edges=True)
    assert float(vectorial.value(torch.stack([x, 2 * x]))) == pytest.approx(
        5**0.5 * float(TotalVariation(1.0).value(x))
    )
    assert float(vectorial.value(torch.stack([0 * x, 0 * x + 5]))) == 0  # channels may differ
    assert float(GroupL1(1.0, ndim=3, grouped=2).value(torch.stack([x, x]))) == pytest.approx(18**0.5 + 34**0.5)
    assert [float(v) for v in NonNegative().value(torch.stack([x, x.abs()]))] == [math.inf, 0]
    assert [float(v) for v in Box(-4.0, 3.0).value(torch.stack([x, x + 1]))] == [0, math.inf]
    assert float(Zero().value(x)) == 0


# ---- gradient


@having("grad")
def test_the_lipschitz_constant_holds_per_item(name):
    case = PRIORS[name]
    lam = torch.tensor([0.4, 200.0], dtype=DOUBLE)
    g = case.make(lam)
    if name == "gradient-step":  # of a network: nobody knows the constant, steps are searched
        assert g.lipschitz() is None
        return
    constant = torch.as_tensor(g.lipschitz()).expand(2)
    assert bool((constant <= 20 * lam).all())  # and is no wild guess
    for x, y in zip(images(case, (2,)), images(case, (2,), seed=7), strict=True):
        change = (g.grad(x) - g.grad(y)).flatten(1)
        ratio = torch.linalg.vector_norm(change, dim=1) / torch.linalg.vector_norm((x - y).flatten(1), dim=1)
        assert bool((ratio <= constant * (1 + 1e-12)).all())


# ---- prox


def objective(g: Functional, x: Tensor, v: Tensor, tau: float) -> float:
    return float(tau * g.value(x) + 0.5 * (x - v).abs().square().sum())


# ---- what is refused


def test_what_cannot_be_is_refused():
    for bad in (-1.0, math.nan, math.inf, torch.tensor([1.0, -1.0])):
        for make in (Tikhonov, L1, TotalVariation, lambda lam: Denoiser(abs, lam=lam)):
            with pytest.raises(ValueError, match="lam must be finite and not negative"):
                make(bad)
        with pytest.raises(ValueError, match="L1: tau must be finite and not negative"):
            L1().prox(torch.ones(2, 2, 2), bad)
    for call in (Box(0.0, 1.0).value, lambda z: NonNegative().prox(z, 1.0)):
        with pytest.raises(TypeError, match="wrap it in Magnitude"):
            call(torch.ones(2, 2, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"lower 2\.0 must not exceed upper 1.0"):
        Box(2.0, 1.0)
    with pytest.raises(ValueError, match=r"agree in ndim, got \[2, 3\]"):
        Sum(L1(), L1(ndim=3))
    with pytest.raises(ValueError, match=r"grouped must be between 1 and ndim=2 axes, got 3"):
        GroupL1(grouped=3)
    with pytest.raises(ValueError, match=r"axes must be between 1 and ndim=1, got 2"):
        TotalVariation(ndim=1, axes=2)
    with pytest.raises(ValueError, match=r"axes must be between 1 and 2 for the shape \(3, 4\), got 3"):
        Gradient((3, 4), axes=3)
    with pytest.raises(ValueError, match="no parts"):
        Sum()
    with pytest.raises(ValueError, match=r"L1 has ndim=2, C gives items \(2, 3, 4\)"):
        Analysis(L1(), Gradient((3, 4)))
    with pytest.raises(ValueError, match="exactly one of lam"):
        Denoiser(abs)
    with pytest.raises(ValueError, match="exactly one of lam"):
        Denoiser(abs, lam=1.0, sigma=1.0)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda v: v[..., 1:], r"\(3, 4\) torch.float64 and returned \(3, 3\)"),
        (lambda v: v.float(), "float32"),
        (len, "int"),
    ],
)
def test_a_denoiser_must_return_what_it_was_given(answer, told):
    with pytest.raises(ValueError, match=told):
        Denoiser(lambda v, sigma: answer(v), lam=1.0).prox(randn((3, 4)), 1.0)


def test_a_denoiser_is_told_the_noise():
    seen = []

    def note(v, sigma):
        seen.append(sigma)
        return v

    v = torch.zeros(2, 3, 4, dtype=DOUBLE)
    Denoiser(note, lam=0.1).prox(v, 0.9)
    Denoiser(note, lam=torch.tensor([0.1, 0.4], dtype=DOUBLE)).prox(v, torch.tensor([0.4, 0.9], dtype=DOUBLE))
    Denoiser(note, sigma=0.25).prox(v, 123.0)
    assert [sigma.tolist() for sigma in seen] == [pytest.approx(e) for e in (0.3, [0.2, 0.6], 0.25)]
    assert {sigma.dtype for sigma in seen} == {DOUBLE}


# ---- total variation


@cache
def long_run(isotropic: bool, shape: tuple[int, ...], dtype: torch.dtype, t: float) -> tuple[Tensor, Tensor]:
    """A noisy step v and its TV prox by accelerated projected gradient on the dual, written independently."""
    ndim = len(shape)
    v = randn(shape, dtype) + (torch.arange(shape[-1]) > shape[-1] / 2)
    D = Gradient(shape, dtype=DOUBLE)
    p = q = torch.zeros_like(D(v))
    for k in range(4000):
        before, p = p, q + D(v - D.adjoint(q)) / (4 * ndim)
        length = torch.linalg.vector_norm(p, dim=0, keepdim=True) if isotropic else p.abs()
        p = p * (t / length.clamp(min=t))
        q = p + (k % 200) / (k % 200 + 3) * (p - before)
    return v, v - D.adjoint(p)


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize(
    ("shape", "dtype"), [((6, 7), DOUBLE), ((30,), DOUBLE), ((3, 4, 3), DOUBLE), ((6, 5), torch.complex128)]
)
@pytest.mark.parametrize("tol", [1e-3, 1e-7])
def test_tv_prox_reaches_its_tolerance(isotropic, shape, dtype, tol):
    g = TotalVariation(0.5, isotropic=isotropic, ndim=len(shape), tol=tol)
    for tau in (0.05, 1.0, 20.0):
        v, true = long_run(isotropic, shape, dtype, 0.5 * tau)
        found = g.prox(v, tau)
        least = objective(g, true, v, tau)
        assert objective(g, found, v, tau) <= least * (1 + tol)
        assert 0.5 * float((found - true).abs().square().sum()) <= 2 * tol * least


def test_tv_prox_in_single_precision():
    g = TotalVariation(0.5, tol=1e-5)
    v = randn((2, 12, 12), torch.float32)
    for tau in (1e-3, 1.0, 100.0):
        wide = TotalVariation(0.5, tol=1e-9).prox(v.double(), tau)
        assert float((g.prox(v, tau) - wide).square().sum()) <= 1e-4 * float((wide - v).square().sum()) + 1e-9


def test_tv_prox_of_a_constant_and_of_a_strong_weight():
    v = torch.full((4, 5), 3.0, dtype=DOUBLE)
    assert relative(TotalVariation(2.0).prox(v, 1.0), v) <= 1e-12
    noisy = randn((4, 5))
    flat = TotalVariation(1e4, tol=1e-10).prox(noisy, 1.0)
    assert float((flat - noisy.mean()).abs().max()) <= 1e-3
    assert float(flat.mean()) == pytest.approx(float(noisy.mean()), abs=1e-12)


@pytest.mark.parametrize("shape", [(16, 17), (5, 6, 7)])
def test_tv_prox_against_scikit_image(shape):
    """skimage 0.26, denoise_tv_chambolle(v, weight): min 1/2 |x - v|^2 + weight TV(x), the same differences."""
    v = randn(shape).abs()
    g = TotalVariation(1.0, ndim=len(shape), tol=1e-7)
    theirs = torch.from_numpy(denoise_tv_chambolle(v.numpy(), weight=0.3, eps=1e-12, max_num_iter=5000))
    ours = g.prox(v, 0.3)
    assert objective(g, ours, v, 0.3) <= objective(g, theirs, v, 0.3) * (1 + 1e-7)
    assert relative(ours, theirs) <= 1e-2


# ---- fidelities

QUADRATIC = [name for name, make in FIDELITIES.items() if isinstance(make(mixing(), randn((2, 4))), QuadraticFidelity)]
PAIRS = [(name, kind) for name in QUADRATIC for kind in BOUND]


def problem(name: str, kind: str) -> tuple[Fidelity, Tensor]:
    A = BOUND[kind]()
    dtype = DOUBLE if kind == "real" else torch.complex128
    return FIDELITIES[name](A, randn((2, *A.range_shape), dtype, 31)), randn((2, *A.domain_shape), dtype, 32)


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_fidelity_is_its_formula(name, kind):
    f, x = problem(name, kind)
    M, W = dense(f.A).to(x.dtype), dense_map(f.weigh, f.A.range_shape, x.dtype)
    r = x.flatten(1) @ M.T - f.y.flatten(1)
    assert relative(f.value(x), 0.5 * ((r @ W.T) * r.conj()).real.sum(1)) <= 1e-12
    assert relative(f.grad(x).flatten(1), r @ W.T @ M.conj()) <= 1e-12
    x.requires_grad_()
    (automatic,) = torch.autograd.grad(f.value(x).sum(), x)
    assert relative(f.grad(x.detach()), automatic) <= 1e-12
    assert f.supports == {"value", "grad", "prox"}
    assert f.start().shape == x.shape
    assert f.start().dtype == x.dtype


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_fidelity_prox_solves_the_normal_equations(name, kind):
    f, v = problem(name, kind)
    tau = torch.tensor([0.3, 4.0], dtype=DOUBLE)
    p = f.prox(v, tau)
    for k in range(2):
        residual = tau[k] * f.grad(p)[k] + p[k] - v[k]
        assert torch.linalg.vector_norm(residual) <= 1e-5 * torch.linalg.vector_norm(
            v[k] + tau[k] * f.back_projected()[k]
        )


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_fidelity_lipschitz(name, kind):
    f, _ = problem(name, kind)
    M = dense(f.A)
    true = float(torch.linalg.matrix_norm(M.mH @ dense_map(f.weigh, f.A.range_shape, M.dtype) @ M, 2))
    assert float(torch.as_tensor(f.lipschitz())) >= true * (1 - 1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_half_squared_distance(weighted):
    """The functional on data space: prox and conjugate prox in closed form, against search and Moreau."""
    y = randn((2, 3, 4), torch.complex128, 41)
    weights = randn((3, 4), seed=42).abs() * (randn((3, 4), seed=43) > -0.5) if weighted else None
    phi = HalfSquaredDistance(y, weights, 2)
    v = randn((2, 3, 4), torch.complex128, 44)
    tau = torch.tensor([0.2, 5.0], dtype=DOUBLE)
    p = phi.prox(v, tau)
    gradient = tau.reshape(2, 1, 1) * phi.grad(p) + p - v
    assert float(gradient.abs().max()) <= 1e-12
    for sigma in (0.3, tau):
        assert relative(phi.conjugate_prox(v, sigma), Functional.conjugate_prox(phi, v, sigma)) <= 1e-12
    assert relative(phi.prox(v, 0.0), v) == 0


def test_lipschitz_is_per_item():
    weights = torch.ones(2, 3, 4, dtype=DOUBLE)
    weights[1, 0, 0] = 1e6
    f = L2(Identity((3, 4), dtype=DOUBLE), torch.zeros(2, 3, 4, dtype=DOUBLE), weights)
    assert f.lipschitz().tolist() == [1, 1e6]
    assert L2(f.A, f.y, weights[:, :1, :1]).lipschitz().tolist() == [1, 1e6]
    assert float(L2(f.A, f.y, weights[1, 0]).lipschitz()) == 1e6
    assert float(L2(f.A, f.y, torch.tensor(2.0)).lipschitz()) == 2


def test_binding_checks_the_data():
    A = parallel()
    y = torch.zeros(3, *A.range_shape, dtype=DOUBLE)
    for bad in (y[..., 1:], y[0, 0]):
        with pytest.raises(ValueError, match="ParallelBeam expects data of shape"):
            L2(A, bad)
    for weights, told in (
        (torch.ones(5), "do not fit"),
        (torch.ones(2, *y.shape), "do not fit"),
        (-torch.ones(8), "not negative"),
        (torch.full((8,), math.nan), "finite"),
        (torch.ones(8, dtype=torch.complex64), "real"),
    ):
        with pytest.raises(ValueError, match=told):
            L2(A, y, weights)


def test_a_fidelity_keeps_its_kind_when_its_precision_changes():
    f = L2(mixing(torch.float32), torch.ones(2, 4, dtype=torch.complex64), torch.ones(4)).to(DOUBLE)
    assert (f.A.dtype, f.y.dtype, f.weights.dtype) == (DOUBLE, torch.complex128, DOUBLE)
