"""docs/diffusion.md: its code runs, and it knows the presets and methods there are."""

import re
from pathlib import Path

from invprob import registry
from invprob.sampling import PRESETS

PAGE = (Path(__file__).parents[1] / "docs" / "diffusion.md").read_text(encoding="utf-8")


def test_the_code_runs():
    for code in re.findall("```python\n(.*?)```", PAGE, re.DOTALL):
        exec(code, {})


def test_every_preset_is_in_the_table_with_its_source():
    for name, preset in PRESETS.items():
        assert name == "prior" or f"\n| {name} | {preset.about} |" in PAGE
    for name, method in registry.METHODS.items():
        assert method.kind != "sampler" or (name in PRESETS and f"`{name}`" in PAGE)
