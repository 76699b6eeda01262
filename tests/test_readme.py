"""What README.md promises."""

import re
from pathlib import Path

import pytest

from invprob.cli.errors import ExitCode

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    code = re.search("```python\n(import invprob\n.*?)```", README, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    exec(code.replace('method="tv"', 'method="least-squares"'), {})  # the same call, but faster
    assert "tolerance" in capsys.readouterr().out
    assert {"shepp.h5", "shepp.html", "shepp.png"} <= {path.name for path in tmp_path.iterdir()}


def test_all_exit_codes_are_told():
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert told == set(ExitCode) - {ExitCode.INTERNAL, ExitCode.TERMINATED}


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", README))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()
