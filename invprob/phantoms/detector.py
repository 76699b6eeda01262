"""What a detector reads of a phantom: not a line through the middle of a bin, but the mean over the bin."""

from __future__ import annotations

import torch
from torch import Tensor

from invprob.linop.doors import takes_arrays
from invprob.operators.ct.cone_beam import ConeBeam
from invprob.operators.ct.parallel_beam import ParallelBeam
from invprob.operators.ct.planar import PlanarCT
from invprob.phantoms.ellipses import Ellipses

__all__ = ["detected"]

SUB_RAYS, SUB_RAYS_3D = 9, 3  # along a bin of a line detector, and along each side of a flat one's


@takes_arrays
def detected(scene: Ellipses | Tensor, A: PlanarCT | ConeBeam, *, counted: bool = False, thin: bool = False) -> Tensor:
    """Return the clean line integrals that the detector of A reads, `(*batch, *A.range_shape)`, in the precision of A.

    A reading is the mean of the line integrals over its bin: exact for ellipses under parallel beams, of 9 rays per bin
    else (3 x 3 for a flat detector).

    Arguments:
        scene: ellipses in A's length unit, or an image `(*batch, *shape)` on a grid that is a whole number of times
            finer than A's.
        A: the operator, whose geometry alone is used for ellipses.
        counted: take -log of the mean intensity exp(-integral) instead, as photons are what is averaged where they are
            counted.
        thin: read single lines through the middle of each bin, as no detector does.

    ValueError for an image whose grid does not fit, and for ellipses under a cone beam.
    """
    finer = 1 if isinstance(scene, Ellipses) else _how_much_finer(scene, A)
    if thin:
        return _lines(scene, A.finer(image=finer)).to(A.dtype)
    if isinstance(scene, Ellipses) and isinstance(A, ParallelBeam) and not counted:
        half = A.detector_size / 2
        edges = torch.cat([torch.from_numpy(A.bins - half), torch.tensor([A.bins[-1] + half])])
        return scene.strip_means(torch.from_numpy(A.angles), edges).to(A.dtype)
    flat = isinstance(A, ConeBeam)
    parts = SUB_RAYS_3D if flat else SUB_RAYS
    lines = _lines(scene, A.finer(image=finer, bins=parts))
    split = [n for bins in A.range_shape[1:] for n in (bins, parts)]
    groups = lines.reshape(*lines.shape[: -len(A.range_shape) + 1], *split)
    axes = (-3, -1) if flat else (-1,)
    if counted:
        return -torch.exp(-groups.double()).mean(axes).log().to(A.dtype)
    return groups.mean(axes).to(A.dtype)


def _how_much_finer(scene: Tensor, A: PlanarCT | ConeBeam) -> int:
    d = len(A.domain_shape)
    finer = scene.shape[-1] // A.domain_shape[-1] if scene.ndim >= d else 0
    if not finer or tuple(scene.shape[scene.ndim - d :]) != tuple(finer * n for n in A.domain_shape):
        raise ValueError(
            f"detected: a scene of shape {tuple(scene.shape)} is on no grid finer than that of images {A.domain_shape}"
        )
    return finer


def _lines(scene: Ellipses | Tensor, A: PlanarCT | ConeBeam) -> Tensor:
    """Return the integrals along the rays of A."""
    if not isinstance(scene, Ellipses):
        return A(scene.to(A.dtype))
    if isinstance(A, ConeBeam):
        raise ValueError("detected: ellipses lie in the plane, and a cone beam sees volumes: give an image")
    return scene.line_integrals(*A.rays())
