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
    """

    grade: Grade
    remedy: str

    def __new__(cls, text: str, grade: Grade = "fair", remedy: str = "") -> Self:
        """Return the sentence with its weight; a doubt stays what it is."""
        if isinstance(text, Doubt):
            grade, remedy = text.grade, text.remedy
        made = super().__new__(cls, text)
        made.grade, made.remedy = grade, remedy
        return made

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Return the doubt of which `as_dict` is `plain`."""
        return cls(plain["text"], plain["grade"], plain["remedy"])

    def as_dict(self) -> dict[str, str]:
        """Return text, grade and remedy, ready for JSON."""
        return {"text": str(self), "grade": self.grade, "remedy": self.remedy}
