"""Pages from templates: what comes out of files is escaped, and a policy forbids all but the page's own style."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment

from invprob.errors import printable

__all__ = ["render"]

_POLICED = ("style", "script")


def render(package: str, name: str, **values: Any) -> str:
    """Return the template `name` of a package, filled in.

    In its content security policy `{{ policy.style }}` and `{{ policy.script }}` become the digests of the page's one
    style sheet and one script, the only ones that a browser will then obey.
    """
    source = (files(package) / name).read_text("utf-8")
    environment = Environment(autoescape=True, finalize=_harmless, trim_blocks=True, lstrip_blocks=True)
    to_come = {kind: f"the digest of the {kind}" for kind in _POLICED}
    text = environment.from_string(source).render(policy=to_come, **values)
    for kind, place in to_come.items():
        content = text.partition(f"<{kind}>")[2].partition(f"</{kind}>")[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        text = text.replace(place, f"sha256-{digest}", 1)
    return text


def _harmless(value: Any) -> Any:
    """Return a text with its control characters escaped; what matters to HTML is escaped after this."""
    if isinstance(value, str) and not hasattr(value, "__html__") and not value.isprintable():
        return printable(value, len(value))
    return value
