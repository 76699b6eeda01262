"""Total variation (Rudin, Osher & Fatemi 1992) and its prox."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from invprob import linalg
from invprob.functional import Scalar, Term
from invprob.linalg import item_axes, length, per_item
from invprob.priors import tv_kernel
from invprob.priors.base import Prior
from invprob.priors.simple import L1, GroupL1
from invprob.transforms import Gradient


class TotalVariation(Prior):
    """lam TV(x) = lam sum_i |(D x)_i|, D forward differences with Neumann border.

    The prox is computed to a relative duality gap. Complex images are taken as one field, the modulus of D x.

    Arguments:
        lam: the weight, a number or one per item, `(*batch,)`; by default 1.
        isotropic: whether |.| is the Euclidean norm (the default) or, if not, the sum of moduli.
        ndim: how many axes, the last ones, make one item; by default 2.
        axes: along how many of them, the last ones, differences are taken; by default all. The axes before them count
            channels, without differences between them.
        shared_edges: whether the slopes of all channels are one vector (Blomgren & Chan 1998); by default not.
        spacing: the distance of neighbours along each of the `axes`; by default 1.
        tol: the duality gap, per item: prox objective minus its minimum <= tol times the objective.
        max_iter: bounds the work of a prox where rounding does not let the gap close.
    """

    def __init__(
        self,
        lam: Scalar = 1.0,
        *,
        isotropic: bool = True,
        ndim: int = 2,
        axes: int | None = None,
        shared_edges: bool = False,
        spacing: Sequence[float] | None = None,
        tol: float = 1e-4,
        max_iter: int = 2000,
    ) -> None:
        super().__init__(lam, ndim)
        self.axes = ndim if axes is None else axes
        if not 1 <= self.axes <= ndim:
            raise ValueError(f"TotalVariation: axes must be between 1 and ndim={ndim}, got {axes}")
        if shared_edges and not isotropic:
            raise ValueError("TotalVariation: shared edges are vectors, and their length is isotropic: leave one out")
        if spacing is not None and len(spacing) != self.axes:
            raise ValueError(f"TotalVariation: {len(spacing)} spacings for {self.axes} axes")
        self.shared_edges = shared_edges
        self.spacing = None if spacing is None or set(spacing) == {1.0} else tuple(spacing)
        self.isotropic = isotropic
        self.tol = tol
        self.max_iter = max_iter

    def _value(self, x: Tensor) -> Tensor:
        field = self._differences(x)(x)
        return self._norm(field).sum(item_axes(self.ndim + 1))

    def _norm(self, field: Tensor) -> Tensor:
        """Return what is summed over the pixels."""
        return self._length(field) if self.isotropic else field.abs()

    def _length(self, field: Tensor) -> Tensor:
        return length(field, item_axes(self.ndim + 1)[: self._grouped])

    @property
    def _grouped(self) -> int:
        """How many of the leading axes of D x make one vector: that of D, and with shared edges the channels."""
        return 1 + (self.ndim - self.axes if self.shared_edges else 0)

    def terms(self, x: Tensor) -> tuple[Term, ...]:
        """Return the norm and D: min over x of h(D x)."""
        ndim = self.ndim + 1
        norm = GroupL1(self.lam, ndim, grouped=self._grouped) if self.isotropic else L1(self.lam, ndim)
        return (Term(norm, self._differences(x)),)

    def _prox(self, v: Tensor, t: Tensor) -> Tensor:
        differentiated = torch.is_grad_enabled() and (v.requires_grad or t.requires_grad)
        if self.ndim == self.axes in (2, 3) and v.device.type == "cpu" and not v.is_complex() and not differentiated:
            return self._prox_compiled(v, t)
        return self._prox_traceable(v, t)

    def _prox_compiled(self, v: Tensor, t: Tensor) -> Tensor:
        """Do the same as `_prox_traceable` for real images in the memory of the CPU, many times faster."""
        batch, item = v.shape[: v.ndim - self.ndim], tuple(v.shape[v.ndim - self.ndim :])
        slopes = [1 / h for h in self.spacing or (1.0,) * self.ndim]
        if self.ndim == 2 and self.spacing is not None:  # a volume of one plane, which has no neighbour
            item, slopes = (1, *item), [0.0, *slopes]
        images = v.detach().reshape(batch.numel(), *item).numpy()
        radii = t.detach().expand(batch).reshape(-1).to(v.dtype).numpy()
        threads = torch.get_num_threads()
        x = tv_kernel.denoise(images, radii, slopes, self.tol, self.max_iter, self.isotropic, threads)
        return torch.from_numpy(x).reshape(v.shape)

    def _prox_traceable(self, v: Tensor, t: Tensor) -> Tensor:
        """Solve the dual, max over |p| <= t of 1/2 |v|^2 - 1/2 |v - D^T p|^2 (fast projected gradient).

        Beck & Teboulle, IEEE TIP 18 (2009), with the restart of O'Donoghue & Candes (2015).
        """
        D = self._differences(v)
        batch = v.shape[: v.ndim - self.ndim]
        radius = per_item(t.expand(batch), v.real, self.ndim + 1)
        step = 1 / float(D.norm_bound() ** 2)
        p = q = torch.zeros_like(D(v))
        momentum = torch.ones(batch, dtype=torch.float64, device=v.device)
        x, done = v, torch.zeros(batch, dtype=torch.bool, device=v.device)
        for iteration in range(1, self.max_iter + 1):
            p_old, p = p, self._project(q + step * D(v - D.adjoint(q)), radius)
            # restart an item whose last step points against its momentum
            uphill = linalg.inner(q - p, p - p_old, self.ndim + 1) > 0
            following = torch.where(uphill, 1.0, (1 + (1 + 4 * momentum**2).sqrt()) / 2)
            inertia = torch.where(uphill, 0.0, (momentum - 1) / following)
            momentum = following
            q = p + per_item(inertia, p, self.ndim + 1) * (p - p_old)
            if iteration % 10 == 0 or iteration == self.max_iter:
                candidate = v - D.adjoint(p)
                x = torch.where(per_item(done, v, self.ndim).bool(), x, candidate)
                done = done | self._closed(D, v, candidate, p, t)
                if bool(done.all()):
                    break
        return x

    def _differences(self, x: Tensor) -> Gradient:
        shape = x.shape[x.ndim - self.ndim :]
        return Gradient(shape, axes=self.axes, spacing=self.spacing, dtype=x.real.dtype).to(x.device)

    def _project(self, p: Tensor, radius: Tensor) -> Tensor:
        size = self._length(p) if self.isotropic else p.abs()
        return p * (radius / torch.maximum(size, radius)).nan_to_num(0.0)

    def _closed(self, D: Gradient, v: Tensor, x: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """Say per item whether t TV(x) - <D x, p> <= tol (t TV(x) + 1/2 |x - v|^2)."""
        field = D(x)
        tv = t.double() * self._norm(field).sum(item_axes(self.ndim + 1), dtype=torch.float64)
        gap = tv - linalg.inner(field, p, self.ndim + 1)
        return gap <= self.tol * (tv + 0.5 * linalg.inner(x - v, x - v, self.ndim))
