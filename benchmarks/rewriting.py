"""Tables that a command writes into a page: between two comments, of which the first names the command."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["PAGE", "rewrite"]

PAGE = Path(__file__).parents[1] / "docs" / "diffusion.md"


def rewrite(text: str, command: str, page: Path = PAGE) -> None:
    """Put a text after the comment `<!-- command -->` of a page, up to `<!-- end -->`; LookupError if it has none."""
    old = page.read_text(encoding="utf-8")
    head = f"<!-- {command} -->\n"
    found = re.search(re.escape(head) + r"(.*?)<!-- end -->", old, re.DOTALL)
    if found is None:
        raise LookupError(f"{page.name} has no place for what `{command}` prints")
    page.write_text(f"{old[: found.start(1)]}\n{text.strip()}\n\n{old[found.end(1) :]}", encoding="utf-8")
