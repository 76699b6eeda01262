"""What Cartesian and non-Cartesian MRI share: coil maps, sets of maps, frames, and the axes they stand on."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from invprob import linalg, processor
from invprob.grid import Grid
from invprob.linop import Bound, DataKind, LinearOperator
from invprob.linop.items import broadcast_batch
from invprob.linop.module import COMPLEX_OF
from invprob.linop.operator import Shape
from invprob.linop.readings import zero_filled

Coils = int | ArrayLike | Tensor | None
BLOCK = 2**25  # bytes of coil images worked on at once


class Encoding(LinearOperator):
    """y = sample(S x): images times coil maps, and what a scanner samples of their spectra.

    Images are `(*batch, [sets], [frames], *image)`, data `(*batch, [frames], [coils], *samples)`, maps
    `(*batch, [sets], coils, *image)`; axes in brackets are there where they count more than one, that of the coils
    where there are coils. With a number of coils in place of maps, A acts on an image per coil,
    `(*batch, [frames], coils, *image)`, and `with_coils` gives the operator of the maps found.

    Inside, images have the axes (sets, frames, coils, *image) and data (frames, coils, *samples), of size 1 where there
    are none. A subclass writes `_sampled` and `_pulled`, from coil images to samples and back, and the
    short ways `_gram` and `_weighted_gram`.

    Arguments:
        image_shape: one to three axes of space.
        samples_shape: of what one coil measures of one frame.
        coils: the maps, a number of coils, or None for one coil without an axis.
        sets: how many sets of maps and images there are (Uecker et al. 2014).
        frames: how many frames there are, for which the maps are the same.
        batch: that of other parameters than the maps.
        dtype: the precision.

    ValueError for maps that do not fit, or are not finite.
    """

    data_kind: DataKind = "samples"
    short_gram = True

    def __init__(
        self,
        image_shape: Sequence[int],
        samples_shape: Sequence[int],
        coils: Coils,
        *,
        sets: int,
        frames: int,
        batch: Shape,
        dtype: torch.dtype,
    ) -> None:
        self_name = type(self).__name__
        if sets < 1 or frames < 1 or (sets > 1 and frames > 1):
            raise ValueError(
                f"{self_name}: sets and frames are counts, one of them 1, got sets={sets} and frames={frames}"
            )
        space = tuple(int(n) for n in image_shape)
        if not 1 <= len(space) <= 3:
            raise ValueError(f"{self_name}: images have one to three axes, got image_shape={space}")
        maps = None if coils is None or isinstance(coils, int) else checked_maps(self_name, coils, space, sets)
        count = coils if isinstance(coils, int) else None if maps is None else maps.shape[-len(space) - 1]
        if maps is None and sets > 1:
            raise ValueError(f"{self_name}: {sets} sets need maps, (sets, coils, *image)")
        if count is not None and count < 1:
            raise ValueError(f"{self_name}: coils is a positive number of coils, or their maps, got {coils!r}")
        unknown = [coils] if isinstance(coils, int) else []
        axes = [n for n in (sets, frames) if n > 1]
        measured = [frames] if frames > 1 else []
        super().__init__(
            (*axes, *unknown, *space),
            (*measured, *([] if count is None else [count]), *samples_shape),
            dtype=dtype,
            is_complex=True,
        )
        self.sets, self.frames, self.coils, self.maps = sets, frames, count, maps
        self._space = len(space)
        self._samples = tuple(samples_shape)
        self._known = not unknown
        self.channels = "frames" if frames > 1 else "echoes" if sets > 1 or unknown else None
        of_maps = () if maps is None else tuple(maps.shape[: maps.ndim - self._space - 1 - (sets > 1)])
        self.parameter_batch = tuple(broadcast_batch(of_maps, batch))

    @property
    def image_shape(self) -> Shape:
        """The axes of space."""
        return self.domain_shape[len(self.domain_shape) - self._space :]

    @property
    def grid(self) -> Grid:
        """Pixels along the axes of space."""
        return Grid.of_pixels(self._space)

    @property
    def lacks_maps(self) -> bool:
        """Whether the operator acts per coil, as the maps are not known."""
        return not self._known

    def with_coils(self, maps: Coils, *, sets: int = 1) -> Self:
        """Return the same encoding with these maps, `(*batch, [sets], coils, *image)`.

        ValueError for maps of another number of coils or of another shape.
        """
        found = type(self)(**{**self.config(), "coils": maps, "sets": sets}, dtype=self.dtype).to(self.device)
        if self.coils is not None and found.coils != self.coils:
            raise ValueError(f"{type(self).__name__}: maps of {found.coils} coils for data of {self.coils}")
        return found

    # ---- hooks

    @abstractmethod
    def _sampled(self, images: Tensor) -> Tensor:
        """Return the samples, (..., frames, coils, *samples), of coil images (..., frames, coils, *image)."""

    @abstractmethod
    def _pulled(self, samples: Tensor) -> Tensor:
        """Return the coil images of samples, by the adjoint of `_sampled`."""

    def _phase(self) -> Tensor | None:
        """Return factors of modulus 1, *image, which join the maps; None for 1."""
        return None

    # ---- the operator

    def _forward(self, x: Tensor) -> Tensor:
        batch = tuple(broadcast_batch(x.shape[: x.ndim - len(self.domain_shape)], self.parameter_batch))
        if not x.numel():
            return x.new_zeros(*batch, *self.range_shape)
        x, table = self._image_axes(x), self._table()
        parts = [self._sampled(self._coil_images(x, table, some)) for some in self._blocks(x)]
        y = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-len(self._samples) - 1)
        return y.reshape(*y.shape[: y.ndim - len(self._samples) - 2], *self.range_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        batch = tuple(broadcast_batch(y.shape[: y.ndim - len(self.range_shape)], self.parameter_batch))
        if not y.numel():
            return y.new_zeros(*batch, *self.domain_shape)
        y, conjugate = self._data_axes(y), self._conjugate_table()
        total: Tensor | None = None
        parts = []
        for some in self._blocks(y):
            images = self._pulled(y if some is None else y.narrow(-len(self._samples) - 1, *some))
            done = self._combined(images, conjugate, some, total)
            if self._known:
                total = done
            else:
                parts.append(done)
        x = torch.cat(parts, dim=-self._space - 1) if total is None else total
        return x.reshape(*x.shape[: x.ndim - self._space - 3], *self.domain_shape)

    def _coil_images(self, x: Tensor, table: Tensor | None, some: tuple[int, int] | None) -> Tensor:
        """Return S x, (..., frames, coils, *image), of x (..., sets, frames, 1 or coils, *image), for some coils."""
        if not self._known and some is not None:
            x = x.narrow(-self._space - 1, *some)
        images = x if table is None else x * self._of(table, some)
        return images.squeeze(-self._space - 3) if self.sets == 1 else images.sum(-self._space - 3)

    def _combined(
        self, images: Tensor, conjugate: Tensor | None, some: tuple[int, int] | None, total: Tensor | None = None
    ) -> Tensor:
        """Return S^H of coil images, (..., sets, frames, 1 or coils, *image), added to what other coils came to."""
        images, axis = images.unsqueeze(-self._space - 3), -self._space - 1
        if conjugate is None or self.maps is None:
            return images if conjugate is None else images * conjugate
        # coil by coil, each while it is near: faster than a product of all that is summed afterwards
        conjugate = self._of(conjugate, some)
        for coil in range(images.shape[axis]):
            image, factor = images.narrow(axis, coil, 1), conjugate.narrow(axis, coil, 1)
            total = image * factor if total is None else torch.addcmul(total, image, factor)
        if total is None:
            raise RuntimeError("a block has at least one coil")
        return total

    def _of(self, table: Tensor, some: tuple[int, int] | None) -> Tensor:
        return table if some is None or self.maps is None else table.narrow(-self._space - 1, *some)

    def _table(self) -> Tensor | None:
        """Return maps and phase in one, (*batch, sets, 1, coils, *image) or *image."""

        def compute() -> Tensor | None:
            kind, phase = COMPLEX_OF[self.dtype], self._phase()
            if self.maps is None:
                return None if phase is None else phase.to(self.device, kind if phase.is_complex() else self.dtype)
            d, maps = self._space, self.maps
            batch = maps.shape[: maps.ndim - d - 1 - (self.sets > 1)]
            maps = maps.reshape(*batch, self.sets, 1, *maps.shape[-d - 1 :])
            return (maps if phase is None else maps * phase).to(self.device, kind)

        return self._cached("table", compute)

    def _conjugate_table(self) -> Tensor | None:
        table = self._table()
        return None if table is None else self._cached("conjugate", lambda: table.conj().resolve_conj())

    def _image_axes(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim - len(self.domain_shape)]
        coils = 1 if self._known or self.coils is None else self.coils
        return x.reshape(*batch, self.sets, self.frames, coils, *self.image_shape)

    def _data_axes(self, y: Tensor) -> Tensor:
        """Return data, or weights that broadcast against them, with axes for frames and coils."""
        k = len(self.range_shape)
        y = y.reshape(*(1,) * (k - y.ndim), *y.shape)
        batch, item = y.shape[: y.ndim - k], y.shape[y.ndim - k :]
        frames = item[:1] if self.frames > 1 else (1,)
        coils = (1,) if self.coils is None else item[k - len(self._samples) - 1 : k - len(self._samples)]
        return y.reshape(*batch, *frames, *coils, *item[k - len(self._samples) :])

    def _blocks(self, t: Tensor, most: int = BLOCK) -> Iterator[tuple[int, int] | None]:
        """Yield (first, count) of the coils, of so many bytes, that are worked on together; None for all of them."""
        coils, d = self.coils or 1, self._space
        items = math.prod(broadcast_batch(t.shape[: t.ndim - 3 - d] if t.ndim > 3 + d else (), self.parameter_batch))
        one = max(1, items) * self.frames * math.prod(self.image_shape) * (8 if self.dtype == torch.float32 else 16)
        size = max(1, most // one)
        if size >= coils:
            yield None
        else:
            yield from ((first, min(size, coils - first)) for first in range(0, coils, size))

    # ---- the normal operator

    def _spectral_product(self, x: Tensor, kernel: Tensor, axes: Sequence[int]) -> Tensor:
        """Return S^H F^-1 L F S x for x (..., sets, frames, 1 or coils, *image) and L, (..., frames, coils, *image).

        F is the FFT along some axes of space, counted from the end.
        """
        table, conjugate, d = self._table(), self._conjugate_table(), self._space
        kernel = kernel.to(x.dtype) if axes else kernel  # once, not for every coil
        total: Tensor | None = None
        parts = []
        # coils that half the cache of a core holds stay there from one step to the next; sums run coil by coil, so that
        # no result depends on it
        for some in self._blocks(x, processor.second_level_cache() // 2 if x.device.type == "cpu" else BLOCK):
            images = self._coil_images(x, table, some)
            if axes:
                images = torch.fft.fftn(images, dim=tuple(axes))
            part = kernel if some is None or kernel.shape[-d - 1] == 1 else kernel.narrow(-d - 1, *some)
            images = _scaled(images, part) if axes else images * part
            if axes:
                images = torch.fft.ifftn(images, dim=tuple(axes))
            done = self._combined(images, conjugate, some, total)
            if self._known:
                total = done
            else:
                parts.append(done)
        return torch.cat(parts, dim=-d - 1) if total is None else total

    def _norm_of_maps(self) -> Tensor:
        """Return max_r |S(r)|, the largest singular value of the maps over the pixels, (*batch,), float64."""
        if self.maps is None:
            return torch.ones(self.parameter_batch, dtype=torch.float64, device=self.device)
        d = self._space
        maps = self.maps.to(self.device, torch.complex128)
        if self.sets == 1:
            square = maps.abs().square().sum(-d - 1)
        else:
            table = maps.flatten(-d).movedim(-1, -3)  # (*batch, pixels, sets, coils)
            largest: Tensor = torch.linalg.eigvalsh(table @ table.mH)[..., -1]
            return largest.amax(-1).clamp(min=0).sqrt()
        return square.flatten(-d).amax(-1).sqrt()

    # ---- what the physics knows

    def direct(self, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return S^H F^H y / sum |S|^2 where that is not 0: zero-filling, or gridding with density weights.

        Readings of weight 0 are left out, all others count alike.
        """
        y = zero_filled(self.as_data(y), weights)
        density = self.density()
        x = self.adjoint(y if density is None else density * y)
        if self.maps is None:
            return x
        return linalg.ratio(x, self._cached("shading", self._shading).expand_as(x))

    def _shading(self) -> Tensor:
        """Return sum_c |S_c|^2, (*batch, [sets], [1], *image)."""
        if self.maps is None:
            raise ValueError("without maps there is no shading")
        square = self.maps.abs().square().sum(-self._space - 1)
        square = square.unsqueeze(-self._space - 1) if self.frames > 1 else square
        return square.to(self.device, COMPLEX_OF[self.dtype])

    def _bound_of_maps(self) -> Bound:
        value = self._norm_of_maps() * (1 + 16 * torch.finfo(self.dtype).eps)
        return Bound(value.expand(self.parameter_batch).to(self.dtype), "coil maps")

    def _words(self) -> str:
        """Say how many coils, sets and frames there are, as part of a repr."""
        coils = "" if self.coils is None else f", {self.coils} coils" + ("" if self._known else " without maps")
        sets = f", {self.sets} sets" if self.sets > 1 else ""
        frames = f", {self.frames} frames" if self.frames > 1 else ""
        return f"{coils}{sets}{frames}"

    def _options(self) -> dict[str, Any]:
        """Return coils, sets and frames as the constructor takes them, where they are not the defaults."""
        found: dict[str, Any] = {}
        if self.coils is not None:
            found["coils"] = self.coils if self.maps is None else self.maps.numpy()
        if self.sets > 1:
            found["sets"] = self.sets
        if self.frames > 1:
            found["frames"] = self.frames
        return found


def _scaled(images: Tensor, factors: Tensor) -> Tensor:
    """Return images times factors, which broadcast, in their place where they keep their shape."""
    pairs = zip(reversed(factors.shape), reversed(images.shape), strict=False)
    stays = factors.ndim <= images.ndim and all(n in (1, m) for n, m in pairs)
    return images.mul_(factors) if stays and not factors.requires_grad else images * factors


def checked_maps(name: str, coils: ArrayLike | Tensor, space: Shape, sets: int) -> Tensor:
    """Return maps as a complex tensor on the CPU, `(*batch, [sets], coils, *space)`; ValueError if they do not fit."""
    given = coils.detach().cpu() if isinstance(coils, Tensor) else torch.from_numpy(np.array(coils))
    kind = torch.complex128 if given.dtype in (torch.float64, torch.complex128) else torch.complex64
    maps = given.to(kind)
    d = len(space)
    if maps.ndim < d + 1 + (sets > 1) or tuple(maps.shape[maps.ndim - d :]) != space:
        due = f"(*batch, {'sets, ' if sets > 1 else ''}coils, {', '.join(map(str, space))})"
        raise ValueError(f"{name}: coil maps have the shape {due}, got {tuple(maps.shape)}")
    if sets > 1 and maps.shape[maps.ndim - d - 2] != sets:
        raise ValueError(f"{name}: sets={sets}, but the maps {tuple(maps.shape)} have {maps.shape[-d - 2]}")
    bad = int((~maps.isfinite()).sum())
    if bad:
        raise ValueError(f"{name}: {bad} of {maps.numel()} values of the coil maps are NaN or infinite")
    if not bool(maps.any()):
        raise ValueError(f"{name}: the coil maps are zero everywhere, so that nothing would be measured")
    return maps
