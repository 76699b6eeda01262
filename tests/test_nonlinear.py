"""Nonlinear operators: compositions and derivatives against dense Jacobians, real and complex, in batches."""

import copy
import math

import pytest
import torch
from laws import dense_map, randn, relative
from torch import Tensor

from invprob.certificate import adjoint_mismatch
from invprob.fidelities import HalfSquaredDistance, Misfit
from invprob.linop import Chain, Linearised, LinearOperator, Operator

DOUBLE, COMPLEX = torch.float64, torch.complex128


class Decay(Operator):
    """M exp(-t / T) of two rows M and T, per pixel: real to real."""

    degree = None

    def __init__(self) -> None:
        super().__init__((2, 3), (4, 3), dtype=DOUBLE)

    def _forward(self, x: Tensor) -> Tensor:
        times = torch.tensor([0.1, 0.4, 0.9, 1.6], dtype=x.dtype).unsqueeze(-1)
        return x[..., :1, :] * torch.exp(-times / (2 + x[..., 1:, :]))


class Squares(Operator):
    """x^2 entry by entry, real to real."""

    degree = 2.0

    def __init__(self, shape=(2, 3)) -> None:
        super().__init__(shape, shape, dtype=DOUBLE)

    def _forward(self, x: Tensor) -> Tensor:
        return x * x


class Intensity(Operator):
    """|F x|^2 with a mixing F: complex to real, phase retrieval."""

    degree = 2.0

    def __init__(self) -> None:
        super().__init__((2, 3), (7,), dtype=DOUBLE, complex_domain=True)
        self.register_buffer("F", randn((7, 6), COMPLEX, 3), persistent=False)

    def _forward(self, x: Tensor) -> Tensor:
        return (x.flatten(-2) @ self.F.T).abs().square()


class Phase(Operator):
    """exp(i x): real to complex."""

    def __init__(self, shape=(2, 3)) -> None:
        super().__init__(shape, shape, dtype=DOUBLE, complex_range=True)

    def _forward(self, x: Tensor) -> Tensor:
        return torch.exp(1j * x)


def matrix(rows, shape, dtype=DOUBLE, seed=5) -> LinearOperator:
    """A dense linear operator from items of `shape` to `(rows,)`."""
    M = randn((rows, math.prod(shape)), dtype, seed)
    return LinearOperator.from_functions(
        lambda x: x.flatten(x.ndim - len(shape)) @ M.T.to(x.dtype),
        lambda y: (y @ M.conj().to(y.dtype)).unflatten(-1, shape),
        shape,
        (rows,),
        dtype=DOUBLE,
        is_complex=dtype.is_complex,
    )


def image_mix() -> LinearOperator:
    """A linear operator on images of shape (2, 3)."""
    return LinearOperator.from_functions(lambda x: x.flip(-1) + 2 * x, None, (2, 3), (2, 3), dtype=DOUBLE)


OPERATORS = {
    "decay": Decay,
    "intensity": Intensity,
    "phase": Phase,
    "linear": image_mix,
    "complex linear": lambda: matrix(5, (2, 3), COMPLEX),
    "linear @ nonlinear": lambda: matrix(5, (4, 3)) @ Decay(),
    "nonlinear @ linear": lambda: Decay() @ image_mix(),
    "nonlinear @ nonlinear": lambda: Decay() @ Squares(),
    "three": lambda: matrix(5, (4, 3)) @ Decay() @ Squares(),
    "intensity @ real linear": lambda: Intensity() @ image_mix(),
    "intensity @ phase": lambda: Intensity() @ Phase(),
    "complex linear @ phase": lambda: matrix(5, (2, 3), COMPLEX) @ Phase(),
    "real linear @ phase": lambda: matrix(5, (2, 3)) @ Phase(),
    "squares @ intensity": lambda: Squares((7,)) @ Intensity(),
}
EVERY = pytest.mark.parametrize("name", OPERATORS)


def point_of(A: Operator, batch=(), seed=0) -> Tensor:
    return randn((*batch, *A.domain_shape), A.domain_dtype, seed)


def as_real(t: Tensor, like: Tensor) -> Tensor:
    """The entries of an item as real coordinates, two for a complex one."""
    del like
    return torch.view_as_real(t).flatten() if t.is_complex() else t.flatten()


def from_real(t: Tensor, like: Tensor) -> Tensor:
    return torch.view_as_complex(t.reshape(*like.shape, 2)) if like.is_complex() else t.reshape(like.shape)


def jacobian(A: Operator, x: Tensor) -> Tensor:
    """The real Jacobian matrix by torch's own reverse mode through _forward."""
    return torch.func.jacrev(lambda t: as_real(A(from_real(t, x)), x))(as_real(x, x))


@EVERY
def test_the_derivative_is_the_jacobian(name):
    A = OPERATORS[name]()
    x = point_of(A)
    J = A.linearised(x)
    assert relative(J.value, A(x)) <= 1e-15
    expected, n = jacobian(A, x), as_real(x, x).numel()
    found = torch.stack([as_real(J(from_real(e, x)), x) for e in torch.eye(n, dtype=DOUBLE)], 1)
    assert relative(found, expected) <= 1e-12
    y = J.value
    m = as_real(y, y).numel()
    adjoint = torch.stack([as_real(J.adjoint(from_real(e, y)), x) for e in torch.eye(m, dtype=DOUBLE)], 1)
    assert relative(adjoint, expected.T) <= 1e-12
    assert adjoint_mismatch(J) <= 1e-12


@EVERY
def test_vjp_and_jvp_are_a_pair(name):
    A = OPERATORS[name]()
    x, u = point_of(A), point_of(A, seed=1)
    v = randn(A.range_shape, A(x).dtype, 2)
    pushed, pulled = A.jvp(x, u), A.vjp(x, v)
    assert (pushed.dtype, pulled.dtype) == (A(x).dtype, x.dtype)
    left, right = torch.vdot(v.flatten(), pushed.flatten()).real, torch.vdot(pulled.flatten(), u.flatten()).real
    assert abs(left - right) <= 1e-12 * torch.linalg.vector_norm(pushed) * torch.linalg.vector_norm(v)


@EVERY
def test_batches(name):
    A = OPERATORS[name]()
    x = point_of(A, (3,))
    J = A.linearised(x)
    u, v = point_of(A, (2, 3), 1), randn((2, 3, *A.range_shape), J.value.dtype, 2)
    single = [A.linearised(p) for p in x]
    for i in range(2):
        for k in range(3):
            assert relative(J(u)[i, k], single[k](u[i, k])) <= 1e-12
            assert relative(J.adjoint(v)[i, k], single[k].adjoint(v[i, k])) <= 1e-12
    assert relative(J(u[0, 0])[2], single[2](u[0, 0])) <= 1e-12
    assert relative(J.norm(), torch.stack([torch.linalg.matrix_norm(jacobian(A, p), 2) for p in x])) <= 1e-3
    assert bool((J.norm_bound() >= (1 - 1e-9) * J.norm()).all())


def test_between_real_spaces_both_parts_are_acted_on():
    x, u, v = randn((3, 2, 3)), randn((2, 3), COMPLEX, 1), randn((3, 4, 3), COMPLEX, 2)
    J = Decay().linearised(x)
    assert relative(J(u), torch.complex(J(u.real), J(u.imag))) <= 1e-15
    assert relative(J.adjoint(v), torch.complex(J.adjoint(v.real), J.adjoint(v.imag))) <= 1e-15


def test_kinds_of_mixed_spaces():
    phase, intensity = Phase().linearised(randn((2, 3))), Intensity().linearised(randn((2, 3)))
    assert phase.adjoint(randn((2, 3))).dtype == DOUBLE
    with pytest.raises(TypeError, match="real part"):
        phase(randn((2, 3), COMPLEX))
    assert intensity(randn((2, 3))).dtype == DOUBLE
    assert intensity.adjoint(randn((7,))).dtype == COMPLEX
    with pytest.raises(TypeError, match="real part"):
        intensity.adjoint(randn((7,), COMPLEX))


def test_a_complex_point_of_a_real_operator():
    """The derivative of a map that is holomorphic is complex-linear."""
    x = randn((2, 3), COMPLEX)
    J = Squares().linearised(x)
    assert relative(dense_map(J, (2, 3), COMPLEX), torch.diag(2 * x.flatten())) <= 1e-14
    assert adjoint_mismatch(J) <= 1e-12


def test_degrees_multiply():
    assert (Squares() @ Squares()).degree == 4.0
    assert (matrix(5, (2, 3)) @ Squares()).degree == 2.0
    assert (Squares() @ image_mix()).degree == 2.0
    assert (Decay() @ Squares()).degree is None
    A, x = Squares() @ Squares(), randn((2, 3))
    assert relative(A(3 * x), 3**4 * A(x)) <= 1e-14


def test_chains_and_shapes():
    assert isinstance(matrix(5, (4, 3)) @ Decay(), Chain)
    assert isinstance(image_mix() @ image_mix(), LinearOperator)
    with pytest.raises(ValueError, match="the outer takes"):
        Decay() @ Decay()
    with pytest.raises(TypeError, match="bring them together"):
        Squares().to(torch.float32) @ Squares()
    J = (Decay() @ Squares()).linearised(randn((2, 3)))
    assert isinstance(J, Linearised)
    with pytest.raises(ValueError, match="expects an image"):
        J(randn((3, 3)))


def test_precision_moves_the_point_along():
    A = matrix(5, (4, 3)) @ Decay()
    x, u = randn((2, 3)), randn((2, 3), seed=1)
    J, wide = copy.deepcopy(A.linearised(x)), A.linearised(x)
    J.to(torch.float32)
    assert J.value.dtype == J(u.float()).dtype == torch.float32
    assert relative(J(u.float()).double(), wide(u)) <= 1e-5


def test_differentiable_in_the_point():
    x, u = randn((2, 3)).requires_grad_(), randn((2, 3), seed=1)
    (Squares() @ image_mix()).linearised(x)(u).sum().backward()
    M = image_mix()
    assert relative(x.grad, M.adjoint(2 * M(u))) <= 1e-14


# ---- misfits


def misfit(A, y):
    return Misfit(A, HalfSquaredDistance(y, None, len(A.range_shape)))


def test_the_start_of_a_misfit():
    f = misfit(Intensity(), randn((3, 7)).abs())
    assert torch.equal(f.start(), torch.zeros(3, 2, 3, dtype=COMPLEX))
    assert torch.equal(f.y, f.phi.y)
    assert misfit(Phase(), randn((2, 3), COMPLEX)).start().dtype == DOUBLE

    class FromOne(Squares):
        def start(self):
            return torch.ones(self.domain_shape, dtype=DOUBLE)

    assert torch.equal(misfit(FromOne(), randn((4, 2, 3))).start(), torch.ones(4, 2, 3, dtype=DOUBLE))
    assert torch.equal(misfit(Squares() @ FromOne(), randn((2, 3))).start(), torch.ones(2, 3, dtype=DOUBLE))

    class FromNowhere(Squares):
        def start(self):
            raise ValueError("Squares are flat at zero: give x0")

    with pytest.raises(ValueError, match="give x0"):
        misfit(FromNowhere(), randn((2, 3))).start()


def test_the_gradient_of_a_misfit():
    A = matrix(5, (2, 3), COMPLEX) @ Phase()
    f, x = misfit(A, randn((5,), COMPLEX)), randn((2, 3)).requires_grad_()
    f.value(x).backward()
    assert relative(f.grad(x.detach()), x.grad) <= 1e-12
