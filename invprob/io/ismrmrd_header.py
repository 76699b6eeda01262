"""The XML header of ISMRM Raw Data (Inati et al., Magn. Reson. Med. 77, 2017), which fastMRI files hold, too."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass

from invprob.errors import InputError, printable

__all__ = ["MAX_HEADER", "Encoding", "Header", "Limit", "parse_header"]

MAX_HEADER = 2**20  # bytes
_NAMESPACE = "{http://www.ismrm.org/ISMRMRD}"


@dataclass(frozen=True)
class Limit:
    """The first and last index along a counter of acquisitions, and that of k = 0."""

    minimum: int = 0
    maximum: int = 0
    centre: int = 0


@dataclass(frozen=True)
class Encoding:
    """How k-space was sampled: sizes (x, y, z) of k-space and of the image, index limits by counter.

    `view` is the field of view of k-space in mm, where it is told; `share` the part of it along x that the image has:
    below 1 where the read-out is oversampled.
    """

    encoded: tuple[int, int, int]
    recon: tuple[int, int, int]
    view: tuple[float, float, float] | None
    share: float
    trajectory: str
    limits: Mapping[str, Limit]


@dataclass(frozen=True)
class Header:
    """What is read of a header: encodings, the vendor, and the receiver's relative bandwidth for noise."""

    encodings: tuple[Encoding, ...]
    vendor: str
    noise_bandwidth: float | None


def parse_header(raw: bytes | str, where: str) -> Header:
    """Return what a header says; InputError for anything but a small, plain document of this kind.

    Document types are refused: they define entities, which can grow without end or name files.
    """
    text = _text(raw, where)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{where}: the XML header defines a document type, which is refused: take it out")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: the XML header is damaged ({printable(error, 120)}): copy the file again"
        ) from error
    if root.tag != f"{_NAMESPACE}ismrmrdHeader":
        raise InputError(
            f"{where}: the XML header begins with {printable(root.tag, 80)}, expected {_NAMESPACE}ismrmrdHeader"
        )
    encodings = tuple(_encoding(element, where) for element in _all(root, "encoding"))
    if not encodings:
        raise InputError(f"{where}: the XML header has no encoding: check how the file was written")
    system = _first(root, "acquisitionSystemInformation")
    vendor = "" if system is None else _word(system, "systemVendor")
    bandwidth = "" if system is None else _word(system, "relativeReceiverNoiseBandwidth")
    return Header(encodings, printable(vendor, 80), _positive(bandwidth, where) if bandwidth else None)


def _text(raw: bytes | str, where: str) -> str:
    data = raw.encode() if isinstance(raw, str) else raw
    if not data.strip(b"\0 \t\r\n"):
        raise InputError(f"{where}: the XML header is empty: check how the file was written")
    if len(data) > MAX_HEADER:
        raise InputError(f"{where}: the XML header has over {MAX_HEADER} bytes: check how the file was written")
    try:
        return data.rstrip(b"\0").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: the XML header is no UTF-8 text: check how the file was written") from error


def _encoding(element: ElementTree.Element, where: str) -> Encoding:
    limits = _first(element, "encodingLimits")
    found = {} if limits is None else {_plain(e.tag): _limit(e, where) for e in limits}
    view, of_image = (_field_of_view(element, space, where) for space in ("encodedSpace", "reconSpace"))
    return Encoding(
        _matrix(element, "encodedSpace", where),
        _matrix(element, "reconSpace", where),
        view,
        1.0 if view is None or of_image is None else min(1.0, of_image[0] / view[0]),
        _word(element, "trajectory").lower(),
        found,
    )


def _limit(element: ElementTree.Element, where: str) -> Limit:
    numbers = [_whole(_word(element, name) or "0", where) for name in ("minimum", "maximum", "center")]
    return Limit(*numbers)


def _matrix(element: ElementTree.Element, name: str, where: str) -> tuple[int, int, int]:
    space = _first(element, name)
    matrix = None if space is None else _first(space, "matrixSize")
    if matrix is None:
        raise InputError(f"{where}: the XML header has no {name}/matrixSize: check how the file was written")
    sizes = [_whole(_word(matrix, axis), where) for axis in ("x", "y", "z")]
    if not all(0 < n < 2**16 for n in sizes):
        raise InputError(f"{where}: the XML header has the {name} {sizes}, which must be positive sizes")
    return sizes[0], sizes[1], sizes[2]


def _field_of_view(element: ElementTree.Element, name: str, where: str) -> tuple[float, float, float] | None:
    """Return the sizes (x, y, z) of a field of view in mm, NaN for those not told but x; None where there is none."""
    space = _first(element, name)
    view = None if space is None else _first(space, "fieldOfView_mm")
    if view is None:
        return None
    y, z = (_positive(word, where) if word.strip("0.") else math.nan for word in (_word(view, "y"), _word(view, "z")))
    return _positive(_word(view, "x"), where), y, z


def _whole(text: str, where: str) -> int:
    try:
        value = int(text[:32])
    except ValueError:
        raise InputError(f"{where}: the XML header has {printable(text, 80)!r} for a whole number") from None
    if not abs(value) < 2**31:
        raise InputError(f"{where}: the XML header has {value} for an index")
    return value


def _positive(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise InputError(f"{where}: the XML header has {printable(text, 80)!r} for a positive number")
    return value


def _plain(tag: str) -> str:
    return tag.removeprefix(_NAMESPACE)


def _all(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return element.findall(f"{_NAMESPACE}{name}")


def _first(element: ElementTree.Element, name: str) -> ElementTree.Element | None:
    return element.find(f"{_NAMESPACE}{name}")


def _word(element: ElementTree.Element, name: str) -> str:
    found = _first(element, name)
    return "" if found is None or found.text is None else found.text.strip()
