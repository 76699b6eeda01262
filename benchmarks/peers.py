"""The projectors of other packages in the plane, each as a pair of functions on one image; none is required."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from invprob.operators import FanBeam, ParallelBeam

Array = NDArray[Any]
Geometry = ParallelBeam | FanBeam


class NotInstalledError(Exception):
    """A peer that is not in this environment."""


@dataclass(frozen=True)
class Pair:
    """A projector and its (nearly) transpose on float32 arrays (H, W) and (angles, bins).

    `off_centre` says that it turns the image about pixel (H // 2, W // 2), half a pixel off the middle.
    """

    name: str
    forward: Callable[[Array], Array]
    adjoint: Callable[[Array], Array]
    off_centre: bool = False


@cache
def load(name: str) -> ModuleType:
    """Return a package; NotInstalledError if it is missing or does not import."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except Exception as error:  # a broken installation is as good as none
        raise NotInstalledError(f"not installed ({type(error).__name__}: {str(error).splitlines()[0][:80]})") from error


@cache
def load_deepinv() -> ModuleType:
    """Return deepinv, whose import needs help where torchvision does not match torch."""
    with suppress(ImportError):
        importlib.import_module("peers_torchvision")
    return load("deepinv")


def pairs(A: Geometry) -> Iterator[tuple[str, Callable[[], Pair]]]:
    """Yield the names of the peers that know the geometry, with what makes their pair."""
    if isinstance(A, ParallelBeam):
        yield "ASTRA linear", lambda: astra_pair(A, "linear")
        yield "ASTRA line", lambda: astra_pair(A, "line")
        yield "scikit-image", lambda: skimage_pair(A)
        yield "deepinv", lambda: deepinv_pair(A)
        yield "ODL astra_cpu", lambda: odl_pair(A)
        yield "SCICO astra", lambda: scico_pair(A)
        yield "pylops CT2D", lambda: pylops_pair(A)
    else:
        yield "ASTRA line", lambda: astra_pair(A, "line_fanflat")
        yield "ODL astra_cpu", lambda: odl_pair(A)
    yield "LEAP", lambda: leap_pair(A)


def astra_geometry(A: Geometry) -> tuple[Any, Any]:
    """Return ASTRA's descriptions of the image and of the rays."""
    astra = load("astra")
    (height, width), pixel = A.domain_shape, A.pixel_size
    corners = (-width / 2 * pixel, width / 2 * pixel, -height / 2 * pixel, height / 2 * pixel)
    volume = astra.create_vol_geom(height, width, *corners)
    if isinstance(A, FanBeam):
        rest = (A.source_distance, A.detector_distance)
        return volume, astra.create_proj_geom("fanflat", A.detector_size, A.detectors, A.angles, *rest)
    return volume, astra.create_proj_geom("parallel", A.detector_size, A.detectors, A.angles)


def astra_matrix(A: Geometry, kind: str) -> Any:
    """Return ASTRA's projector as a sparse matrix of scipy."""
    astra, (volume, detector) = load("astra"), astra_geometry(A)
    projector = astra.create_projector(kind, detector, volume)
    return astra.matrix.get(astra.projector.matrix(projector))


def astra_pair(A: Geometry, kind: str) -> Pair:
    """Return ASTRA's projector on arrays that it shares with us: no copies are timed."""
    astra, (volume, detector) = load("astra"), astra_geometry(A)
    image, sinogram = np.zeros(A.domain_shape, np.float32), np.zeros(A.range_shape, np.float32)
    projector = astra.create_projector(kind, detector, volume)
    x, y = astra.data2d.link("-vol", volume, image), astra.data2d.link("-sino", detector, sinogram)
    forward = astra.astra_dict("FP") | {"ProjectorId": projector, "ProjectionDataId": y, "VolumeDataId": x}
    backward = astra.astra_dict("BP") | {"ProjectorId": projector, "ProjectionDataId": y, "ReconstructionDataId": x}
    runs = [astra.algorithm.create(config) for config in (forward, backward)]

    def project(array: Array) -> Array:
        image[:] = array
        astra.algorithm.run(runs[0])
        return sinogram

    def backproject(array: Array) -> Array:
        sinogram[:] = array
        astra.algorithm.run(runs[1])
        return image

    return Pair(f"ASTRA {kind}", project, backproject)


def skimage_pair(A: ParallelBeam) -> Pair:
    """Return scikit-image's radon and unfiltered iradon."""
    transform, degrees = load("skimage.transform"), np.rad2deg(A.angles)
    size = max(A.domain_shape)

    def project(array: Array) -> Array:
        return np.asarray(transform.radon(array, degrees, circle=False)).T

    def backproject(array: Array) -> Array:
        # iradon averages over the views: pi / (2 angles) of their sum
        whole = transform.iradon(array.T, degrees, output_size=size, filter_name=None, circle=False)
        return np.asarray(whole) * (2 * len(degrees) / np.pi)

    return Pair("scikit-image", project, backproject, off_centre=True)


def deepinv_physics(A: ParallelBeam) -> Any:
    """Return deepinv's tomography with the transpose of its own projector, not in parallel: its fastest exact pair."""
    deepinv = load_deepinv()
    degrees = torch.from_numpy(np.rad2deg(A.angles)).float()
    options = {"parallel_computation": False, "normalize": False}
    return deepinv.physics.Tomography(degrees, A.domain_shape[0], circle=False, device="cpu", **options)


def deepinv_pair(A: ParallelBeam) -> Pair:
    """Return deepinv's pair on arrays; its sinograms are (bins, angles)."""
    physics = deepinv_physics(A)

    def project(array: Array) -> Array:
        with torch.no_grad():
            return np.asarray(physics.A(torch.as_tensor(array)[None, None])[0, 0].T)

    def backproject(array: Array) -> Array:
        with torch.no_grad():
            return np.asarray(physics.A_adjoint(torch.as_tensor(array).T[None, None].contiguous())[0, 0])

    return Pair("deepinv", project, backproject, off_centre=True)


def odl_ray_transform(A: Geometry, *, mirrored: bool = False) -> Any:
    """Return ODL's ray transform, computed by ASTRA, of images [x, y] with y upwards.

    `mirrored` has y downwards and the views in reverse: then ODL's images are ours, transposed (parallel beams only).
    """
    odl = load("odl")
    tomography, (height, width) = odl.applications.tomo, A.domain_shape
    space = odl.uniform_discr([-width / 2, -height / 2], [width / 2, height / 2], (width, height), dtype="float32")
    step = A.angles[1] - A.angles[0]  # cells around the angles, whose middles are the angles
    first, last = (-A.angles[-1], -A.angles[0]) if mirrored else (A.angles[0], A.angles[-1])
    angles = odl.uniform_partition(first - step / 2, last + step / 2, len(A.angles))
    half = A.detectors * A.detector_size / 2
    detector = odl.uniform_partition(-half, half, A.detectors)
    if isinstance(A, FanBeam):
        distances = {"src_radius": A.source_distance, "det_radius": A.detector_distance}
        geometry = tomography.FanBeamGeometry(angles, detector, **distances)
    else:
        geometry = tomography.Parallel2dGeometry(angles, detector)
    return tomography.RayTransform(space, geometry, impl="astra_cpu")


def odl_pair(A: Geometry) -> Pair:
    """Return ODL's pair, the copies that turn its images included."""
    transform = odl_ray_transform(A)
    adjoint = transform.adjoint

    def project(array: Array) -> Array:
        return np.asarray(transform(np.ascontiguousarray(array[::-1].T)).data)

    def backproject(array: Array) -> Array:
        return np.asarray(adjoint(array).data).T[::-1]

    return Pair("ODL astra_cpu", project, backproject)


def scico_pair(A: ParallelBeam) -> Pair:
    """Return SCICO's ASTRA projector (kernel: line) between arrays of jax."""
    jax, transform = load("jax"), scico_transform(A)

    def project(array: Array) -> Array:
        return np.asarray(transform(jax.numpy.asarray(array)))

    def backproject(array: Array) -> Array:
        return np.asarray(transform.adj(jax.numpy.asarray(array)))

    return Pair("SCICO astra", project, backproject)


def scico_transform(A: ParallelBeam) -> Any:
    """Return SCICO's operator."""
    xray = load("scico.linop.xray.astra")
    return xray.XRayTransform2D(A.domain_shape, A.detectors, A.detector_size, A.angles, device="cpu")


def pylops_operator(A: ParallelBeam, kind: str) -> Any:
    """Return pylops' operator around ASTRA."""
    medical = load("pylops.medical")
    return medical.CT2D(A.domain_shape, A.detector_size, A.detectors, A.angles, engine="cpu", projector_type=kind)


def pylops_pair(A: ParallelBeam) -> Pair:
    """Return pylops' pair with its default kernel, strips."""
    operator = pylops_operator(A, "strip")

    def project(array: Array) -> Array:
        return np.asarray(operator.matvec(array.ravel())).reshape(A.range_shape)

    def backproject(array: Array) -> Array:
        return np.asarray(operator.rmatvec(array.ravel())).reshape(A.domain_shape)

    return Pair("pylops CT2D", project, backproject)


def leap_model() -> Any:
    """Return LEAP's model."""
    return load("leapctype").tomographicModels()


def leap_pair(A: Geometry) -> Pair:
    """Return LEAP's pair on the CPU, for a volume of one slice."""
    model, (height, width) = leap_model(), A.domain_shape
    model.set_gpu(-1)
    middle, degrees = (A.detectors - 1) / 2, np.rad2deg(A.angles).astype(np.float32)
    views = (len(A.angles), 1, A.detectors, A.detector_size, A.detector_size, 0.0, middle, degrees)
    if isinstance(A, FanBeam):
        model.set_fanbeam(*views, A.source_distance, A.source_distance + A.detector_distance)
    else:
        model.set_parallelbeam(*views)
    model.set_volume(width, height, 1, A.pixel_size, A.pixel_size)
    image, sinogram = np.zeros((1, height, width), np.float32), np.zeros((len(A.angles), 1, A.detectors), np.float32)

    def project(array: Array) -> Array:
        image[0] = array
        model.project(sinogram, image)
        return sinogram[:, 0]

    def backproject(array: Array) -> Array:
        sinogram[:, 0] = array
        model.backproject(sinogram, image)
        return np.asarray(image[0])

    return Pair("LEAP", project, backproject)
