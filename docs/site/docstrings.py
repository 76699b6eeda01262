"""Docstrings as the site shows them.

Ours are plain text with `names` in backticks, formulas such as |A x - y|^2 that reStructuredText would take for markup,
and an "Arguments:" block. Here they become reStructuredText.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_ENTRY = re.compile(r"^ {4}(?P<names>\w[\w, ]*): (?P<text>\S.*)$")
_GLUED = re.compile(r"(?<=[^ (]``)(?=[\w^(=<])")  # the end of a literal where markup may not end, as in `Doubt`s
_MARKS = re.compile(r"([\\*|_])")


def setup(app: Sphinx) -> dict[str, bool]:
    """Let autodoc ask for it."""
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True}


def _process(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    del app, what, name, thing, options
    lines[:] = as_rst(lines)


def as_rst(lines: list[str]) -> list[str]:
    """Return a docstring's lines as reStructuredText: arguments as a list, indented lines as they are."""
    found: list[str] = []
    block = ""  # what the indented lines belong to
    for line in _spans_joined(lines):
        if line == "Arguments:":
            block = "arguments"
            found += ["", ".. rubric:: Arguments", ""]
        elif line and not line.startswith(" "):
            block = "list" if re.match(r"- |\d+\. ", line) else ""
            found.append(escaped(line))
        elif block == "arguments":
            found.append(_argument(line))
        elif line and block == "":
            found += ["", "::", "", line]  # code, or a formula on a line of its own
            block = "verbatim"
        else:
            found.append(line if block == "verbatim" else escaped(line))
    return [*found, ""]


def _spans_joined(lines: list[str]) -> list[str]:
    """Return the lines without breaks inside of code spans."""
    found: list[str] = []
    for line in lines:
        if found and found[-1].count("`") % 2:
            found[-1] += " " + line.strip()
        else:
            found.append(line)
    return found


def _argument(line: str) -> str:
    entry = _ENTRY.match(line)
    if entry is None:
        return "  " + escaped(line.strip()) if line.strip() else ""
    names = ", ".join(f"``{name}``" for name in entry["names"].split(", "))
    return f"- {names}: {escaped(entry['text'])}"


def escaped(line: str) -> str:
    """Return text in which `code` is literal and nothing else is markup."""
    pieces = line.split("`")
    if len(pieces) % 2 == 0:  # a lonely backtick: no markup at all
        return _MARKS.sub(r"\\\1", line).replace("`", r"\`")
    texts = [f"``{piece}``" if k % 2 else _MARKS.sub(r"\\\1", piece) for k, piece in enumerate(pieces)]
    return _GLUED.sub(r"\\ ", "".join(texts))
