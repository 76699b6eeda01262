"""Runs on disk: one file each, written whole or not at all, so that an interruption loses none."""

from __future__ import annotations

import io
import json
import math
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from invprob.benchmark.measurement import Run
from invprob.io.atomic import write_whole

__all__ = ["Store", "plain"]

_ARRAYS = ("image", "spread", "sample")  # of a run; all else is kept as JSON


class Store:
    """A folder of runs by their keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> Run | None:
        """Return a run, None if it is not there or cannot be read."""
        try:
            content = io.BytesIO(self._path(key).read_bytes())
            with np.load(content, allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                arrays = {name: file.get(name) for name in _ARRAYS}
            facts["columns"] = {name: _numbers(column, math.nan) for name, column in facts["columns"].items()}
            facts["strengths"] = _numbers(facts["strengths"], math.nan)
            facts["tried"] = [(pair[0], _numbers(pair[1:], -math.inf)[0]) for pair in facts["tried"]]
            return Run(**facts, **arrays)
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error):
            return None

    def put(self, key: str, run: Run) -> None:
        """Keep a run; ResourceError if the disk is full."""
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = asdict(run)
        arrays = {name: facts.pop(name) for name in _ARRAYS}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        arrays["facts"] = np.array(json.dumps(plain(facts)))

        def write(partial: Path) -> None:
            with partial.open("wb") as stream:
                np.savez_compressed(stream, **arrays)

        write_whole(self._path(key), write, overwrite=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"


def _numbers(column: list[float | None], missing: float) -> list[float]:
    """Return a column with the number that JSON had no word for."""
    return [missing if value is None else value for value in column]


def plain(value: Any) -> Any:
    """Return a value for JSON, which has no word for what is not finite: that becomes None."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
