"""The laws of every operator, linear or not, by `invprob.testing`, and what is particular to the algebra."""

import numpy as np
import pytest
import torch
from cases import DOUBLE, NONLINEAR, OPERATORS, classes_in, classes_of, fourier, mixing, parallel
from laws import data_of, image_of, mismatch, randn, relative
from torch import Tensor, nn

from invprob import registry, testing
from invprob.linop import LinearOperator, Operator
from invprob.linop.stacked import VStack
from invprob.operators import Gradient, Identity, ParallelBeam

SINGLE = torch.float32
EVERY = pytest.mark.parametrize("name", OPERATORS)
BOTH = pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=["float32", "float64"])
HOME = ("invprob.operators", "invprob.transforms", *(f"invprob.linop.{room}" for room in ("algebra", "adapters")))
COMBINING = ("invprob.linop.lifted", "invprob.linop.stacked")
IN_SINGLE = ["shapes", "batches", "purity", "precision", "conversion", "copies", "description", "adjoint", "matrix"]
IN_SINGLE += ["adjoint operator", "complex", "scipy", "norm", "direct", "fill"]  # where precision makes a difference
ROUNDED = ("from-scipy", "scaled-tensor", "linearised")  # cases made of numbers in their own precision


def test_every_class_has_a_case():
    tried = set().union(*(classes_in(make(DOUBLE)) for make in OPERATORS.values()))
    assert set(classes_of(LinearOperator, *HOME, *COMBINING)) <= tried
    assert {registry.resolve(target) for target in registry.OPERATORS.values()} <= tried


@EVERY
def test_laws(name):
    asked = {law.name for law in testing.check(OPERATORS[name](DOUBLE), pickles=True)}
    assert asked >= {
        "shapes",
        "batches",
        "purity",
        "precision",
        "adjoint",
        "autograd",
        "gram",
        "norm",
        "fill",
        "direct",
    }
    if not name.startswith("linearised"):
        assert asked >= {"matrix", "complex", "diagonals", "solve", "scipy", "conversion", "hold_out", "words"}


@EVERY
def test_laws_in_single_precision(name):
    testing.check(OPERATORS[name](SINGLE), only=IN_SINGLE, pickles=True)


@pytest.mark.parametrize("name", NONLINEAR)
@BOTH
def test_laws_of_nonlinear_operators(name, dtype):
    asked = {law.name for law in testing.check(NONLINEAR[name](dtype), pickles=True)}
    assert asked >= {"shapes", "batches", "purity", "precision", "derivative", "conversion", "words"}


# ---- the adjoint


def test_an_adjoint_that_is_wrong_is_seen():
    wrong = LinearOperator.from_functions(lambda x: 2 * x, lambda y: y, (4,), (4,), dtype=DOUBLE)
    assert mismatch(wrong, image_of(wrong), data_of(wrong)) > 1e-2


# ---- complex numbers


def test_the_gradient_of_a_real_image_under_a_complex_operator_is_the_real_part():
    A = fourier()
    x, y = randn(A.domain_shape), data_of(A)
    x.requires_grad_()
    torch.real((A(x).conj() * y).sum()).backward()
    assert relative(x.grad, A.adjoint(y).real) <= 1e-14


# ---- precision


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
    exact = 1e-6 if name.startswith(ROUNDED) else 1e-12
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


# ---- norms and solves


def test_a_negative_factor_is_not_nonnegative():
    assert (2 * parallel()).nonnegative
    assert not (-2 * parallel()).nonnegative
    assert not (1j * parallel()).nonnegative
    assert not (parallel() - parallel()).nonnegative


def test_the_zero_operator_has_norm_zero():
    for A in (0 * parallel(), 0 * Identity((3, 3))):
        assert float(A.norm()) == float(A.norm_bound()) == 0


@pytest.mark.parametrize(
    ("name", "basis"), [("identity", "any"), ("gradient-3d", "cosine"), ("scaled-complex", "cosine")]
)
def test_what_has_a_gram_diagonal(name, basis):
    assert OPERATORS[name](DOUBLE).gram_diagonal().basis == basis


# ---- coming and going


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
