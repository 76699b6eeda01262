"""What an operator finds doubtful about data or geometry: a sentence, how much it matters, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

Grade = Literal["known", "good", "fair", "bad"]


class Doubt(str):
    """A sentence that weighs: any plain sentence among doubts counts as `Doubt(sentence)`.

    Arguments:
        text: the sentence.
        grade: "bad" where no image of such data can be relied on, "fair" (the default) where one needs care, "known"
            for what is only worth knowing.
        remedy: what to do about it, in the imperative; by default nothing is known.
        cured_by: the setting that a method tells of which has dealt with it, so that its results need not be doubted;
            by default there is none.
    """

    grade: Grade
    remedy: str
    cured_by: str

    def __new__(cls, text: str, grade: Grade = "fair", remedy: str = "", *, cured_by: str = "") -> Self:
        """Return the sentence with its weight; a doubt stays what it is."""
        if isinstance(text, Doubt):
            grade, remedy, cured_by = text.grade, text.remedy, text.cured_by
        made = super().__new__(cls, text)
        made.grade, made.remedy, made.cured_by = grade, remedy, cured_by
        return made

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Return the doubt of which `as_dict` is `plain`."""
        return cls(plain["text"], plain["grade"], plain["remedy"])

    def as_dict(self) -> dict[str, str]:
        """Return text, grade and remedy, ready for JSON."""
        return {"text": str(self), "grade": self.grade, "remedy": self.remedy}
