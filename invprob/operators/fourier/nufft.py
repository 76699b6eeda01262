"""The non-uniform Fourier transform by FINUFFT (Barnett, Magland & af Klinteberg 2019), the same bits every time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import finufft
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invprob.linop.module import COMPLEX_OF
from invprob.threads import share

EPS = {torch.float32: 1e-5, torch.float64: 1e-13}  # accuracy of single precision ends near 1e-5
FINEST = {torch.float32: 2e-7, torch.float64: 2e-15}  # below which a plan is refused


class Transforms:
    """y_j = sum_n x[n] exp(-i omega_j . (n - floor(N / 2))) and its adjoint, for one frame after another.

    Every transform runs on one thread with a plan that belongs to it, so that neither the number of threads nor the
    neighbours change a bit; images are dealt out to the threads.

    Arguments:
        omega: positions in [-pi, pi), `(frames, samples, d)`, float64.
        sizes: N.
        eps: the accuracy, relative to the largest value.
        dtype: the precision, torch.float32 or torch.float64.
    """

    def __init__(self, omega: Tensor, sizes: Sequence[int], eps: float, dtype: torch.dtype) -> None:
        self.omega, self.sizes, self.dtype = omega, tuple(sizes), dtype
        self.eps = max(eps, FINEST[dtype])
        self._plans: dict[tuple[int, int], Any] = {}
        self._lock = threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        """Return the samples, (..., frames, coils, samples), of images (..., frames, coils, *N)."""
        return self._run(x, adjoint=False)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the images of samples."""
        return self._run(y, adjoint=True)

    def _run(self, t: Tensor, *, adjoint: bool) -> Tensor:
        frames, samples = self.omega.shape[:2]
        item = (samples,) if adjoint else self.sizes
        due = self.sizes if adjoint else (samples,)
        lead = t.shape[: t.ndim - len(item)]
        coils = lead[-1]
        source = _array(t.reshape(-1, frames, coils, *item), self.dtype)
        found = np.empty((*source.shape[:3], *due), dtype=source.dtype)
        with self._lock:
            self._deal(source, found, adjoint)
        return torch.from_numpy(found).to(t.device).reshape(*lead, *due)

    def _deal(self, source: NDArray[Any], found: NDArray[Any], adjoint: bool) -> None:
        batch, frames, coils = source.shape[:3]
        threads = max(1, torch.get_num_threads())
        if frames > 1:  # a plan for each frame

            def of_frames(first: int, last: int) -> None:
                for frame in range(first, last):
                    for item in range(batch * coils):
                        place = (item // coils, frame, item % coils)
                        self._transform(frame, 0, source[place], found[place], adjoint)

            share(of_frames, frames, 1, threads)
            return
        count = batch * coils
        hands = min(threads, count)

        def of_hand(first: int, last: int) -> None:
            for hand in range(first, last):
                for item in range(hand, count, hands):
                    place = (item // coils, 0, item % coils)
                    self._transform(0, hand, source[place], found[place], adjoint)

        share(of_hand, hands, 1, threads)

    def _transform(self, frame: int, hand: int, source: NDArray[Any], found: NDArray[Any], adjoint: bool) -> None:
        plan = self._plans.get((frame, hand))
        if plan is None:
            plan = self._plans[frame, hand] = self._plan(frame)
        if adjoint:
            plan.execute_adjoint(source, out=found)
        else:
            plan.execute(source, out=found)

    def _plan(self, frame: int) -> Any:
        kind = str(COMPLEX_OF[self.dtype]).removeprefix("torch.")
        plan = finufft.Plan(2, self.sizes, 1, self.eps, -1, kind, nthreads=1, upsampfac=2.0, modeord=0, showwarn=0)
        real = np.float32 if self.dtype == torch.float32 else np.float64
        points = self.omega[frame].detach().numpy()
        plan.setpts(*(np.ascontiguousarray(points[:, axis], dtype=real) for axis in range(points.shape[1])))
        return plan

    def __deepcopy__(self, memo: dict[int, Any]) -> Transforms:
        del memo
        return Transforms(self.omega, self.sizes, self.eps, self.dtype)

    def __reduce__(self) -> tuple[type[Transforms], tuple[Any, ...]]:
        return Transforms, (self.omega, self.sizes, self.eps, self.dtype)


def _array(t: Tensor, dtype: torch.dtype) -> NDArray[Any]:
    array: NDArray[Any] = t.detach().resolve_conj().resolve_neg().cpu().to(COMPLEX_OF[dtype]).contiguous().numpy()
    return array
