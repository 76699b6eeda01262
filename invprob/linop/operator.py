"""What maps an image x to data y, linear or not: shapes and kinds checked at the doors, derivatives, composition.

What the physics knows of its data (what a reading is, which belong together, what stands in for a missing one) it
says here, so that nobody above has to ask for its class.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from invprob.grid import Channels, Grid, space_axes
from invprob.linop.doors import as_tensor
from invprob.linop.forward_mode import derivative_along
from invprob.linop.module import COMPLEX_OF, Module, precision_of
from invprob.linop.readings import drawn_readings, zero_filled

if TYPE_CHECKING:
    from invprob.linop.nonlinear import Linearised

Shape = tuple[int, ...]
DataKind = Literal["views", "picture", "samples"]
T = TypeVar("T")


class Place(NamedTuple):
    """Where the object of some data is: bool masks `domain_shape`, and the region in words.

    `inside` surely holds the object, as it is wider than `fitted` by what is not known of that.
    """

    inside: Tensor
    fitted: Tensor
    words: str


class Operator(Module, ABC):
    """y = A(x) for x of shape `(*batch, *domain_shape)` and y of shape `(*batch, *range_shape)`.

    `dtype` sets the precision (float32 or float64); whether an end is complex belongs to the physics and is
    fixed by the class. Attributes, which a subclass may set:

    degree: d says that A(c x) = c^d A(x) for c > 0, None that no such d is known.
    data_kind: what data are: "views" (lines of sight from several sides), a "picture", or "samples" of anything else.
    view_axes: how many leading data axes count views, or other groups of readings that share what no model explains.
    channels: what the first axis of an image counts where that is no direction in space.
    transparent: that data are filtered data of the same shape, so that a composition asks the operator inside.
    parameter_batch: the batch of an operator that is another one for every item, () as a rule.
    matched: False says that the adjoint (of the derivative) is only near the true one.
    """

    degree: float | None = None
    data_kind: DataKind = "samples"
    view_axes: int = 0
    channels: Channels | None = None
    matched: bool = True
    transparent: bool = False
    parameter_batch: Shape = ()

    def __init__(
        self,
        domain_shape: Sequence[int],
        range_shape: Sequence[int],
        *,
        dtype: torch.dtype = torch.float32,
        complex_domain: bool = False,
        complex_range: bool = False,
    ) -> None:
        super().__init__()
        self.domain_shape: Shape = valid_shape(domain_shape, self, "domain_shape")
        self.range_shape: Shape = valid_shape(range_shape, self, "range_shape")
        self.complex_domain = complex_domain
        self.complex_range = complex_range
        # An empty buffer is how nn.Module.to(...) tells us our precision and device.
        self._anchor: Tensor
        self.register_buffer("_anchor", torch.empty(0, dtype=precision_of(dtype, self)), persistent=False)
        self._cache: dict[tuple[str, torch.dtype, torch.device], Any] = {}

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor:
        """Compute A(x); the shape and dtype of x have been checked."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision: float32 or float64."""
        return self._anchor.dtype

    @property
    def device(self) -> torch.device:
        """Where the operator computes."""
        return self._anchor.device

    @property
    def domain_dtype(self) -> torch.dtype:
        """The dtype of x as a rule (a real operator takes the complex one, too)."""
        return COMPLEX_OF[self.dtype] if self.complex_domain else self.dtype

    @property
    def range_dtype(self) -> torch.dtype:
        """The dtype of y as a rule."""
        return COMPLEX_OF[self.dtype] if self.complex_range else self.dtype

    def forward(self, x: Tensor) -> Tensor:
        """Return A(x); ValueError or TypeError if x does not fit the domain."""
        x = self.as_image(x)
        return self._checked(self._forward(x), x, self.domain_shape, self.range_shape)

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor:
            """Return A(x)."""

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """Return J(x)^H v, the adjoint of the derivative at x applied to v in data space."""
        value, pull = torch.func.vjp(self, self.as_image(x))[:2]
        v = self.as_data(v)
        g: Tensor = pull(v.to(value.dtype) if value.is_complex() else v)[0]
        return g

    def jvp(self, x: Tensor, u: Tensor) -> Tensor:
        """Return J(x) u, the derivative at x along u in image space."""
        return derivative_along(self, self.as_image(x), self.as_image(u))

    def as_image(self, x: Tensor) -> Tensor:
        """Return x, which must fit the domain, in the operator's precision and kind; ValueError or TypeError else.

        Lower precision and integers are converted, higher precision is refused.
        """
        return self._fit(x, self.domain_shape, self.complex_domain, "an image")

    def as_data(self, y: Tensor) -> Tensor:
        """Return y, which must fit the range, in the operator's precision and kind; ValueError or TypeError else."""
        return self._fit(y, self.range_shape, self.complex_range, "data")

    def linearised(self, x: Tensor) -> Linearised:
        """Return u -> J(x) u, the derivative at x, `(*batch, *domain_shape)`, as a linear operator on such batches."""
        from invprob.linop.nonlinear import Linearised

        return Linearised(self, x)

    def __matmul__(self, other: Operator) -> Operator:
        """Return x -> self(other(x))."""
        from invprob.linop.nonlinear import Chain

        return Chain(self, other) if isinstance(other, Operator) else NotImplemented

    def image_dtype(self, y: Tensor) -> torch.dtype:
        """Return the dtype of the images of data y: complex if those of A are, or where complex data meet a real A."""
        return self.domain_dtype.to_complex() if y.is_complex() and not self.complex_range else self.domain_dtype

    def start(self) -> Tensor:
        """Return the image, `domain_shape`, from which iterations may begin: zero.

        An operator that has no value or no slope at zero has another one, or raises a ValueError that says so.
        """
        return torch.zeros(self.domain_shape, dtype=self.domain_dtype, device=self.device)

    @property
    def grid(self) -> Grid:
        """The spacing of the image's axes of space, the last ones, in the unit of the operator's lengths."""
        return Grid.of_pixels(space_axes(len(self.domain_shape), None, self.channels))

    @property
    def measured(self) -> Tensor | None:
        """Which entries of the data are readings: a boolean that broadcasts against them; None where all are.

        What is no reading counts nowhere: not in noise levels, not in residuals, not in "n % noise". A(x) has to be 0
        there, whatever x.
        """
        return None

    def hold_out(self, share: float, generator: torch.Generator) -> Tensor:
        """Return which readings of an item to set aside to predict them, `range_shape`: about a `share`, at random.

        Readings that would predict each other, for they share what no model explains, are set aside together.
        """
        return drawn_readings(self.range_shape, share, generator, self.view_axes)

    def fill(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return y with something plausible where the weights are 0, for methods that cannot leave readings out."""
        return zero_filled(y, weights)

    def density(self) -> Tensor | None:
        """Return the weights that even out how densely readings lie, real, that broadcast against the data.

        None where readings lie evenly, or that is no question. With them A^H W A is better conditioned; they say
        nothing of noise.
        """
        return None

    def doubts(self, y: Tensor | None = None) -> list[str]:
        """Return, as sentences, what is doubtful about this geometry, and about the data `range_shape` of one item."""
        del y
        return []

    def outline(self, y: Tensor, shape: str) -> Place | None:
        """Return the region of a shape that holds the object of data `range_shape` of one item.

        None where data do not show where an object ends. ValueError for a shape that is unknown, or does not fit.
        """
        del y, shape
        return None

    def field_of_view(self) -> float | None:
        """Return the radius around the middle of the image that the data see; None where that is no question."""
        return None

    def unseen_edges(self, x: Tensor) -> Tensor | None:
        """Return the slopes of images `(*batch, *domain_shape)` where data do not tell of the edge, 0 elsewhere.

        None where data tell of edges in all directions, or that is no question.
        """
        del x
        return None

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments but dtype, from which `type(A)(**config)` is the same operator.

        TypeError for an operator that cannot be written to a file; every registered one can.
        """
        raise TypeError(f"{type(self).__name__} has no config(): it cannot be written to a file")

    def _fit(self, t: Tensor, shape: Shape, is_complex: bool, what: str) -> Tensor:
        name = type(self).__name__
        t = as_tensor(name, t)
        if t.ndim < len(shape) or tuple(t.shape[t.ndim - len(shape) :]) != shape:
            raise ValueError(f"{name} expects {what} of shape (*batch, {_inside(shape)}), got {tuple(t.shape)}")
        if t.device != self.device:
            raise ValueError(f"{name} is on {self.device}, {what} on {t.device}: use A.to({str(t.device)!r})")
        if torch.promote_types(t.dtype, self.dtype) not in (self.dtype, COMPLEX_OF[self.dtype]):
            raise TypeError(
                f"{name} computes in {self.dtype} and would lose digits of {t.dtype}: "
                f"use A.to({t.dtype}), or convert {what} first, a tensor by .float(), an array by .astype(np.float32)"
            )
        return t.to(COMPLEX_OF[self.dtype] if is_complex or t.is_complex() else self.dtype)

    def _checked(self, out: Tensor, t: Tensor, shape_in: Shape, shape_out: Shape) -> Tensor:
        batch = t.shape[: t.ndim - len(shape_in)]
        due = (*batch, *shape_out)
        # an operator with a batch of parameters may add to the batch
        free = out.ndim >= len(due) and tuple(out.shape[out.ndim - len(shape_out) :]) == shape_out
        given = out.shape[out.ndim - len(due) : out.ndim - len(shape_out)]
        if not free or any(n not in (1, m) for n, m in zip(batch, given, strict=True)):
            raise ValueError(
                f"{type(self).__name__} computed a result of shape {tuple(out.shape)} where {due} is due: "
                "its _forward or _adjoint is wrong"
            )
        return out

    def _cached(self, name: str, compute: Callable[[], T]) -> T:
        """Return `compute()`, remembered per precision and device unless the operator is being trained."""
        if any(t.requires_grad for t in (*self.parameters(), *self.buffers())):
            return compute()
        key = (name, self.dtype, self.device)
        if key not in self._cache:
            with torch.inference_mode(False), torch.no_grad():  # what is kept has to serve training, too
                made: Any = compute()
                self._cache[key] = made.clone() if isinstance(made, Tensor) and made.is_inference() else made
        found: T = self._cache[key]
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def extra_repr(self) -> str:
        """Return what stands between the brackets of repr(A)."""
        return f"{self.domain_shape} -> {self.range_shape}, {str(self.range_dtype).removeprefix('torch.')}"


def valid_shape(shape: Sequence[int], owner: object, what: str) -> Shape:
    """Return a shape as whole numbers; ValueError naming owner and argument unless all are positive."""
    try:
        sizes = tuple(operator.index(n) for n in shape)
    except TypeError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise ValueError(f"{type(owner).__name__}: {what} must hold positive whole sizes, got {shape}")
    return sizes


def _inside(shape: Shape) -> str:
    return ", ".join(map(str, shape))
