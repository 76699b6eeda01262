"""docs/diffusion.md: its code runs, and it knows the presets there are."""

import re
from pathlib import Path

from invprob import registry
from invprob.sampling import PRESETS

PAGE = (Path(__file__).parents[1] / "docs" / "diffusion.md").read_text()


def test_the_code_runs():
    for code in re.findall("```python\n(.*?)```", PAGE, re.DOTALL):
        exec(code, {})


def test_every_preset_is_in_the_tables():
    for name in set(PRESETS) - {"prior"}:
        assert PAGE.count(f"\n| {name} |") == 3, name
    for name, method in registry.METHODS.items():
        assert (method.kind == "sampler") <= (name in PRESETS)
