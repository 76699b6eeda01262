"""Rows 4 to 12: files that lead elsewhere, or declare what they do not hold."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from faults.program import Found, Trial, judged, made, run
from faults.scans import challenge, exchange, layouts, stack

__all__ = ["campaign", "planned"]

_SLOW = 10.0  # seconds of the processor


def campaign(folder: Path, trials: int, seed: int) -> Iterator[Found]:
    """Yield every attack once; `trials` and `seed` change nothing."""
    return made(planned(folder, trials, seed))


def planned(folder: Path, trials: int, seed: int) -> Iterator[Trial]:
    """Yield every attack as a trial that is still to be made."""
    del trials, seed
    for name in (*_OWN, *_EXCHANGE):
        yield partial(_attacked, folder, name)
    for key in ("certificate", "settings", "item_status", "versions", "provenance"):
        for value in ("[1]", "3", '"x"', '{"a": {"b": []}}', '{"doubts": 3}', '{"notes": 1, "assumptions": "a"}'):
            yield partial(_odd_result, folder, key, value)
    for title, depth in (("MATLAB 5.0", 100), ("MATLAB 5.0", 30_000), ("MATLAB 5.0 invprob-scan", 30_000)):
        yield partial(_deep, folder, title, depth)
    yield partial(_sound, folder)


def _attacked(folder: Path, name: str) -> Found:
    own = name in _OWN
    path = (stack if own else exchange)(folder / "a.h5")
    with h5py.File(path, "r+") as file:
        (_OWN if own else _EXCHANGE)[name](file)
    return judged(name, run(["check", "a.h5"], folder), [3], slow=_SLOW)


def _odd_result(folder: Path, key: str, value: str) -> Found:
    path = layouts(folder)["own result"]
    _odd(path, key, value)
    return judged(f"result {key} {value}", run(["inspect", path.name], folder))


def _deep(folder: Path, title: str, depth: int) -> Found:
    """Try a file that nests, one of them by a title that calls itself the project's own."""
    (folder / "deep.mat").write_bytes(_nested(depth, title))
    return judged(f"{title}, {depth} deep", run(["check", "deep.mat"], folder), [3])


def _sound(folder: Path) -> Found:
    challenge(folder / "good.mat")
    return judged("matlab as it is", run(["check", "good.mat"], folder), [0])


def _nested(depth: int, title: str) -> bytes:
    """Return a MATLAB 5 file of cells in cells (MAT-file format, MathWorks, 2024: a tag, flags, dimensions, a name)."""
    head = title.encode().ljust(124) + struct.pack("<HH", 0x0100, 0x4D49)
    name = struct.pack("<II", 1, 10) + b"CtDataFull".ljust(16, b"\0")
    around = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1)
    nameless = struct.pack("<II", 1, 0)
    innermost = (
        struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, 0, 0) + nameless + struct.pack("<II", 9, 0)
    )
    parts, size = [struct.pack("<II", 14, len(innermost)) + innermost], len(innermost) + 8
    for level in range(depth):
        body = around + (name if level == depth - 1 else nameless)
        parts.append(struct.pack("<II", 14, len(body) + size) + body)
        size += len(body) + 8
    return head + b"".join(reversed(parts))


def _replaced(name: str, **options: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file.pop(name, None)
        file.create_dataset(name, **options)

    return change


def _linked(name: str, link: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file.pop(name, None)
        file[name] = link

    return change


def _external(name: str, shape: tuple[int, ...]) -> Callable[[h5py.File], None]:
    return _replaced(name, shape=shape, dtype="u1", external=[("/etc/hostname", 0, 4)])


def _odd(path: Path, key: str, value: str) -> None:
    from invprob.io.sealing import reader, seal, unseal

    json.loads(value)
    with h5py.File(path, "r+") as file:
        file.attrs[key] = value
        unseal(file)
    with h5py.File(path, "r+") as file, path.open("rb") as stream:
        seal(file, reader(stream.fileno()))


_BIG = {"shape": (8, 16, 2**22), "dtype": "f4", "chunks": (1, 1, 2**20)}
_OWN: dict[str, Callable[[h5py.File], None]] = {
    "own: truth of 2 GiB": _replaced("truth", **_BIG),
    "own: data of 2 GiB": _replaced("data", **_BIG),
    "own: noise in another file": _external("noise", (4,)),
    "own: truth in another file": _external("truth", (4,)),
    "own: external link": _linked("truth", h5py.ExternalLink("/etc/hostname", "x")),
    "own: soft link in a circle": _linked("truth", h5py.SoftLink("/truth")),
}
_EXCHANGE: dict[str, Callable[[h5py.File], None]] = {
    "3.9 GiB of nothing": _replaced("exchange/data", shape=(1000, 1000, 1000), dtype="f4", chunks=(1, 100, 1000)),
    "a petabyte": _replaced("exchange/data", shape=(10**6, 10**6, 300), dtype="f4", chunks=(1, 1, 300)),
    "one chunk of a GiB": _replaced("exchange/data", shape=(1024, 512, 512), dtype="f4", chunks=(1024, 512, 512)),
    "values in another file": _external("exchange/data", (4,)),
    "external link": _linked("exchange/data", h5py.ExternalLink("/etc/hostname", "x")),
    "soft link in a circle": _linked("exchange/data", h5py.SoftLink("/exchange/data")),
    "texts for numbers": _replaced("exchange/data", data=np.array([b"a", b"b"])),
    "vlen for numbers": _replaced("exchange/data", shape=(3,), dtype=h5py.vlen_dtype(np.float32)),
    "a text of 2 MB for a unit": lambda f: f["exchange/theta"].attrs.__setitem__("units", "x" * 2_000_000),
    "angles without a unit": lambda f: f["exchange/theta"].attrs.__delitem__("units"),
    "angles that are NaN": _replaced("exchange/theta", data=np.full(20, np.nan)),
    "a name that clears the terminal": lambda f: (f.pop("exchange/data"), f.create_group("exchange/\x1b[2J")),
}
