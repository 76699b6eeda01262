"""A result's certificate in plain words: what speaks for the image, what against it, what was not verified."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from invprob.doubt import Doubt, Grade
from invprob.status import MISSING, SENTENCES

__all__ = ["MISSING", "Grade", "Statement", "brief", "statements", "verdict"]

_ORDER: tuple[Grade, ...] = ("known", "good", "fair", "bad")
_STATUS_GRADES: Mapping[str, Grade] = {
    "converged": "good",
    "max_iter": "fair",
    "stopped": "fair",
    "diverged": "bad",
    MISSING: "bad",
}

# residual over noise: what passes for equal, the noise level being an estimate itself, and what is beyond doubt; all
# numbers below are those of the campaign in docs/verdict.md
_NOISE_LOW, _NOISE_HIGH, _NOISE_BAD = 0.4, 1.35, 3.0
_DIRECT_LOW, _DIRECT_HIGH = 0.12, 2.5  # a direct method does not seek to meet the data
_STRUCTURED, _STRUCTURE = 0.35, 0.7  # correlation of neighbouring residuals
_FAINT = 0.002  # of the data: about what grey values of 8 bits are rounded by, which follows the picture
_EXACT_GOOD, _EXACT_FAIR = 0.01, 0.05  # of data without noise, their share that an image on pixels leaves
_UNEXPLAINED = 0.5  # of the data: the image has little to do with them
# of the image, what leaving out half changes: of views; of samples, each of which sees the whole image; of pixels, a
# random half of which opens larger holes than there were; and of direct images, which half of them leaves noisier
_HALF: Mapping[str, tuple[float, float]] = {"views": (0.12, 0.35), "samples": (0.15, 0.5), "pixels": (0.25, 0.5)}
_HALF_DIRECT = (0.25, 0.5)
_NEARLY = 5e-3  # a fixed-point residual that is good enough, whatever tol asks for
_UNCHECKED = "Not verified: this result has no certificate, nothing of it was checked."
_NEAR, _FAR = 0.01, 0.1  # from the minimum, as a share of the objective or of the first gradient
_ADJOINT_GOOD = 1e-4  # what float32 leaves of a true adjoint
_DERIVATIVE_GOOD = (
    1e-2  # differences in float32 leave about eps^(2/3) = 2e-5 where A is smooth, a wrong factor far more
)


@dataclass(frozen=True)
class Statement:
    """One thing the certificate says; `known` are facts that speak neither for nor against the image.

    `remedy` is what to do about it, in the imperative, "" where there is nothing to do or to say.
    """

    grade: Grade
    text: str
    remedy: str = ""

    @property
    def words(self) -> str:
        """The text, and what to do about it."""
        return f"{self.text} {_capital(self.remedy)}." if self.remedy else self.text


def statements(certificate: Mapping[str, Any] | None, item_status: Sequence[str]) -> list[Statement]:
    """Return what a certificate (`Certificate.as_dict`) and the statuses say, the most telling first.

    Of a stack the worst row counts. Without a certificate nothing was checked, and that is said.
    """
    if not certificate:
        unfinished = [s for s in _status(item_status, direct=False, left=math.inf) if s.grade != "good"]
        return [*unfinished, Statement("known", _UNCHECKED)]
    direct = not _numbers(certificate, "fixed_point_residual")
    return [
        *_status(item_status, direct=direct, left=max(_numbers(certificate, "fixed_point_residual"), default=math.inf)),
        *_doubts(certificate),
        *_data(certificate, direct=direct),
        *_half(certificate, direct=direct),
        *_optimality(certificate),
        *_assumptions(certificate),
        *_operator(certificate),
        *(Statement("known", _capital(str(note)).rstrip(".") + ".") for note in certificate.get("notes") or ()),
    ]


def verdict(found: Sequence[Statement]) -> Statement:
    """Return the sentence over all statements, graded as the worst of them, with what to do next."""
    worst: Grade = max((statement.grade for statement in found), key=_ORDER.index, default="known")
    those = [statement for statement in found if statement.grade == worst]
    if worst == "known":
        return Statement(worst, "Nothing is known that speaks for or against this image.")
    if worst == "good":
        return Statement(worst, "Nothing that was checked speaks against this image.")
    lead = "Use this image with care" if worst == "fair" else "Do not rely on this image"
    points = "one point below" if len(those) == 1 else f"{len(those)} points below"
    remedy = next((statement.remedy for statement in those if statement.remedy), "")
    return Statement(worst, f"{lead}: see the {points}." + (f" Next: {remedy}." if remedy else ""))


def brief(value: Any) -> str:
    """Return a value as text: a number to four digits, of a list of numbers the range."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and value and all(isinstance(v, int | float) for v in value):
        low, high = min(value), max(value)
        return brief(low) if low == high else f"{brief(low)} to {brief(high)} over {len(value)} rows"
    return str(value)


def _status(item_status: Sequence[str], *, direct: bool, left: float) -> Iterator[Statement]:
    counts = Counter(item_status)
    for status in sorted(counts, key=list(SENTENCES).index):
        of = f"{_share(counts[status], len(item_status))}: " if len(item_status) > 1 else ""
        if direct and status == "converged":
            yield Statement("good", f"{of}The method takes a fixed number of steps: nothing had to converge.")
        elif status == "max_iter" and left <= _NEARLY:
            yield Statement("good", f"{of}The iterations ended above the tolerance, at a residual of {left:.1e}: near.")
        else:
            text, _, remedy = SENTENCES[status].partition("; ") if status == "max_iter" else (SENTENCES[status], "", "")
            yield Statement(_STATUS_GRADES[status], of + text.rstrip(".") + ".", remedy.rstrip("."))


def _doubts(certificate: Mapping[str, Any]) -> Iterator[Statement]:
    """Say what is doubtful about data and geometry, the worst first."""
    found = [Doubt.from_dict(plain) for plain in certificate.get("doubts") or ()]
    for doubt in sorted(found, key=lambda d: -_ORDER.index(d.grade)):
        yield Statement(doubt.grade, _capital(str(doubt)).rstrip(".") + ".", doubt.remedy)


def _data(certificate: Mapping[str, Any], *, direct: bool) -> Iterator[Statement]:
    """Say how well the image explains the data."""
    ratios, shares, alike = (
        _numbers(certificate, key) for key in ("residual_to_noise", "data_residual", "residual_correlation")
    )
    finite = [ratio for ratio in ratios if math.isfinite(ratio)]
    if finite:
        low, high = (_DIRECT_LOW, _DIRECT_HIGH) if direct else (_NOISE_LOW, _NOISE_HIGH)
        # where readings are fewer than pixels all of them can nearly be met: leaving out half tells, not the noise
        least = 0.0 if _numbers(certificate, "half_change") else low
        yield _against_noise(finite, least, high, direct=direct)
    elif ratios and shares:
        yield _against_nothing(max(shares))
    elif shares:
        worst = max(shares)
        yield Statement(
            "fair",
            f"The residual is {_percent(worst)} of the data{_typical(shares, worst)}; the noise level is not known, "
            "so nothing tells noise from error.",
            "state the noise level of the data",
        )
    if shares and max(shares) > _UNEXPLAINED:
        text = f"The image explains little of the data: {_percent(max(shares))} of them are left."
        yield Statement("bad", text, "check geometry and units, then the strength")
    if alike and max(alike) > _STRUCTURED and not direct:
        much = not shares or max(shares) > _FAINT
        grade: Grade = "bad" if max(alike) > _STRUCTURE and much else "fair"
        text = f"The residuals of neighbouring readings are correlated by {max(alike):.2f}, unlike noise: "
        yield Statement(
            grade,
            text + "there is more in the data than the image and this operator explain.",
            "check geometry, kernel and calibration, and lower the strength",
        )


def _against_noise(ratios: list[float], least: float, most: float, *, direct: bool) -> Statement:
    low, high = min(ratios), max(ratios)
    worst = low if low < least and high <= most else high
    typical = f", {statistics.median(ratios):.2f} times in the typical row" if len(ratios) > 1 else ""
    measured = f"The residual is {worst:.2f} times the noise of the data{typical}"
    if worst > most:
        grade: Grade = "bad" if worst > _NOISE_BAD else "fair"
        if direct:
            text = f"{measured}: streaks, blur or a geometry that is not what it is said to be."
            remedy = "use a method with a prior, as tv (for radars tv-magnitude)"
            return Statement(grade, text, f"{remedy}, and if the residual stays check geometry and noise level")
        cause = "the strength is too high, or geometry or noise level are not what they are said to be"
        return Statement(grade, f"{measured}: {cause}.", "lower the strength; if that does not help check the geometry")
    if worst < least and direct:
        return Statement("fair", f"{measured}: part of the noise is in the image.", "use tv or tikhonov")
    if worst < least:
        return Statement("fair", f"{measured}: part of the noise went into the image.", "raise the strength")
    if worst < _NOISE_LOW and not direct:
        return Statement("good", f"{measured}: so few readings can nearly all be met.")
    return Statement("good", f"{measured}, as it should be (1 is perfect).")


def _against_nothing(share: float) -> Statement:
    """Judge an image of data that are said to be free of noise: an image on pixels leaves a little of them."""
    grade: Grade = "good" if share <= _EXACT_GOOD else "fair" if share <= _EXACT_FAIR else "bad"
    text = f"The residual is {_percent(share)} of the data, which are said to be free of noise"
    rest = "." if grade == "good" else ": the image does not explain them."
    return Statement(grade, text + rest, "" if grade == "good" else "state the noise level, or lower the strength")


def _half(certificate: Mapping[str, Any], *, direct: bool) -> Iterator[Statement]:
    """Say how much of the image hangs on how many readings there are."""
    found = _numbers(certificate, "half_change")
    if not found:
        return
    worst = max(found)
    halved = certificate.get("half_of") or "readings"
    fair, bad = _HALF_DIRECT if direct else _HALF.get(halved, _HALF["pixels"])
    grade: Grade = "good" if worst <= fair else "fair" if worst <= bad else "bad"
    text = f"Leaving out half of the {halved} changes the image by {_percent(worst)}{_typical(found, worst)}"
    if grade == "good":
        yield Statement("good", f"{text}: where, a picture shows.")
    else:
        rest = ": the data are few, and fine structure may be missing or made up; a picture shows where."
        yield Statement(grade, text + rest, "measure more views or readings, or trust coarse structure alone")


def _optimality(certificate: Mapping[str, Any]) -> Iterator[Statement]:
    """Say how near the image is to the minimum that the method seeks.

    The gradient decides: the gap is only a bound, loose where the objective is small, idle where data out of reach
    make it large.
    """
    gaps, kkt = _numbers(certificate, "duality_gap"), _numbers(certificate, "stationarity")
    parts = []
    if kkt:
        parts.append(f"the conditions of a minimum are met to {_percent(max(kkt))}{_typical(kkt, max(kkt))}")
    if gaps and max(gaps) <= _FAR:
        parts.append(f"the objective is proven to be within {_percent(max(gaps))} of its minimum")
    if parts:
        distance = max(kkt or gaps)
        grade: Grade = "good" if distance <= _NEAR else "fair" if distance <= _FAR else "bad"
        yield Statement(
            grade, _capital("; ".join(parts)) + ".", "" if grade == "good" else "raise max_iter or lower tol"
        )


def _assumptions(certificate: Mapping[str, Any]) -> Iterator[Statement]:
    """Say which theorem applies; where none does, that is a fact: what the image is worth, the data say."""
    found = certificate.get("assumptions") or ()
    for a in found:
        if a["holds"] is False:
            yield Statement("known", f"No theorem promises convergence: that {a['statement']} fails ({a['reason']}).")
        elif a["holds"] is None:
            yield Statement("known", f"Not verified: {a['statement']} ({a['reason']}).")
    if found and all(a["holds"] for a in found):
        yield Statement("good", f"The method is proven to converge here: {_all(len(found))} of the theorem.")


def _operator(certificate: Mapping[str, Any]) -> Iterator[Statement]:
    mismatch, norm = certificate.get("adjoint_mismatch"), certificate.get("norm")
    nonlinear = certificate.get("derivative_error") is not None
    if nonlinear:
        yield _derivative(_numbers(certificate, "derivative_error"))
    if mismatch is not None:
        pair = "The derivative and its adjoint" if nonlinear else "Projector and back-projector"
        if mismatch <= _ADJOINT_GOOD:
            yield Statement("good", f"{pair} are a true pair (mismatch {mismatch:.0e}).")
        elif nonlinear:
            yield Statement("fair", f"The derivative is not paired with its true adjoint (mismatch {mismatch:.0e}).")
        else:
            yield Statement("fair", f"The back-projector is not the projector's adjoint (mismatch {mismatch:.0e}).")
    if norm is not None and certificate.get("norm_bound") is not None:
        kind = certificate.get("norm_bound_kind")
        how = f" ({kind})" if kind else ""
        yield Statement("known", f"The operator's norm is {norm:.4g}, at most {certificate['norm_bound']:.4g}{how}.")
    if certificate.get("lipschitz") is not None:
        found = f"at least {certificate['lipschitz']:.3g} near the image"
        yield Statement("known", f"The learned part has a Lipschitz constant of {found}.")
    factors = [factor for factor in _numbers(certificate, "contraction") if math.isfinite(factor)]
    if factors:
        yield Statement("known", f"The iteration came nearer to its end by a factor of {max(factors):.3g} a step.")


def _derivative(errors: list[float]) -> Statement:
    """Say whether what stands for the derivative of a nonlinear operator is it."""
    if not errors:
        return Statement("known", "Not verified: the derivative of the operator, as a step leaves its domain.")
    worst = max(errors)
    if worst <= _DERIVATIVE_GOOD:
        return Statement("good", f"The derivative is that of the operator (differences agree to {worst:.0e}).")
    return Statement("fair", f"The derivative is not that of the operator (differences disagree by {_percent(worst)}).")


def _numbers(certificate: Mapping[str, Any], key: str) -> list[float]:
    """Return the values of all rows in one list, without those that are missing."""
    rest, found = [certificate.get(key)], []
    while rest:
        value = rest.pop()
        if isinstance(value, list | tuple):
            rest.extend(value)
        elif value is not None and not math.isnan(value):
            found.append(float(value))
    return found


def _share(count: int, total: int) -> str:
    return f"All {total} rows" if count == total else f"{count} of {total} rows"


def _all(count: int) -> str:
    names = {1: "it meets the one condition", 2: "it meets both conditions"}
    return names.get(count, f"it meets all {count} conditions")


def _typical(values: list[float], worst: float) -> str:
    if len(values) == 1:
        return ""
    typical = _percent(statistics.median(values))
    return f" in the worst row, {typical} in the typical one" if typical != _percent(worst) else " in the worst row"


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.2g} %" if percent < 99.5 else f"{percent:.0f} %"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
