"""Iterative linear algebra per item: conjugate gradients, norms, normal equations, the cosine transform."""

import math

import numpy as np
import pytest
import scipy.fft
import torch
from cases import DOUBLE, fourier, mixing, parallel
from laws import dense, randn, relative
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from invprob import linalg
from invprob.linalg import NormalTerm
from invprob.linop import LinearOperator, items
from invprob.linop.bases import dct, from_basis, idct, to_basis
from invprob.operators import Gradient, Identity, ParallelBeam

# ---- per item


def test_inner_products_neither_overflow_nor_underflow():
    for scale in (1e-30, 1.0, 1e30):
        x = scale * torch.ones(2, 3, 4)
        assert linalg.norm(x, 2).tolist() == pytest.approx([scale * 12**0.5] * 2, rel=1e-6)
        z = torch.complex(x, 2 * x)
        assert linalg.inner(z, 1j * z, 2).tolist() == pytest.approx([0, 0], abs=1e-6 * scale**2)
        assert linalg.inner(z, x, 2).tolist() == pytest.approx([12 * scale**2] * 2, rel=1e-6)
    assert linalg.inner(torch.ones(3), torch.ones(3), 0).shape == (3,)


def test_ratio_of_nothing_is_nothing():
    a, b = torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([0.0, 4.0, 4.0, 0.0])
    assert linalg.ratio(a, b).tolist() == [0, 0, 0.5, math.inf]


def test_per_item():
    x = torch.zeros(2, 3, 4, 5)
    assert linalg.per_item(2.0, x, 2).shape == ()
    assert linalg.per_item(torch.ones(3, dtype=DOUBLE), x, 2).shape == (3, 1, 1)
    assert linalg.per_item(torch.ones(2, 3, dtype=DOUBLE), x.to(torch.complex64), 2).dtype == torch.float32


# ---- conjugate gradients


def spectra(n: int = 8) -> Tensor:
    """Four self-adjoint positive matrices, of condition 1, 10, 1e3 and 1e6."""
    Q = torch.linalg.qr(randn((n, n), torch.complex128))[0]
    powers = torch.arange(n, dtype=DOUBLE) / (n - 1)
    return torch.stack([Q @ torch.diag(c**powers).to(Q.dtype) @ Q.mH for c in (1.0, 1e1, 1e3, 1e6)])


def test_conjugate_gradients_per_item():
    M = spectra()
    b = randn((4, 8), torch.complex128, 2)

    def apply(x: Tensor) -> Tensor:
        return (M @ x.unsqueeze(-1)).squeeze(-1)

    found = linalg.conjugate_gradient(apply, b, ndim=1, tol=1e-10, max_iter=100)
    true = torch.linalg.norm(b - apply(found.x), dim=1) / torch.linalg.norm(b, dim=1)
    assert bool((true <= 1.1e-10).all())
    assert bool((found.residual <= 1e-10).all())
    assert found.n_iter[0] == 1
    assert bool((found.n_iter.diff() > 0).all())  # the worse the condition, the more steps
    for k in range(4):
        alone = linalg.conjugate_gradient(lambda x, k=k: M[k] @ x, b[k], ndim=1, tol=1e-10, max_iter=100)
        assert alone.n_iter == found.n_iter[k]
        assert relative(found.x[k], alone.x) <= 1e-9


def test_conjugate_gradients_by_the_length_of_their_preconditioner():
    M, b = spectra(), randn((4, 8), torch.complex128, 2)
    inverse = 1 / torch.diagonal(M, dim1=-2, dim2=-1).real

    def apply(x: Tensor) -> Tensor:
        return (M @ x.unsqueeze(-1)).squeeze(-1)

    def length(r: Tensor) -> Tensor:
        return (inverse * r.abs().square()).sum(-1).sqrt()

    wanted = {"ndim": 1, "tol": 0.1, "max_iter": 100, "preconditioner": lambda r: inverse * r}
    found = linalg.conjugate_gradient(apply, b, **wanted, preconditioned=True)
    assert relative(found.residual, length(b - apply(found.x)) / length(b)) <= 1e-9
    assert bool((found.residual <= 0.1).all())
    one_less = linalg.conjugate_gradient(apply, b, **wanted | {"max_iter": int(found.n_iter.max()) - 1})
    assert bool((length(b - apply(one_less.x)) > 0.1 * length(b)).any())


def test_conjugate_gradients_at_the_edges():
    M = spectra()[2]

    def apply(x: Tensor) -> Tensor:
        return x @ M.T

    b = randn((3, 8), torch.complex128)
    b[1] = 0
    exact = torch.linalg.solve(M, b.T).T
    found = linalg.conjugate_gradient(apply, b, ndim=1, tol=1e-9)
    assert found.n_iter[1] == 0
    assert not bool(found.x[1].any())
    assert float(found.residual[1]) == 0
    started = linalg.conjugate_gradient(apply, b, ndim=1, x0=exact, tol=1e-9)
    assert started.n_iter.tolist() == [0, 0, 0]
    assert torch.equal(started.x, exact)
    part = linalg.conjugate_gradient(apply, b, ndim=1, x0=0.5 * exact, tol=0.0, reduction=0.1)
    assert bool((linalg.norm(b - apply(part.x), 1) <= 0.05 * linalg.norm(b, 1) * (1 + 1e-9)).all())
    assert bool((part.n_iter[::2] < found.n_iter[::2]).all())
    few = linalg.conjugate_gradient(apply, b, ndim=1, tol=1e-12, max_iter=2)
    assert few.n_iter.tolist() == [2, 0, 2]


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_conjugate_gradients_on_a_singular_system_stay_sober(dtype):
    """With no tolerance they go on until nothing is left but the null space, and must not run off along it."""
    D = Gradient((9,), dtype=dtype)
    b = D.adjoint(randn((1, 9), dtype))
    x = linalg.conjugate_gradient(D.gram, b, ndim=1, tol=0.0, max_iter=200).x
    assert relative(D.gram(x), b) <= 1e3 * torch.finfo(dtype).eps
    least = torch.linalg.pinv(dense(D.to(DOUBLE))) @ (torch.linalg.pinv(dense(D)).T @ b.double())
    assert relative(x.double(), least) <= 1e5 * torch.finfo(dtype).eps


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_conjugate_gradients_have_no_scale(scale):
    M, b = spectra()[1].real.float(), randn((8,), torch.float32)
    M = M @ M.T
    reference = linalg.conjugate_gradient(lambda x: M @ x, b, ndim=1)
    for c, d in ((scale, 1.0), (1.0, scale), (scale, scale)):
        found = linalg.conjugate_gradient(lambda x, c=c: (c * M) @ x, d * b, ndim=1)
        assert found.n_iter == reference.n_iter
        assert relative(found.x * (c / d), reference.x) <= 1e-4


def test_a_preconditioner_helps():
    d = torch.logspace(0, 6, 50, dtype=DOUBLE)
    b = randn((50,))
    plain = linalg.conjugate_gradient(lambda x: d * x, b, ndim=1, max_iter=40)
    helped = linalg.conjugate_gradient(lambda x: d * x, b, ndim=1, max_iter=40, preconditioner=lambda r: r / d)
    assert helped.n_iter == 1
    assert relative(helped.x, b / d) <= 1e-12
    assert plain.residual > 1e-6


# ---- norms


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_norms_have_no_scale(scale, dtype):
    unit = ParallelBeam((6, 5), [0.2, 1.1, 2.0], 8, dtype=dtype)
    A = ParallelBeam((6, 5), [0.2, 1.1, 2.0], 8, pixel_size=scale, detector_size=scale, dtype=dtype)
    for found, expected in ((A.norm(), unit.norm()), (A.norm_bound(), unit.norm_bound())):
        assert float(found) == pytest.approx(scale * float(expected), rel=1e-5)


def test_power_iteration_comes_from_below_and_near():
    for seed in range(20):
        M = randn((12, 12), torch.complex128, seed)
        M = M @ M.mH
        top = float(torch.linalg.eigvalsh(M)[-1])
        found = float(linalg.power_iteration(lambda v, M=M: M @ v, torch.zeros(12, dtype=M.dtype)))
        assert 0.9999 * top <= found <= top * (1 + 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=["float32", "float64"])
def test_power_iteration_does_not_rest_on_a_plateau(dtype):
    """A largest eigenvalue 10 % above many others, of which the start knows little, or nothing much else."""
    for seed in range(20):
        Q = torch.linalg.qr(randn((300, 300), seed=seed)).Q
        for values in (torch.cat([torch.tensor([1.1]), torch.linspace(0, 1, 299)]), torch.linspace(0, 1, 300) ** 8):
            M = (Q * values.double() @ Q.T).to(dtype)
            top = float(values.max())
            found = float(linalg.power_iteration(lambda v, M=M: M @ v, torch.zeros(300, dtype=dtype)))
            assert 0.99 * top <= found <= top * (1 + 1e-5)


def test_collatz_and_wielandt_bound_from_above():
    for seed in range(20):
        N = randn((9, 12), seed=seed).clamp(min=0)
        N[:, seed % 12] = 0  # a pixel no ray meets
        if seed % 2:  # two blocks that do not see each other
            N[:5, 6:] = 0
            N[5:, :6] = 0
        M = N.T @ N
        top = float(torch.linalg.eigvalsh(M)[-1])
        bound = float(linalg.collatz_wielandt(lambda v, M=M: M @ v, torch.zeros(12, dtype=DOUBLE)))
        assert top * (1 - 1e-14) <= bound <= 2 * top
    assert float(linalg.collatz_wielandt(torch.zeros_like, torch.zeros(3))) == 0
    assert float(linalg.power_iteration(torch.zeros_like, torch.zeros(3))) == 0


# ---- normal equations


def system(terms: list[tuple], n: int) -> Tensor:
    """The matrix of one item, by definition."""
    total = torch.zeros(n, n, dtype=torch.complex128)
    for A, W, rho in terms:
        M = torch.eye(n, dtype=torch.complex128) if A is None else dense(A).to(torch.complex128)
        w = torch.ones(len(M)) if W is None else W.flatten()
        total = total + rho * M.mH @ (w[:, None] * M)
    return total


WEIGHTS = randn((3, 4), seed=5).abs()
CLOSED = {
    "identity": lambda: [(Identity((3, 4), dtype=DOUBLE), None, 0.5), (None, None, 2.0)],
    "pixel": lambda: [(Identity((3, 4), dtype=DOUBLE), WEIGHTS, 0.5), (None, None, 2.0)],
    "cosine": lambda: [(None, None, 0.7), (Gradient((3, 4), dtype=DOUBLE), None, 2.0)],
    "scaled": lambda: [
        (0.3 * Identity((3, 4), dtype=DOUBLE), WEIGHTS, 0.5),
        (2j * Identity((3, 4), dtype=DOUBLE), None, 1.0),
    ],
    "both gradients": lambda: [
        (Gradient((3, 4), dtype=DOUBLE), None, 1.0),
        (-3 * Gradient((3, 4), dtype=DOUBLE), None, 0.1),
        (None, None, 1.0),
    ],
}
ITERATED = {
    "mixed bases": lambda: [
        (Identity((3, 4), dtype=DOUBLE), WEIGHTS, 0.5),
        (Gradient((3, 4), dtype=DOUBLE), None, 2.0),
    ],
    "weighted": lambda: [(mixing(), WEIGHTS[:2], 1.0), (Gradient((3, 4), dtype=DOUBLE), None, 0.5), (None, None, 0.1)],
    "complex": lambda: [(fourier(), WEIGHTS, 1.0), (None, None, 0.1)],
}


# a complex system asks for a complex right-hand side
SYSTEMS = [(name, dtype) for name in (*CLOSED, *ITERATED) for dtype in (DOUBLE, torch.complex128)]
SYSTEMS.remove(("complex", DOUBLE))


@pytest.mark.parametrize(("name", "dtype"), SYSTEMS)
def test_solve_normal_against_the_matrix(name, dtype):
    terms = (CLOSED | ITERATED)[name]()
    b = randn((2, 3, 4), dtype, 7)
    x = linalg.solve_normal(terms, b, tol=1e-13)
    assert x.dtype == dtype
    expected = torch.linalg.solve(system(terms, 12), b.flatten(1).T.to(torch.complex128)).T.reshape(b.shape)
    assert relative(x.to(expected.dtype), expected) <= 1e-11
    started = linalg.solve_normal(terms, b, x0=x, tol=1e-10)
    assert relative(started, x) <= 1e-9


@pytest.mark.parametrize("name", CLOSED)
def test_what_is_diagonal_in_one_basis_is_not_iterated(name):
    b = randn((3, 4))
    once = linalg.solve_normal(CLOSED[name](), b, tol=1e-12)
    assert torch.equal(linalg.solve_normal(CLOSED[name](), b, tol=0.9, max_iter=0), once)


def test_weights_per_item():
    terms = ITERATED["mixed bases"]()
    rho, W = torch.tensor([0.1, 10.0], dtype=DOUBLE), randn((2, 3, 4), seed=9).abs()
    b = randn((2, 3, 4))
    x = linalg.solve_normal([(terms[0][0], W, rho), (terms[1][0], None, 1 / rho)], b, tol=1e-13)
    for k in range(2):
        one = [(terms[0][0], W[k], float(rho[k])), (terms[1][0], None, 1 / float(rho[k]))]
        assert relative(x[k], linalg.solve_normal(one, b[k], tol=1e-13)) <= 1e-11


def test_a_singular_closed_form_gives_the_least_norm():
    D = Gradient((3, 4), dtype=DOUBLE)
    b = D.adjoint(randn((2, 3, 4)))
    x = linalg.solve_normal([(D, None, 2.0)], b)
    assert relative(2 * D.gram(x), b) <= 1e-12
    assert abs(float(x.mean())) <= 1e-14
    holes = torch.tensor([1.0, 0.0, 2.0], dtype=DOUBLE)
    assert linalg.solve_normal([(Identity((3,), dtype=DOUBLE), holes, 1.0)], holes).tolist() == [1, 0, 1]


def test_solve_normal_asks_for_a_term():
    with pytest.raises(ValueError, match="at least one term"):
        linalg.solve_normal([], torch.ones(3), max_iter=3)
    with pytest.raises(ValueError, match="needs ndim"):
        linalg.NormalSystem([NormalTerm(None)])


def rows() -> list[linalg.TermLike]:
    """A pixel in three, times 2: A A^H = 4 I, A^H A diagonal as far as A does not say."""
    matrix = 2 * torch.eye(12, dtype=DOUBLE)[::3]

    class Picked(LinearOperator):
        def __init__(self) -> None:
            super().__init__((3, 4), (4,), dtype=DOUBLE)

        def _forward(self, x: Tensor) -> Tensor:
            return x.flatten(-2) @ matrix.to(x.dtype).T

        def row_gram_diagonal(self) -> linalg.Diagonal:
            return linalg.Diagonal(torch.full((4,), 4.0, dtype=DOUBLE), "pixel")

    return [NormalTerm(Picked(), scale=0.7), NormalTerm(None, scale=0.2), NormalTerm(None)]


# batches of rho and weights, weights of the identity, rows: what the triples above leave out
PREPARED = {
    **(CLOSED | ITERATED),
    "rho per item": lambda: [
        NormalTerm(mixing(), scale=torch.tensor([0.5, 2.0], dtype=DOUBLE)),
        NormalTerm(Gradient((3, 4), dtype=DOUBLE), scale=torch.tensor([3.0, 0.1], dtype=DOUBLE)),
        NormalTerm(None, scale=0.3),
    ],
    "weights per item": lambda: [NormalTerm(mixing(), randn((2, 2, 4), seed=8).abs()), NormalTerm(None, scale=0.3)],
    "weighted identity": lambda: [NormalTerm(None, WEIGHTS, 2.0), NormalTerm(None, scale=0.3)],
    "weighted identity and gradient": lambda: [
        NormalTerm(None, WEIGHTS, torch.tensor([0.4, 4.0], dtype=DOUBLE)),
        NormalTerm(Gradient((3, 4), dtype=DOUBLE)),
        NormalTerm(None, scale=0.3),
    ],
    "rows": rows,
}
HAS_CLOSED_FORM = {*CLOSED, "weighted identity", "rows"}


def of_item(terms: list[linalg.TermLike], k: int) -> list[tuple]:
    """The terms of item k of a batch of two."""
    parts = [term if isinstance(term, NormalTerm) else NormalTerm(*term) for term in terms]
    return [
        (
            term.operator,
            term.weights[k] if term.weights is not None and term.weights.ndim == 3 else term.weights,
            term.scale[k] if isinstance(term.scale, Tensor) else term.scale,
        )
        for term in parts
    ]


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
@pytest.mark.parametrize("name", PREPARED)
def test_a_prepared_system_against_the_matrix(name, dtype):
    """Also where it has solved for real right-hand sides before it meets complex ones, and the other way round."""
    if name == "complex" and dtype == DOUBLE:
        dtype = torch.complex128
    terms = PREPARED[name]()
    M = linalg.NormalSystem(terms, 2)
    dense_M = torch.stack([system(of_item(terms, k), 12) for k in range(2)])
    other = torch.complex128 if dtype == DOUBLE else DOUBLE
    for kind in (dtype,) if name in ("complex", "scaled") else (other, dtype):
        b = randn((2, 3, 4), kind, 7)
        flat = b.flatten(1).to(torch.complex128).unsqueeze(-1)
        assert relative(M.apply(b).to(torch.complex128), (dense_M @ flat).reshape(b.shape)) <= 1e-13
        exact = torch.linalg.solve(dense_M, flat).reshape(b.shape)
        for _ in range(2):
            x = M.solve(b, tol=1e-13)
            assert x.dtype == b.dtype
            assert relative(x.to(exact.dtype), exact) <= 1e-11
        assert M.closed(b) == (name in HAS_CLOSED_FORM)
        d, remainder = M.correct(b, reduction=0.3)
        assert relative(remainder, b - M.apply(d)) <= 1e-13
        nearly = M.correct(b, reduction=1e-6)[1]
        assert bool((linalg.norm(nearly, 2) <= 1e-4 * linalg.norm(b, 2)).all())
        few = M.correct(b, reduction=1e-9, max_iter=0)[1]
        assert M.closed(b) or torch.equal(few, b)


def test_what_is_worked_out_is_kept_unless_it_learns(monkeypatch):
    """Diagonals and preconditioners are asked for once per kind of right-hand side."""
    asked = []
    for name in ("gram_diagonal", "gram_diagonal_estimate", "row_gram_diagonal"):
        real = getattr(Gradient, name)
        monkeypatch.setattr(Gradient, name, lambda *a, real=real, **k: asked.append(real) or real(*a, **k))
    b = randn((2, 3, 4))
    M = linalg.NormalSystem([NormalTerm(mixing()), NormalTerm(Gradient((3, 4), dtype=DOUBLE)), NormalTerm(None)])
    M.solve(b)
    first = len(asked)
    assert first > 0
    M.solve(2 * b)
    M.correct(b[0], reduction=0.1)
    assert len(asked) == first
    M.solve(b.to(torch.complex128))
    assert len(asked) == 2 * first
    rho = torch.tensor(2.0, dtype=DOUBLE, requires_grad=True)
    M = linalg.NormalSystem([NormalTerm(Gradient((3, 4), dtype=DOUBLE), scale=rho), NormalTerm(None)])
    with torch.no_grad():
        before = M.solve(b)
        rho *= 3
        after = M.solve(b)
    assert relative(after, before) > 1e-2
    M.solve(b).sum().backward()  # not through what was worked out without a graph
    M.solve(b).sum().backward()
    assert rho.grad is not None


@pytest.mark.parametrize("name", ["rho per item", "weights per item", "weighted identity", "cosine", "rows"])
def test_the_derivative_of_a_prepared_solution(name):
    M = linalg.NormalSystem(PREPARED[name](), 2)
    b = randn((2, 3, 4), seed=3).requires_grad_()
    assert gradcheck(lambda b: M.solve(b, tol=1e-13), b, fast_mode=True)
    assert gradcheck(lambda b: M.correct(b, reduction=1e-13), b, fast_mode=True, atol=1e-7)


@pytest.mark.parametrize("name", ["mixed bases", "weighted", "complex", "cosine", "pixel"])
def test_the_derivative_of_a_solution(name):
    """In b, rho and W, first and second, through an iterated solve as through a closed form."""
    terms = (CLOSED | ITERATED)[name]()
    kind = torch.complex128 if name == "complex" else DOUBLE
    b = randn((2, 3, 4), kind, 3).requires_grad_()
    rho = [torch.tensor([0.6, 1.7], dtype=DOUBLE).mul(k + 1).requires_grad_() for k in range(len(terms))]
    weights = [W.clone().requires_grad_() for _, W, _ in terms if W is not None]

    def solution(b: Tensor, *parameters: Tensor) -> Tensor:
        strengths, left = parameters[: len(terms)], iter(parameters[len(terms) :])
        parts = [(A, None if W is None else next(left), r) for (A, W, _), r in zip(terms, strengths, strict=True)]
        return linalg.solve_normal(parts, b, tol=1e-12)

    assert gradcheck(solution, (b, *rho, *weights), fast_mode=True)
    assert gradgradcheck(solution, (b, *rho, *weights), fast_mode=True)


def test_the_derivative_reaches_the_operators():
    c = nn.Parameter(torch.tensor(1.5, dtype=DOUBLE))
    b = randn((3, 4))

    def loss(c: Tensor) -> Tensor:
        return linalg.solve_normal([(c * mixing(), None, 1.0), (None, None, 0.3)], b, tol=1e-12).square().sum()

    loss(c).backward()
    with pytest.raises(NotImplementedError, match="no second derivative in an operator's parameters"):
        torch.autograd.grad(loss(c), c, create_graph=True)
    h = 1e-5
    assert float(c.grad) == pytest.approx(
        (float(loss(c.detach() + h)) - float(loss(c.detach() - h))) / (2 * h), rel=1e-6
    )


def test_the_derivative_is_not_unrolled():
    """A second solve gives it: to its own tolerance, although the first one was stopped early."""
    terms = [(parallel(), None, 1.0), (None, None, 0.1)]
    b = randn((5, 7)).requires_grad_()
    v = randn((5, 7), seed=1)
    linalg.solve_normal(terms, b, tol=1e-12, reduction=0.9).backward(v)
    assert relative(b.grad, linalg.solve_normal(terms, v, tol=1e-12)) <= 1e-12
    with torch.no_grad():
        assert not linalg.solve_normal(terms, b).requires_grad


# ---- bases


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE, torch.complex64, torch.complex128])
def test_cosine_transform_against_scipy(n, dtype):
    x = randn((2, 3, n), dtype)
    tol = 1e-5 if dtype in (torch.float32, torch.complex64) else 1e-13
    theirs = torch.from_numpy(np.ascontiguousarray(scipy.fft.dct(x.numpy(), norm="ortho")))
    assert dct(x).dtype == dtype
    assert relative(dct(x), theirs) <= tol
    assert relative(idct(x), torch.from_numpy(np.ascontiguousarray(scipy.fft.idct(x.numpy(), norm="ortho")))) <= tol
    assert relative(idct(dct(x)), x) <= tol


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4)])
@pytest.mark.parametrize("basis", ["any", "pixel", "fourier", "cosine"])
def test_bases_are_unitary(shape, basis):
    k = len(shape)
    x = randn((2, *shape), torch.complex128)
    c = to_basis(x, basis, k)
    if basis == "cosine":
        axes = tuple(range(1, k + 1))
        assert relative(c, torch.from_numpy(scipy.fft.dctn(x.numpy(), axes=axes, norm="ortho"))) <= 1e-13
    if basis == "fourier":
        assert relative(c, torch.fft.fftn(x, dim=tuple(range(1, k + 1)), norm="ortho")) == 0
    assert linalg.norm(c, k).tolist() == pytest.approx(linalg.norm(x, k).tolist())
    assert relative(from_basis(c, basis, k), x) <= 1e-13


def test_a_system_that_is_diagonal_in_the_fourier_basis():
    """The first such operator comes with blur; its closed form must give real images real solutions."""

    class Shift(LinearOperator):
        def __init__(self) -> None:
            super().__init__((3, 4), (3, 4), dtype=DOUBLE)

        def _forward(self, x: Tensor) -> Tensor:
            return x + 0.5 * x.roll(1, dims=-1)

        def gram_diagonal(self, weights: Tensor | None = None) -> linalg.Diagonal | None:
            k = torch.arange(4, dtype=DOUBLE) * (2 * math.pi / 4)
            return None if weights is not None else linalg.Diagonal(1.25 + k.cos(), "fourier")

    b = randn((2, 3, 4))
    x = Shift().solve(b, 0.2)
    assert x.dtype == DOUBLE
    assert relative(Shift().gram(x) + 0.2 * x, b) <= 1e-12


def test_a_preconditioner_makes_no_direction_that_nobody_goes():
    M = torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64))
    asked = []

    def preconditioner(r):
        asked.append(r)
        return r / torch.diagonal(M)

    found = linalg.conjugate_gradient(
        lambda x: x @ M, torch.ones(8, dtype=torch.float64), ndim=1, preconditioner=preconditioner
    )
    assert found.n_iter == 1  # an exact one
    assert len(asked) == 1
    torch.testing.assert_close(found.x, 1 / torch.diagonal(M))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_large_items_are_summed_in_blocks(dtype, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, 5, 7, dtype=dtype, generator=generator) for _ in range(2))
    whole = items.inner(a, b, 2), items.norm(a, 2)
    monkeypatch.setattr(items, "BLOCK", 4)
    assert torch.allclose(items.inner(a, b, 2), whole[0], rtol=1e-12)
    assert torch.allclose(items.norm(a, 2), whole[1], rtol=1e-12)


def test_norms_of_large_items_with_empty_parts_have_second_derivatives(monkeypatch):
    monkeypatch.setattr(items, "BLOCK", 4)
    x = torch.zeros(4, 4, dtype=torch.float64)
    x[1] = 1.0
    x.requires_grad_()
    (slope,) = torch.autograd.grad(items.norm(x, 2), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    assert curvature.isfinite().all()
