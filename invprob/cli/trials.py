"""What `--method A,B` and `--try NAME=VALUES` ask for, side by side; known before torch is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from invprob import registry
from invprob.cli.errors import UsageError
from invprob.cli.parse import settings as parsed
from invprob.cli.reading import known_options
from invprob.cli.signatures import check_written, written_settings

__all__ = ["Trial", "trials_of"]

_MOST = 24  # pictures that a page is good for


@dataclass(frozen=True)
class Trial:
    """One of the images: what sets it apart, its method with settings, and the options of its reader."""

    title: str
    method: str
    settings: Mapping[str, Any]
    options: Mapping[str, Any]


def trials_of(
    methods: Sequence[str], settings: Mapping[str, Any], options: Mapping[str, Any], tried: str | None
) -> list[Trial]:
    """Return what is to be compared: every method, or every value of `name=first:last:count` or `name=a,b,c`.

    A name is a setting of the method, or an option of the reader with a number, such as axis. UsageError for others.
    """
    if tried is None:
        trials = [Trial(method, method, settings, options) for method in methods]
    else:
        name, _, text = tried.partition("=")
        name = name.strip().replace("-", "_")
        if len(methods) > 1 or not text:
            raise UsageError(
                "--try is NAME=FIRST:LAST:COUNT or NAME=A,B,C, as in --try strength=0.001:0.1:5, of one method"
            )
        values = _values(name, text)
        of_method = name in _settings_of(methods[0])
        if of_method:
            trials = [Trial(f"{name} {v}", methods[0], {**settings, name: v}, options) for v in values]
        else:
            trials = [Trial(f"{name} {v}", methods[0], settings, {**options, **_option(name, v)}) for v in values]
    if not 2 <= len(trials) <= _MOST:
        raise UsageError(f"side by side are 2 to {_MOST} images, not {len(trials)}")
    for trial in trials:
        check_written(trial.method, trial.settings)
    return trials


def _settings_of(method: str) -> Collection[str]:
    if (known := written_settings(method)) is not None:
        return known
    from invprob.cli.methods import defaults

    return defaults(method)


def _values(name: str, text: str) -> list[Any]:
    """Return the values of A,B,C, or FIRST:LAST:COUNT: equal factors for a strength, equal steps for all else."""
    parts = text.split(":")
    if len(parts) == 1:
        return [parsed([f"{name}={part}"])[name] for part in text.split(",")]
    try:
        (first, last), count = map(float, parts[:-1]), int(parts[-1])
    except ValueError:
        raise UsageError(f"--try {name}={text} is neither FIRST:LAST:COUNT nor A,B,C") from None
    if not 2 <= count <= _MOST:
        raise UsageError(f"--try {name}={text} asks for {count} images: 2 to {_MOST} fit side by side")
    if name == "strength":
        if not (first > 0 and last > 0):
            raise UsageError(f"--try {name}={text}: strengths from first to last in equal factors are greater than 0")
        factor = (last / first) ** (1 / (count - 1))
        return [float(f"{first * factor**i:.4g}") for i in range(count)]
    return [float(f"{first + (last - first) * i / (count - 1):.8g}") for i in range(count)]


def _option(name: str, value: Any) -> dict[str, Any]:
    known = known_options()
    if name not in known:
        raise UsageError(
            f"--try {name}: no setting of the method, no option of a reader; {registry.nearest(name, known)}"
        )
    try:
        return {name: known[name].parse(str(value))}
    except ValueError as error:
        raise UsageError(f"--try {name}: {error}") from error
