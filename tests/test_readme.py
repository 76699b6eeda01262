"""What README.md and the page of the command line promise."""

import re
import tomllib
from pathlib import Path

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
    page = (ROOT / "docs" / "command-line.md").read_text()
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert told == set(ExitCode) - {ExitCode.INTERNAL}


def test_the_citation_is_of_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {project['version']}\n" in citation
    assert f"\nlicense: {project['license']}\n" in citation
