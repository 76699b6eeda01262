"""Operators made of operators say of their data what their parts say, or that they cannot."""

import math

import pytest
import torch
from cases import DOUBLE, VIEWS, Attenuation
from laws import data_of, image_of, randn, relative
from torch import Tensor

from invprob.grid import Grid
from invprob.linop import LinearOperator, Operator, vstack
from invprob.linop.readings import MANY_GROUPS, interpolated
from invprob.operators import Blur, Downsample, Identity, Mask, ParallelBeam, SobolevMetric

COUNT = 2 * MANY_GROUPS  # views, of which some are set aside whole


def views(angles=None, dtype: torch.dtype = DOUBLE) -> ParallelBeam:
    angles = [math.pi * k / COUNT for k in range(COUNT)] if angles is None else angles
    return ParallelBeam((4, 6), angles, 8, pixel_size=0.7, detector_size=0.7, dtype=dtype)


def many(A: Operator) -> Mask:
    return Mask(randn(A.range_shape, seed=1) > -1, dtype=DOUBLE)


# one operator in, one out, and how many axes of its data count views
WRAPPERS = {
    "filter": (lambda A: SobolevMetric(A.range_shape, 0.5, dtype=DOUBLE) @ A, 1),
    "mask": (lambda A: many(A) @ A, 1),
    "filter of a mask": (lambda A: SobolevMetric(A.range_shape, 0.5, dtype=DOUBLE) @ (many(A) @ A), 1),
    "after a blur": (lambda A: A @ Blur(A.domain_shape, [[0.5, 0.5]], dtype=DOUBLE), 1),
    "scaled": (lambda A: 2 * A, 1),
    "scaled filter": (lambda A: (2 * SobolevMetric(A.range_shape, 0.5, dtype=DOUBLE)) @ A, 1),
    "sum": (lambda A: A + 0.5 * A, 1),
    "stack": (lambda A: vstack([A, A]), 1),
    "stack of multiples": (lambda A: vstack([A, 2 * A, -A]), 1),
    "lifted": (lambda A: A.lift((3,)), 2),
    "lifted multiple": (lambda A: (2 * A).lift((3,), channels="frames"), 2),
    "lifted twice": (lambda A: A.lift((3,), channels="slices").lift((2,)), 3),
    "lifted stack": (lambda A: vstack([A, A]).lift((3,)), 2),
    "of nonlinear": (lambda A: A @ Attenuation(A.domain_shape), 1),
    "filter of nonlinear": (lambda A: Identity(A.range_shape, dtype=DOUBLE) @ (A @ Attenuation(A.domain_shape)), 1),
}
EVERY = pytest.mark.parametrize("name", WRAPPERS)


@EVERY
def test_views_stay_views(name):
    wrap, axes = WRAPPERS[name]
    B = wrap(views())
    assert B.data_kind == "views"
    assert B.view_axes == axes


@EVERY
def test_views_are_set_aside_whole(name):
    wrap, _ = WRAPPERS[name]
    B = wrap(views())
    mask = B.hold_out(0.25, torch.Generator().manual_seed(0))
    assert mask.shape == B.range_shape
    assert torch.equal(mask.any(-1), mask.all(-1))
    assert float(mask.double().mean()) == pytest.approx(0.25)
    if "lifted" in name:  # other frames of one view would predict it
        flat = mask.reshape(-1, *mask.shape[-2:])
        assert torch.equal(flat, flat[:1].expand_as(flat))


@EVERY
def test_few_views_are_not_set_aside_whole(name):
    mask = WRAPPERS[name][0](views(VIEWS)).hold_out(0.5, torch.Generator().manual_seed(0))
    assert not torch.equal(mask.any(-1), mask.all(-1))


@EVERY
def test_missing_readings_are_interpolated_along_the_detector(name):
    B = WRAPPERS[name][0](views(VIEWS))
    y, weights = data_of(B, (2,)), (randn((2, *B.range_shape), seed=4) > -0.5).to(DOUBLE)
    assert relative(B.fill(y, weights), interpolated(y, weights)) == 0
    assert relative(B.fill(y, weights), torch.where(weights > 0, y, 0.0)) > 0.1


@EVERY
def test_the_grid_is_that_of_the_image(name):
    B = WRAPPERS[name][0](views(VIEWS))
    # the spacing of blurred images is not the blur's to know
    spacing = {"after a blur": (1.0, 1.0), "lifted twice": (0.7, 0.7, 0.7)}.get(name, (0.7, 0.7))
    if "nonlinear" in name:
        spacing = (1.0, 1.0)
    assert B.grid.spacing == pytest.approx(spacing)


@EVERY
def test_channels_are_said_not_guessed(name):
    B = WRAPPERS[name][0](views(VIEWS))
    assert B.channels == {"lifted multiple": "frames"}.get(name)


@EVERY
def test_doubts_about_the_geometry_are_passed_on(name):
    A = views([0.1, 0.2, 0.3, 0.4])
    assert A.doubts()  # a limited angle
    assert WRAPPERS[name][0](A).doubts()[: len(A.doubts())] == A.doubts()


def test_doubts_about_the_data_are_asked_of_who_knows_them():
    class Suspicious(Identity):
        def doubts(self, y: Tensor | None = None) -> list[str]:
            return [] if y is None else [f"{float(y.sum()):g}"]

    A = Suspicious((2, 2), dtype=DOUBLE)
    y = torch.ones(2, 2, dtype=DOUBLE)
    assert (4 * A).doubts(y) == ["1"]  # y / 4 are data of A
    assert (1j * A).doubts(y) == (0 * A).doubts(y) == []
    assert vstack([A, A]).doubts(torch.cat([y, 2 * y])) == ["4", "8"]
    assert vstack([A, A]).doubts(torch.cat([y, y])) == ["4"]  # one sentence, once
    assert A.lift((3,)).doubts(torch.stack([y, 5 * y, y])) == ["20"]
    assert (SobolevMetric((2, 2), 1.0, dtype=DOUBLE) @ A).doubts(y) == []  # filtered data look otherwise
    assert (A + A).doubts(y) == []


# ---- direct reconstruction


def test_direct_reconstruction_is_that_of_the_parts():
    A = views()
    y, weights = A(image_of(A, (2,))), (randn(A.range_shape, seed=5) > -1).to(DOUBLE)
    x, with_holes = A.direct(y), A.direct(y, weights)
    assert relative((2 * A).direct(2 * y), x) <= 1e-12
    assert relative((1j * A).direct(1j * y), x.to(torch.complex128)) <= 1e-12
    assert relative((2 * A).direct(2 * y, weights), with_holes) <= 1e-12
    lifted = A.lift((2,), channels="frames")
    assert relative(lifted.direct(y), x) == 0
    assert relative(lifted.direct(y, weights), with_holes) <= 1e-12
    keep = Mask(weights > 0, dtype=DOUBLE)
    assert relative((keep @ A).direct(y), with_holes) <= 1e-12
    assert relative((3 * keep @ A).direct(3 * y), with_holes) <= 1e-12
    assert relative((Mask(1 + weights, dtype=DOUBLE) @ A).direct((1 + weights) * y), x) <= 1e-12
    assert not bool((0 * A).direct(y).any())


@pytest.mark.parametrize("name", ["filter", "sum", "stack"])
def test_where_no_formula_fits_conjugate_gradients_do(name):
    """Ten steps on the data as they are; filtered back-projection of a sum or a stack would be anything."""
    A = views(VIEWS)
    B = WRAPPERS[name][0](A)
    y = B(image_of(A, (2,)))
    assert relative(B(B.direct(y)), y) <= 0.2
    assert relative(B.direct(3 * y), 3 * B.direct(y)) <= 1e-6


# ---- coarser twins


@pytest.mark.parametrize("name", ["scaled", "stack", "stack of multiples", "lifted", "lifted multiple", "lifted stack"])
def test_coarser_twins_are_those_of_the_parts(name):
    wrap, _ = WRAPPERS[name]
    A = views()
    B, found, inner = wrap(A), wrap(A).coarser(), A.coarser()
    expected = wrap(inner.operator)
    x, y = image_of(expected), data_of(B, (2,))
    assert found.averaged == inner.averaged
    assert relative(found.operator(x), expected(x)) <= 1e-12
    assert relative(found.restrict(y), inner.restrict(y)) == 0
    assert (found.operator.data_kind, found.operator.view_axes) == (B.data_kind, B.view_axes)
    assert (found.operator.channels, found.operator.grid.unit) == (B.channels, B.grid.unit)


def test_where_there_is_no_coarser_twin_none_is_made_up():
    A, small = views(), ParallelBeam((4, 6), VIEWS, 1, dtype=DOUBLE)
    assert small.coarser() is None
    for B in (2 * small, small.lift((3,)), vstack([small, small])):
        assert B.coarser() is None
    assert (SobolevMetric(A.range_shape, 0.5, dtype=DOUBLE) @ A).coarser() is None
    assert A.H.coarser() is None


# ---- which entries are readings


def test_readings_are_those_of_the_parts():
    A = views(VIEWS)
    assert A.measured is None
    keep = many(A)
    seen, all_seen = keep.measured, torch.ones(A.range_shape, dtype=torch.bool)
    B = keep @ A
    smooth = SobolevMetric(A.range_shape, 0.5, dtype=DOUBLE)
    for same in (B, 2 * B, 0.5 * (2 * B), keep @ (smooth @ A), B + B):
        assert torch.equal(same.measured, seen)
    assert (smooth @ B).measured is None  # it makes something of every hole
    assert torch.equal(vstack([A, B]).measured, torch.cat([all_seen, seen]))
    assert vstack([A, A]).measured is None
    assert torch.equal(B.lift((3,)).measured.expand(3, *A.range_shape), seen.expand(3, *A.range_shape))
    assert (A + B).measured is None  # a reading of A is one of the sum
    assert torch.equal((keep @ (A @ Attenuation(A.domain_shape))).measured, seen)
    rotated = Mask(keep.weights.flip(0), dtype=DOUBLE)
    assert torch.equal((rotated @ B).measured, seen & seen.flip(0))
    per_item = Mask(torch.stack([keep.weights, 1 - keep.weights]), ndim=2, dtype=DOUBLE)
    with pytest.raises(ValueError, match=r"another operator for each of \(2,\) items"):
        per_item.lift((3,))
    with pytest.raises(ValueError, match="lift the slices first"):
        A.lift((2,), channels="colour").lift((3,), channels="slices")
    assert torch.equal(vstack([A, per_item @ A]).measured[:, 4:], per_item.measured)


# ---- kinds of data and channels


def test_what_the_parts_disagree_on_is_not_said():
    A, picture = views(VIEWS), Downsample((4, 6), 1, dtype=DOUBLE)
    assert picture.data_kind == "picture"
    assert A.H.data_kind == "samples"
    assert A.H.grid == Grid.of_pixels(2)
    assert (A.lift((3,), channels="colour") @ Identity((3, 4, 6), dtype=DOUBLE)).data_kind == "views"
    mixed = vstack([Identity((4, 6), dtype=DOUBLE), fourier_of(4, 6)])
    assert mixed.data_kind == "samples"
    assert mixed.view_axes == 0


def fourier_of(height: int, width: int) -> LinearOperator:
    def forward(x: Tensor) -> Tensor:
        return torch.fft.fft2(x, norm="ortho")

    return LinearOperator.from_functions(forward, None, (height, width), (height, width), dtype=DOUBLE, is_complex=True)


def test_only_colour_is_colour():
    A = Blur((4, 6), [[0.5, 0.5]], dtype=DOUBLE)
    assert A.lift((3,)).channels is None
    for word in ("colour", "echoes", "frames", "slices"):
        lifted = A.lift((3,), channels=word)
        assert lifted.channels == word
        for B in (2 * lifted, vstack([lifted, lifted]), lifted + lifted, Identity((3, 4, 6), dtype=DOUBLE) @ lifted):
            assert B.channels == word
        assert f"channels='{word}'" in repr(lifted)
        assert lifted.H.channels is None  # its images are data
        assert lifted.grid.ndim == (3 if word == "slices" else 2)
    with pytest.raises(ValueError, match=r"channels must be one of .*colour"):
        A.lift((3,), channels="red")
    with pytest.raises(ValueError, match="only slices have a spacing"):
        A.lift((3,), spacing=2.0)


def test_slices_lie_as_far_apart_as_is_said():
    A = views(VIEWS)
    assert A.lift((3,), channels="slices").grid.spacing == (0.7, 0.7, 0.7)
    assert A.lift((3,), channels="slices", spacing=2.1).grid.spacing == (2.1, 0.7, 0.7)
    assert (2 * A.lift((3,), channels="slices", spacing=2.1)).coarser().operator.grid.spacing == (2.1, 1.4, 1.4)


# ---- short ways


class Short(Identity):
    """An operator that notes when its own Gram matrix is used, with weights or without."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, dtype=DOUBLE)
        self.used: list[str] = []

    def _gram(self, x: Tensor) -> Tensor:
        self.used.append("plain")
        return x.clone()

    def _weighted_gram(self, x: Tensor, weights: Tensor) -> Tensor:
        self.used.append("weighted")
        return weights * x


@pytest.mark.parametrize(
    "wrap",
    [
        lambda A: 2 * A,
        lambda A: A.lift((2,)),
        lambda A: vstack([A, A]),
        lambda A: A @ Blur((3, 4), [[0.5, 0.5]], dtype=DOUBLE),
        lambda A: (2 * vstack([A @ A, A])).lift((2,)),
    ],
    ids=["scaled", "lifted", "stack", "outer of a composition", "all"],
)
def test_the_short_gram_is_reached(wrap):
    A = Short((3, 4))
    B = wrap(A)
    x, weights = image_of(B, (2,)), data_of(B).abs()
    assert relative(B.gram(x), B.adjoint(B(x))) <= 1e-12
    assert set(A.used) == {"plain"}
    A.used.clear()
    assert relative(B.gram(x, weights), B.adjoint(weights * B(x))) <= 1e-12
    assert "weighted" in A.used
