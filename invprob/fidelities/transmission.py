"""Counted photons behind an absorber: the fidelity of transmission tomography at low dose."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from invprob import linalg
from invprob.fidelities.base import Fidelity
from invprob.fidelities.least_squares import L2
from invprob.functional import Functional, Scalar
from invprob.linop import LinearOperator

MAX_STEPS = 200  # of Newton's method with bisection; half a dozen are usual
HALVINGS = 60  # until a turning point of phi' is known to rounding


class TransmissionLikelihood(Functional):
    """phi(d) = sum_k u_k - c_k log u_k - min_u, u = I_0 exp(-d) + b.

    Convex for b = 0; where 0 < b < c, convex only as long as u^2 >= b c, that is d <= log(I_0 / (sqrt(b c) - b)).

    Arguments:
        counts: c >= 0, `(*batch, *item)`.
        blank: I_0 > 0, which broadcasts against the counts.
        background: b >= 0, likewise.
        mask: boolean, True for the readings that count; None for all.
        ndim: how many axes, the last ones, make one item.
    """

    y: Tensor
    blank: Tensor
    background: Tensor
    mask: Tensor | None

    def __init__(self, counts: Tensor, blank: Tensor, background: Tensor, mask: Tensor | None, ndim: int) -> None:
        super().__init__()
        self.register_buffer("y", counts, persistent=False)
        self.register_buffer("blank", blank, persistent=False)
        self.register_buffer("background", background, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        self.ndim = ndim
        self.convex = not bool(((background > 0) & (counts > background)).any())

    def value(self, d: Tensor) -> Tensor:
        """Return phi(d) >= 0 per item, summed in float64; it is 0 for u = max(c, b)."""
        c = self.y.double()
        log_b, dim = self.background.double().log(), c <= self.background
        log_signal = self.blank.double().log() - self._real(d).double()
        signal, log_u = log_signal.exp(), torch.logaddexp(log_signal, log_b)
        t = torch.where(c == 0, 0.0, log_u - torch.where(dim, log_b, c.log()))  # log of u over the best u
        parts = torch.where(c == 0, signal, torch.where(dim, signal - c * t, c * (t.expm1() - t)))
        return self._counted(parts).sum(linalg.item_axes(self.ndim)).clamp(min=0).to(d.dtype)

    def grad(self, d: Tensor) -> Tensor:
        """Return I_0 exp(-d) (c / u - 1)."""
        return self._counted(self._slope(self._real(d)))

    def prox(self, v: Tensor, tau: Scalar) -> Tensor:
        """Return argmin_d tau phi(d) + 1/2 |d - v|^2, the zero of F(d) = tau phi'(d) + d - v, to rounding.

        Newton's method, kept in a bracket by bisection, from the solution for b = 0, which is
        d = v - tau c + w with w + log w = log(tau I_0) - v + tau c (Wright's omega: Corless & Jeffrey 2002). Where
        tau phi'' < -1 somewhere, F has up to three zeros; of the outer two the one of the lower objective is taken.
        """
        v = self._real(v)
        t = linalg.per_item(tau, v, self.ndim).expand_as(v)
        with torch.no_grad():
            root = self._minimiser(v, t)
        steepness = 1 + t * self._curvature(root)
        # a last step, whose derivatives in v and tau are those of the zero
        polished = root - (t * self._slope(root) + root - v) / steepness
        return polished if self.mask is None else torch.where(self.mask, polished, v)

    def lipschitz(self) -> Scalar:
        """Return max_d |phi''(d)| over d >= 0, per item: where line integrals are not negative; none holds on all of R.

        phi''(d) = s (1 - b c / u^2), s = I_0 exp(-d), is at most its value at d = 0, I_0 (1 - b c / (I_0 + b)^2), and 0
        (Erdogan & Fessler 1999, Phys. Med. Biol. 44, 2835), and at least -c / 4, and -0 where b = 0 or c <= b.
        """
        c, b, blank = self.y.double(), self.background.double(), self.blank.double()
        most = blank * (1 - b * c / (blank + b).square())
        most = torch.maximum(most, torch.where((b > 0) & (c > b), c / 4, 0.0))
        return self._counted(most).amax(linalg.item_axes(self.ndim))

    def _counted(self, parts: Tensor) -> Tensor:
        return parts if self.mask is None else torch.where(self.mask, parts, 0.0)

    def _real(self, d: Tensor) -> Tensor:
        if d.is_complex():
            raise TypeError(f"{type(self).__name__} counts events, which are real, and got {d.dtype}: pass real images")
        return d

    def _share(self, d: Tensor) -> Tensor:
        """Return s / u, the share of the signal in what is counted."""
        return torch.sigmoid((self.blank / self.background).log() - d)

    def _slope(self, d: Tensor) -> Tensor:
        """Return phi'(d) = c s / u - s."""
        return self.y * self._share(d) - self.blank * (-d).exp()

    def _curvature(self, d: Tensor) -> Tensor:
        """Return phi''(d) = s - c (s / u) (b / u)."""
        share = self._share(d)
        return self.blank * (-d).exp() - self.y * share * (1 - share)

    def _minimiser(self, v: Tensor, t: Tensor) -> Tensor:
        """Return the prox, before its last step."""
        root = self._zero(v, t, *self._bracket(v, t))
        # phi'' >= -c / 4
        twice = ((self.background > 0) & (self.y > self.background) & (t * self.y > 4)).expand_as(root)
        if bool(twice.any()):  # objectives are compared, which takes all digits there are
            parts = (part.expand_as(root)[twice].double() for part in (self.y, self.blank, self.background, v, t))
            c, blank, b, few_v, few_t = parts
            root[twice] = TransmissionLikelihood(c, blank, b, None, 0)._lower_zero(few_v, few_t).to(root)
        return root

    def _bracket(self, v: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return where F <= 0, where F >= 0, and where to start in between or near."""
        start = v - t * (self.y - self.background).clamp(min=0)
        log_t = (t * self.blank).log()
        start = start + _wright_omega(log_t - start)
        # the least phi lies at `best`, on whose side of v the prox lies; for d < best, phi' >= -s bounds it
        best = (self.blank / (self.y - self.background).clamp(min=0)).log()
        reach = v + torch.where(log_t - v >= 1, log_t - v, (log_t - v).clamp(max=1).exp())
        return torch.minimum(v, best), torch.maximum(v, torch.minimum(best, reach)), start

    def _lower_zero(self, v: Tensor, t: Tensor) -> Tensor:
        """Return the zero of F of the lowest objective, of the two outermost ones."""
        low, high, start = self._bracket(v, t)
        first, last = self._turning_points(t)
        left = self._zero(v, t, low, torch.minimum(high, torch.maximum(low, first)), start)
        right = self._zero(v, t, torch.maximum(low, torch.minimum(high, last)), high, start)
        return torch.where(self._objective(right, v, t) < self._objective(left, v, t), right, left)

    def _objective(self, d: Tensor, v: Tensor, t: Tensor) -> Tensor:
        """Return tau phi(d) + 1/2 (d - v)^2 per reading, up to a constant."""
        log_signal = self.blank.log() - d
        u_part = log_signal.exp() - self.y * torch.logaddexp(log_signal, self.background.log())
        return t * u_part + 0.5 * (d - v).square()

    def _turning_points(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return where F' = 1 + tau phi'' passes zero downwards and upwards as d grows; inf and -inf where it does not.

        As a function of s = I_0 exp(-d), phi'' falls from 0 to its one minimum, where b c (b - s) = (s + b)^3 and
        0 < s < b, and rises from there on, through 0 at s = sqrt(b c) - b.
        """
        c = self.y.double()
        b = self.background.double().expand_as(c)
        zero = torch.zeros_like(b)
        lowest = _bisected(lambda s: b * c * (b - s) - (s + b) ** 3, zero, b)

        def rise(s: Tensor) -> Tensor:
            return 1 + t * (s - linalg.ratio(b * c * s, (s + b).square()))

        bent = (c > b) & (rise(lowest) < 0)
        farther = _bisected(rise, zero, lowest)
        nearer = _bisected(lambda s: -rise(s), lowest, torch.maximum((b * c).sqrt() - b, lowest))
        first, last = ((self.blank.double() / s).log() for s in (nearer, farther))
        return torch.where(bent, first, torch.inf), torch.where(bent, last, -torch.inf)

    def _zero(self, v: Tensor, t: Tensor, low: Tensor, high: Tensor, start: Tensor) -> Tensor:
        """Return the zero of F between `low`, where F <= 0, and `high`, where F >= 0, each reading on its own."""
        d = torch.minimum(torch.maximum(start, low), high)
        running = torch.ones_like(d, dtype=torch.bool)
        for _ in range(MAX_STEPS):
            f = t * self._slope(d) + d - v
            low, high = torch.where(f < 0, d, low), torch.where(f < 0, high, d)
            newton = d - f / (1 + t * self._curvature(d))
            inside = (newton >= low) & (newton <= high)
            step = torch.where(inside, newton, 0.5 * (low + high))
            near = (step - d).abs() <= 4 * torch.finfo(d.dtype).eps * (1 + d.abs())
            d = torch.where(running, step, d)
            running = running & ~near
            if not bool(running.any()):
                break
        return d


def _wright_omega(z: Tensor) -> Tensor:
    """Return nearly the w > 0 with w + log w = z: two steps of Newton's method."""
    w = torch.where(z > 1, z - z.clamp(min=1).log(), torch.sigmoid(z))
    for _ in range(2):
        w = torch.where(w > 0, w * (1 + z - w.log()) / (1 + w), 0.0)
    return w


def _bisected(function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Return where a function that is positive at `low` and negative at `high` is zero."""
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        above = function(middle) > 0
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return low


class TransmissionPoisson(Fidelity):
    """f(x) = sum_k u_k - c_k log u_k + const, u = I_0 exp(-A x) + b: Poisson counts c of mean u (Lange & Carson 1984).

    The constant makes f >= 0. For b = 0 it is convex; for b > 0 it is not, and the prox of phi is that of the global
    minimum. The gradient has a Lipschitz constant where A x >= 0, and none else: give `ProximalGradient` a
    `NonNegative` prior and A >= 0, or use `PrimalDual`.

    Arguments:
        A: the linear operator, real; A x has no unit.
        counts: c >= 0, `(*batch, *A.range_shape)`.
        blank: I_0 > 0, the counts without an object, a number or a tensor that broadcasts against the counts.
        background: b >= 0, counts that no absorber stops, likewise; by default 0.
        mask: boolean, True for the readings that count; the others may hold anything. None (the default) for all.

    ValueError for counts, blank or background that cannot be, TypeError for a complex operator or complex counts.
    """

    phi: TransmissionLikelihood

    def __init__(
        self,
        A: LinearOperator,
        counts: Tensor,
        blank: float | Tensor,
        background: float | Tensor = 0.0,
        mask: Tensor | None = None,
    ) -> None:
        if A.is_complex or counts.is_complex():
            raise TypeError(f"TransmissionPoisson counts events, which are real: {type(A).__name__} or counts are not")
        c = A.as_data(counts)
        parts = {"blank": torch.as_tensor(blank).to(c), "background": torch.as_tensor(background).to(c)}
        if mask is not None:
            if mask.dtype != torch.bool:
                raise ValueError(f"TransmissionPoisson: mask must be boolean, True for what counts, got {mask.dtype}")
            mask = mask.to(c.device)
        for what, t in {**parts, "mask": mask}.items():
            if t is not None and not _fits(t, c):
                raise ValueError(f"TransmissionPoisson: {what} of shape {tuple(t.shape)} does not fit {tuple(c.shape)}")
        if mask is not None:  # a sound reading in place of one that does not count
            c = torch.where(mask, c, 1.0)
            parts = {what: torch.where(mask, t, float(what == "blank")) for what, t in parts.items()}
        _check("counts", (c >= 0) & c.isfinite(), "finite and not negative")
        _check("blank", (parts["blank"] > 0) & parts["blank"].isfinite(), "finite and positive")
        _check("background", (parts["background"] >= 0) & parts["background"].isfinite(), "finite and not negative")
        super().__init__(A, TransmissionLikelihood(c, parts["blank"], parts["background"], mask, len(A.range_shape)))

    def weighted_least_squares(self) -> L2:
        """Return 1/2 |A x - y|^2_W, y = log(I_0 / (c - b)), w = (c - b)^2 / c, its quadratic approximation.

        Sauer & Bouman 1993, IEEE Trans. Signal Process. 41, 534. Readings with c <= b, behind a beam stop or where no
        photon came through, have weight 0; so has what the mask leaves out.
        """
        phi = self.phi
        return L2(self.A, *logarithms(phi.y, phi.blank, phi.background, phi.mask))


def logarithms(counts: Tensor, blank: Tensor, background: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return log(I_0 / (c - b)) and (c - b)^2 / c, both 0 where c <= b or the mask is False (Sauer & Bouman 1993)."""
    signal = counts - background
    seen = (signal > 0) if mask is None else (signal > 0) & mask
    y = torch.where(seen, (blank / torch.where(seen, signal, 1.0)).log(), 0.0)
    return y, torch.where(seen, signal.square() / torch.where(seen, counts, 1.0), 0.0)


def _fits(t: Tensor, counts: Tensor) -> bool:
    return t.ndim <= counts.ndim and all(n in (1, m) for n, m in zip(t.shape[::-1], counts.shape[::-1], strict=False))


def _check(what: str, good: Tensor, wanted: str) -> None:
    if not bool(good.all()):
        raise ValueError(
            f"TransmissionPoisson: {what} must be {wanted}, and {int((~good).sum())} of {good.numel()} are not: "
            "leave dead pixels out with a mask that is False there"
        )
