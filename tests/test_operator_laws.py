"""The laws of every linear operator, and of the nonlinear base."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from cases import DOUBLE, OPERATORS, classes_in, classes_of, fourier, mixing, parallel
from laws import (
    COMPLEX,
    check_items_are_alone,
    check_pure,
    data_of,
    dense,
    dense_map,
    image_of,
    mismatch,
    randn,
    relative,
)
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from invprob import registry
from invprob.linop import LinearOperator, Operator
from invprob.linop.algebra import Adjoint
from invprob.linop.bases import to_basis
from invprob.linop.stacked import VStack
from invprob.operators import Gradient, Identity, ParallelBeam

SINGLE = torch.float32
TOLERANCE = {SINGLE: 1e-6, DOUBLE: 1e-12}
EVERY = pytest.mark.parametrize("name", OPERATORS)
BOTH = pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=["float32", "float64"])
HOME = ("invprob.operators", "invprob.transforms", "invprob.linop.algebra", "invprob.linop.adapters")
# of these the values leave the range in which finite differences make sense
TEMPERATE = [name for name in OPERATORS if not name.endswith(("tiny", "huge"))]


def test_every_class_has_a_case():
    tried = set().union(*(classes_in(make(DOUBLE)) for make in OPERATORS.values()))
    assert set(classes_of(LinearOperator, *HOME)) <= tried
    assert {registry.resolve(target) for target in registry.OPERATORS.values()} <= tried


# ---- the adjoint


@EVERY
@BOTH
@pytest.mark.parametrize("batch", [(), (2,)], ids=["item", "batch"])
def test_adjoint(name, dtype, batch):
    A = OPERATORS[name](dtype)
    assert mismatch(A, image_of(A, batch), data_of(A, batch)) <= TOLERANCE[dtype]
    both = image_of(A, batch, as_complex=True), data_of(A, batch, as_complex=True)
    assert mismatch(A, *both) <= TOLERANCE[dtype]


@EVERY
def test_dense_matrix(name):
    A = OPERATORS[name](DOUBLE)
    M = dense(A)
    x, y = image_of(A, as_complex=True), data_of(A, as_complex=True)
    wide = M.to(x.dtype)
    assert relative(A(x).flatten(), wide @ x.flatten()) <= 1e-12
    assert relative(A.adjoint(y).flatten(), wide.mH @ y.flatten()) <= 1e-12
    assert relative(A.H(y), A.adjoint(y)) == 0
    assert relative(A.gram(x).flatten(), wide.mH @ (wide @ x.flatten())) <= 1e-12


def test_an_adjoint_that_is_wrong_is_seen():
    wrong = LinearOperator.from_functions(lambda x: 2 * x, lambda y: y, (4,), (4,), dtype=DOUBLE)
    assert mismatch(wrong, image_of(wrong), data_of(wrong)) > 1e-2


@EVERY
def test_the_adjoint_of_the_adjoint_is_the_operator(name):
    A = OPERATORS[name](DOUBLE)
    if isinstance(A, Adjoint):
        A = A.H
    assert A.H.H is A
    assert (A.H.domain_shape, A.H.range_shape) == (A.range_shape, A.domain_shape)


# ---- complex numbers


@EVERY
@BOTH
def test_kinds(name, dtype):
    """A real operator acts on both parts, a complex one promotes; nothing drops an imaginary part."""
    A = OPERATORS[name](dtype)
    x, y = image_of(A, as_complex=True), data_of(A, as_complex=True)
    for function, t in ((A, x), (A.adjoint, y), (A.gram, x)):
        whole, real, imag = function(t), function(t.real), function(t.imag)
        assert whole.dtype == COMPLEX[dtype]
        assert real.dtype == (COMPLEX[dtype] if A.is_complex else dtype)
        assert relative(whole, real + 1j * imag) <= 10 * TOLERANCE[dtype]
    assert (A.domain_dtype, A.range_dtype) == (A(x.real).dtype,) * 2


def test_the_gradient_of_a_real_image_under_a_complex_operator_is_the_real_part():
    A = fourier()
    x, y = randn(A.domain_shape), data_of(A)
    x.requires_grad_()
    torch.real((A(x).conj() * y).sum()).backward()
    assert relative(x.grad, A.adjoint(y).real) <= 1e-14


# ---- batches, shapes, purity


@EVERY
def test_items_are_alone(name):
    A = OPERATORS[name](SINGLE)
    check_items_are_alone(A, image_of(A, (3,)), 1e-5)
    check_items_are_alone(A.adjoint, data_of(A, (3,)), 1e-5)
    check_items_are_alone(A.gram, image_of(A, (3,)), 1e-5)


@EVERY
def test_any_number_of_batch_axes(name):
    A = OPERATORS[name](DOUBLE)
    x, y = image_of(A, (2, 3)), data_of(A, (2, 3))
    for function, t, item in ((A, x, A.range_shape), (A.adjoint, y, A.domain_shape)):
        assert function(t).shape == (2, 3, *item)
        assert relative(function(t)[1, 2], function(t[1, 2])) <= 1e-12
        assert function(t[:, :0]).shape == (2, 0, *item)
        swapped = t.transpose(0, 1)
        assert relative(function(swapped), function(t).transpose(0, 1)) <= 1e-12


@EVERY
def test_pure(name):
    A = OPERATORS[name](SINGLE)
    check_pure(A, image_of(A, (2,)))
    check_pure(A.adjoint, data_of(A, (2,)))
    check_pure(A.gram, image_of(A))


@EVERY
def test_a_wrong_shape_is_told(name):
    A = OPERATORS[name](DOUBLE)
    for function, shape in ((A, A.domain_shape), (A.adjoint, A.range_shape), (A.gram, A.domain_shape)):
        wrong = (*shape[:-1], shape[-1] + 1)
        with pytest.raises(ValueError, match=type(A).__name__) as error:
            function(torch.zeros(wrong, dtype=DOUBLE))
        for shown in (shape, wrong):
            assert ", ".join(map(str, shown)) in str(error.value)
        with pytest.raises(ValueError, match="expects"):
            function(torch.zeros((), dtype=DOUBLE))


# ---- precision


@EVERY
def test_precision_is_kept_or_asked_for(name):
    A = OPERATORS[name](SINGLE)
    x = image_of(A)
    for wide in (torch.float64, torch.complex128):
        with pytest.raises(TypeError, match=rf"{type(A).__name__}.*A\.to\(torch\.{str(wide)[6:]}\)"):
            A(x.real.to(wide))
        with pytest.raises(TypeError, match=r"A\.to"):
            A.adjoint(data_of(A).real.to(wide))
    for narrow in (torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool):
        low = (x.real > 0).to(narrow)
        assert relative(A(low), A(low.float())) == 0


@EVERY
@pytest.mark.parametrize("target", [torch.float64, torch.complex128])
def test_to_changes_precision_and_nothing_else(name, target):
    A, wide = OPERATORS[name](SINGLE), OPERATORS[name](DOUBLE)
    is_complex, x, y = A.is_complex, image_of(A), data_of(A)
    low = A(x)
    norm = A.norm()
    assert A.to(target) is A
    assert (A.dtype, A.is_complex) == (DOUBLE, is_complex)
    assert A(x).dtype == A.range_dtype == wide.range_dtype
    exact = 1e-6 if "from-scipy" in name or name == "scaled-tensor" else 1e-12  # made of rounded numbers
    assert relative(A(x), wide(x)) <= exact
    assert relative(A.adjoint(y), wide.adjoint(y)) <= exact
    assert A.norm().dtype == DOUBLE
    assert relative(A.norm(), norm.double()) <= 1e-3
    A.to(SINGLE)
    assert torch.equal(A(x), low)


def test_other_precisions_are_refused():
    for dtype in (torch.float16, torch.bfloat16, torch.int64):
        with pytest.raises(TypeError, match="float32 or float64"):
            Identity((2, 2)).to(dtype)
        with pytest.raises(TypeError, match="float32 or float64"):
            Identity((2, 2), dtype=dtype)
    assert Identity((2, 2), dtype=torch.complex128).dtype == DOUBLE


def test_a_parent_module_changes_precision_too():
    parent = nn.Sequential(fourier(SINGLE), (2 + 1j) * mixing(SINGLE)).double()
    assert [A.dtype for A in parent] == [DOUBLE, DOUBLE]
    assert [A.is_complex for A in parent] == [True, True]


def test_an_operator_made_of_others_follows_them():
    A = mixing(SINGLE)
    B = [2 * A, A.H, A.lift((2,)), A + A, Gradient((2, 4)) @ A]
    A.to(DOUBLE)
    assert {op.dtype for op in B[:4]} == {DOUBLE}
    assert B[0](image_of(A)).dtype == DOUBLE
    with pytest.raises(TypeError, match=r"Composition computes in torch\.float32"):
        B[4](image_of(A))
    with pytest.raises(TypeError, match="bring them together"):
        Gradient((2, 4)) @ A


# ---- derivatives


@pytest.mark.parametrize("name", TEMPERATE)
def test_autograd(name):
    A = OPERATORS[name](DOUBLE)
    for function, t in ((A, image_of(A)), (A.adjoint, data_of(A, (2,))), (A.gram, image_of(A))):
        t.requires_grad_()
        assert gradcheck(function, t, check_forward_ad=True, fast_mode=True)
        assert gradgradcheck(function, t, fast_mode=True)


@pytest.mark.parametrize("name", TEMPERATE)
def test_autograd_of_complex_images(name):
    A = OPERATORS[name](DOUBLE)
    x = image_of(A, as_complex=True).requires_grad_()
    assert gradcheck(A, x, fast_mode=True)
    if A.is_complex:
        assert gradcheck(A, image_of(A).real.requires_grad_(), fast_mode=True)


@EVERY
def test_torch_func(name):
    A = OPERATORS[name](DOUBLE)
    x, u, y = image_of(A, (3,)), image_of(A, (3,), seed=5), data_of(A, (3,))
    assert relative(torch.func.vmap(A)(x), A(x)) <= 1e-12
    assert relative(torch.func.vmap(A.adjoint, in_dims=1)(y.movedim(0, 1)), A.adjoint(y)) <= 1e-12
    _, pull = torch.func.vjp(A, x)
    assert relative(pull(y)[0], A.adjoint(y)) <= 1e-12
    value, tangent = torch.func.jvp(A, (x,), (u,))
    assert relative(value, A(x)) == 0
    assert relative(tangent, A(u)) <= 1e-12
    each = torch.func.vmap(lambda b, v: torch.func.vjp(A, b)[1](v)[0])(x, y)
    assert relative(each, A.adjoint(y)) <= 1e-12
    assert torch.equal(A.vjp(x, y), A.adjoint(y))
    assert torch.equal(A.jvp(x, u), A(u))


# ---- norms and solves


@EVERY
@BOTH
def test_norm_lies_between_estimate_and_bound(name, dtype):
    A = OPERATORS[name](dtype)
    true = float(torch.linalg.matrix_norm(dense(OPERATORS[name](DOUBLE)), 2))
    rounding = 1e-5 if dtype == SINGLE else 1e-12
    assert A.norm().dtype == A.norm_bound().dtype == dtype
    assert A.norm().shape == A.norm_bound().shape == ()
    assert 0.97 * true <= float(A.norm()) <= true * (1 + rounding)
    assert float(A.norm_bound()) >= true * (1 - rounding / 100)
    assert torch.equal(A.norm(), OPERATORS[name](dtype).norm())
    assert isinstance(A.norm_bound_kind, str)
    if A.nonnegative:
        M = dense(A)
        assert float(M.min()) >= -rounding * float(M.max())
        assert "estimate" not in A.norm_bound_kind
        assert float(A.norm_bound()) <= 1.02 * true


def test_a_negative_factor_is_not_nonnegative():
    assert (2 * parallel()).nonnegative
    assert not (-2 * parallel()).nonnegative
    assert not (1j * parallel()).nonnegative
    assert not (parallel() - parallel()).nonnegative


def test_the_zero_operator_has_norm_zero():
    for A in (0 * parallel(), ParallelBeam((3, 3), [0.0], 2, axis_offset=100.0)):
        assert float(A.norm()) == float(A.norm_bound()) == 0


@pytest.mark.parametrize("name", TEMPERATE)
def test_diagonal(name):
    """A = B^H diag B itself, not only its Gram matrix."""
    A = OPERATORS[name](DOUBLE)
    found, n = A.diagonal(), A.domain_shape
    if found is None:
        return
    B = dense_map(partial(to_basis, basis=found.basis, ndim=len(n)), n, torch.complex128)
    D = torch.diag(found.values.expand(n).flatten().to(B.dtype))
    assert relative(B.mH @ D @ B, dense(A).to(B.dtype)) <= 1e-12


@pytest.mark.parametrize("name", TEMPERATE)
def test_gram_diagonal(name):
    A = OPERATORS[name](DOUBLE)
    k, n = len(A.domain_shape), A.domain_shape
    M = dense(A)
    for weights in (None, randn(A.range_shape, seed=3).abs()):
        found = A.gram_diagonal(weights)
        if found is None:
            continue
        W = torch.eye(len(M), dtype=M.dtype) if weights is None else torch.diag(weights.flatten()).to(M.dtype)
        kind = torch.complex128 if found.basis == "fourier" else M.dtype
        B = dense_map(partial(to_basis, basis=found.basis, ndim=k), n, kind)
        D = torch.diag(found.values.expand(n).flatten().to(kind))
        assert relative(B.mH @ D @ B, (M.mH @ W @ M).to(kind)) <= 1e-12


@pytest.mark.parametrize("name", TEMPERATE)
def test_gram_diagonal_estimate(name):
    """Of the size of A^H A and of no other sign, so that it may precondition."""
    A = OPERATORS[name](DOUBLE)
    found = A.gram_diagonal_estimate()
    if found is None:
        assert A.gram_diagonal() is None
        return
    values = found.values.expand(A.domain_shape)
    assert bool((values >= 0).all() & values.isfinite().all())
    assert 0.2 <= float(values.mean() * values.numel() / dense(A).abs().square().sum()) <= 5
    twice = (2j * A).gram_diagonal_estimate()
    assert twice.basis == found.basis
    assert relative(twice.values.expand(A.domain_shape), 4 * values) <= 1e-12


@pytest.mark.parametrize(
    ("name", "basis"), [("identity", "any"), ("gradient-3d", "cosine"), ("scaled-complex", "cosine")]
)
def test_what_has_a_gram_diagonal(name, basis):
    assert OPERATORS[name](DOUBLE).gram_diagonal().basis == basis


@EVERY
def test_solve(name):
    A = OPERATORS[name](DOUBLE)
    M = dense(A)
    square = float(torch.linalg.matrix_norm(M, 2)) ** 2
    shift = torch.tensor([0.1, 2.0], dtype=DOUBLE) * square
    b = image_of(A, (2,))
    x = A.solve(b, shift, tol=1e-12)
    for k in range(2):
        system = M.mH @ M + shift[k] * torch.eye(M.shape[1], dtype=M.dtype)
        assert relative(x[k].flatten(), torch.linalg.solve(system, b[k].flatten())) <= 1e-9
    assert relative(A.solve(b[0], float(shift[0]), x0=x[0], tol=1e-12), x[0]) <= 1e-9


@EVERY
def test_direct(name):
    """The field's own method, or ten conjugate-gradient steps, which go far on systems as small as these."""
    A = OPERATORS[name](DOUBLE)
    y = A(image_of(A, (2,)))
    if A.__class__.direct is LinearOperator.direct:
        assert relative(A(A.direct(y)), y) <= 0.1
    assert A.direct(y).shape == (2, *A.domain_shape)
    assert relative(A.direct(3 * y), 3 * A.direct(y)) <= 1e-6
    assert not bool(A.direct(torch.zeros_like(y)).any())


# ---- coming and going


@EVERY
@BOTH
def test_scipy_there_and_back(name, dtype):
    A = OPERATORS[name](dtype)
    L = A.as_scipy()
    x, y = image_of(A, as_complex=A.is_complex), data_of(A)
    assert L.shape == (y.numel(), x.numel())
    assert L.dtype == np.dtype(str(A.range_dtype)[6:])
    assert relative(torch.from_numpy(L @ x.flatten().numpy()), A(x).flatten()) <= TOLERANCE[dtype]
    assert relative(torch.from_numpy(L.H @ y.flatten().numpy()), A.adjoint(y).flatten()) <= TOLERANCE[dtype]
    two = image_of(A, (2,))
    assert relative(torch.from_numpy(L @ two.flatten(1).T.numpy()), A(two).flatten(1).T) <= TOLERANCE[dtype]
    B = LinearOperator.from_scipy(L, A.domain_shape, A.range_shape)
    assert (B.dtype, B.is_complex) == (A.dtype, A.is_complex)
    assert relative(B(two), A(two)) <= TOLERANCE[dtype]
    assert relative(B.adjoint(y), A.adjoint(y)) <= TOLERANCE[dtype]


@EVERY
def test_pickle_and_copy(name):
    A = OPERATORS[name](SINGLE)
    x = image_of(A)
    before = A(x), A.norm()
    for B in (pickle.loads(pickle.dumps(A)), copy.deepcopy(A)):
        assert torch.equal(B(x), before[0])
        assert torch.equal(B.norm(), before[1])
        B.to(DOUBLE)
        assert (A.dtype, B.dtype) == (SINGLE, DOUBLE)


@EVERY
def test_repr_is_one_line(name):
    A = OPERATORS[name](SINGLE)
    text = repr(A)
    assert "\n" not in text
    leaves = [part for part in A.modules() if isinstance(part, LinearOperator) and not list(part.children())]
    assert leaves
    for leaf in leaves:
        assert repr(leaf) in text
        assert text.count(type(leaf).__name__)


def test_repr_reads_like_the_formula():
    G, P = Gradient((3, 4)), Identity((3, 4))
    g, p = repr(G), repr(P)
    assert g == "Gradient((3, 4) -> (2, 3, 4), float32)"
    assert repr(2 * G @ P) == f"2 * {g} @ {p}"
    assert repr(0.5 * (G + G).H) == f"0.5 * ({g} + {g}).H"
    assert repr(((1 - 2j) * G).lift((3,))) == f"((1-2j) * {g}).lift((3,))"
    assert repr(G @ (P + P)) == f"{g} @ ({p} + {p})"


@pytest.mark.parametrize("name", registry.OPERATORS)
def test_config_makes_the_same_operator(name):
    cls = registry.load(registry.OPERATORS, name)
    for make in OPERATORS.values():
        A = make(DOUBLE)
        if type(A) is cls:
            B = cls(**A.config(), dtype=DOUBLE)
            assert repr(A) == repr(B)
            assert torch.equal(A(image_of(A)), B(image_of(A)))


def test_what_has_no_config_says_so():
    with pytest.raises(TypeError, match="FromFunctions has no config"):
        mixing().config()


# ---- the algebra


def test_arithmetic():
    A, B = parallel(), ParallelBeam((5, 7), [0.1, 0.2, 0.3, 0.4], 8, dtype=DOUBLE)
    x = image_of(A)
    assert relative((A - B)(x), A(x) - B(x)) <= 1e-14
    assert relative((-A)(x), -A(x)) <= 1e-14
    assert relative((A * 0.1)(x), 0.1 * A(x)) <= 1e-14  # 0.1 in double precision
    assert relative((np.float32(2) * A)(x), 2 * A(x)) <= 1e-14
    assert relative((torch.tensor(2.0) * A)(x), 2 * A(x)) <= 1e-14
    assert relative((np.complex64(2j) * A)(x), 2j * A(x)) <= 1e-14


def test_what_does_not_fit_is_refused():
    A = parallel()
    with pytest.raises(ValueError, match=r"ParallelBeam @ ParallelBeam: the outer takes \(5, 7\)"):
        A @ A
    with pytest.raises(ValueError, match=r"ParallelBeam \+ Identity"):
        A + Identity((5, 7), dtype=DOUBLE)
    with pytest.raises(ValueError, match="needs at least one"):
        VStack([])
    with pytest.raises(ValueError, match="first axis alone"):
        VStack([A, Identity((5, 7), dtype=DOUBLE)])
    with pytest.raises(ValueError, match="factor has shape"):
        A * torch.ones(2)
    for other in ("2", A, None):
        with pytest.raises(TypeError, match=r"unsupported operand|can't multiply"):
            A * other
    with pytest.raises(ValueError, match="the matrix is"):
        LinearOperator.from_scipy(np.eye(3), (2,), (3,))
    for shape in ((), (0, 3), (-1,), (2.5,)):
        with pytest.raises(ValueError, match="positive whole sizes"):
            Identity(shape)


def test_a_function_that_is_wrong_is_told():
    A = LinearOperator.from_functions(lambda x: x.sum(-1), lambda y: y, (4,), (4,), dtype=DOUBLE)
    with pytest.raises(ValueError, match="FromFunctions computed a result of shape"):
        A(image_of(A, (4,)))
    one = LinearOperator.from_functions(lambda x: x[0], lambda y: y, (4,), (4,))  # forgets the batch
    with pytest.raises(ValueError, match=r"\(3, 4\) is due"):
        one(torch.ones(3, 4))


def test_a_trained_factor():
    c = nn.Parameter(torch.tensor(2.0, dtype=DOUBLE))
    A = c * Gradient((3, 4), dtype=DOUBLE)
    assert list(A.parameters()) == [c]
    x = image_of(A)
    A(x).square().sum().backward()
    D = Gradient((3, 4), dtype=DOUBLE)
    assert float(c.grad) == pytest.approx(float(4 * D(x).square().sum()))
    chain = A @ Identity((3, 4), dtype=DOUBLE)
    for value in (2.0, 3.0):
        with torch.no_grad():
            c.fill_(value)
        assert float(A.norm().detach()) == pytest.approx(value * float(D.norm()))
        assert float(chain.norm().detach()) == pytest.approx(value * float(D.norm()), rel=0.03)


# ---- nonlinear operators


class Bend(Operator):
    """y_i = x_i^2 + x_{i-1}: enough to tell a derivative from the map."""

    def _forward(self, x: Tensor) -> Tensor:
        return x**2 + x.roll(1, dims=-1)


def test_nonlinear_derivatives():
    A = Bend((4,), (4,), dtype=DOUBLE)
    x, u, v = (randn((3, 4), seed=k) for k in range(3))
    assert relative(A.jvp(x, u), 2 * x * u + u.roll(1, dims=-1)) <= 1e-14
    assert relative(A.vjp(x, v), 2 * x * v + v.roll(-1, dims=-1)) <= 1e-14
    with pytest.raises(ValueError, match=r"Bend expects data of shape \(\*batch, 4\), got \(5,\)"):
        A.vjp(x, torch.zeros(5))
    with pytest.raises(TypeError, match=r"Bend computes in torch\.float32 and would lose"):
        Bend((4,), (4,))(x)
