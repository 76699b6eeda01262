"""What the project's file of a result says besides its images: names, versions, attributes and maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import h5py

from invprob.io.attributes import write_array, write_attributes, write_json

if TYPE_CHECKING:
    from invprob.result import ParameterMap

__all__ = ["FORMAT", "IMAGES", "LIBVER", "VERSION", "annotate", "write_maps"]

FORMAT, VERSION = "invprob-result", 3
JSON_NAMES = ("settings", "versions", "provenance", "certificate", "item_status")
IMAGES = ("image", "spread", "half_change", "samples")
# From version 1.10 on a file open when its program was killed is refused until `h5clear` is run on it.
LIBVER = ("v108", "v108")


def annotate(file: h5py.File, attributes: Mapping[str, Any]) -> None:
    """Write attributes of a result: texts, numbers, and JSON for the names the format keeps as JSON."""
    for key, value in attributes.items():
        if key in JSON_NAMES:
            write_json(file, key, value)
        else:
            write_attributes(file, {key: value})


def write_maps(file: h5py.File, maps: Mapping[str, ParameterMap]) -> None:
    """Write maps with their units into `maps/NAME`."""
    for name, found in maps.items():
        write_array(file, f"maps/{name}", found.values)
        write_attributes(file[f"maps/{name}"], {"unit": found.unit, "of_image": found.of_image})
