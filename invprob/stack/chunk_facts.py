"""What is known of one chunk of a stack besides its images, in a form that a journal can hold."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from invprob.certificate import Certificate
from invprob.io.attributes import plain
from invprob.metrics import quality
from invprob.result import Result
from invprob.status import worst

if TYPE_CHECKING:
    from invprob.scan import Scan

__all__ = ["ChunkFacts"]


@dataclass(frozen=True, eq=False)
class ChunkFacts:
    """The story of a chunk: that of its result, where its data come from, and how near it is to a truth if any.

    Arguments:
        settings, certificate, provenance, quality: with lists in place of tensors.
        n_iter, history, seconds, item_status: those of `Result`.
    """

    settings: dict[str, Any]
    certificate: dict[str, Any] | None
    n_iter: Tensor
    history: dict[str, Tensor]
    seconds: float
    item_status: list[str]
    provenance: dict[str, str]
    quality: dict[str, list[float]]

    @classmethod
    def of(cls, scan: Scan, result: Result) -> Self:
        """Return the facts of a result, rounded by nothing: going on with them is as if they had never been stored."""
        near = {}
        if scan.truth is not None:
            found = quality(result.x, scan.truth, ndim=result.ndim, space=result.space)
            near = {name: values.flatten().tolist() for name, values in found.items()}
        facts = cls(
            settings=dict(result.settings),
            certificate=None if result.certificate is None else dict(result.certificate.as_dict()),
            n_iter=result.n_iter.cpu(),
            history={name: column.cpu() for name, column in result.history.items()},
            seconds=result.seconds,
            item_status=list(result.item_status),
            provenance=scan.origin,
            quality=near,
        )
        return cls.from_json(json.loads(json.dumps(facts.as_json(), default=plain)))

    def as_json(self) -> dict[str, Any]:
        """Return the facts with texts in place of tensors."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        history = {name: _packed(column) for name, column in self.history.items()}
        return values | {"n_iter": _packed(self.n_iter), "history": history}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the facts that `as_json` told of."""
        history = {name: _unpacked(column) for name, column in values["history"].items()}
        return cls(**{**values, "n_iter": _unpacked(values["n_iter"]), "history": history})

    def result(self, x: Tensor, scan: Scan) -> Result:
        """Return the result with its images, as it was."""
        certificate = None if self.certificate is None else Certificate.from_dict(self.certificate)
        status = worst(self.item_status)
        ends, settings = tuple(self.item_status), self.settings
        found = Result(x, status, ends, self.n_iter, self.seconds, self.history, certificate, settings=settings)
        return found.of_scan(scan)


def _packed(column: Tensor) -> list[Any]:
    array = column.numpy()
    return [array.dtype.str, list(array.shape), base64.b85encode(array.tobytes()).decode()]


def _unpacked(packed: list[Any]) -> Tensor:
    kind, shape, text = packed
    return torch.from_numpy(np.frombuffer(base64.b85decode(text), dtype=kind).reshape(shape).copy())
