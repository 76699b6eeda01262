"""What README and docs state in numbers stands in the table of benchmarks/statements.py, and its quick part holds."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# pages whose tables are what one command prints, which they name
TABLES = {
    "docs/diffusion.md": "benchmarks/diffusion.py",
    "docs/verdict.md": "benchmarks/verdicts.py",
    "docs/which-method.md": "benchmarks/which_method.py",
    "docs/strength.md": "benchmarks/strength.py",
    "docs/performance.md": "benchmarks/slices.py",
    "docs/limited-angle.md": "benchmarks/limited_angle.py",
    "docs/radar.md": "benchmarks/radar.py",
    "docs/mri.md": "benchmarks/mri.py",
    "docs/reliability.md": "faults",
}
DOCS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))
PAGES = ["README.md", *(page for page in DOCS if page not in TABLES)]
# a number with a fraction, and one of decibels, percent or how many times as much
NUMBER = re.compile(r"(?<![\w.=/-])\d+(?:\.\d+)? (?:dB|%|times)(?!\w)|(?<![\w.=/-])\d+\.\d+(?![\w.])")
CODE = re.compile(r"```(?!\n\$).*?```|`[^`\n]+`", re.DOTALL)  # but for the screen that README shows
# passages whose numbers are no findings: settings of problems and commands, versions, and what others have published
GIVEN = (
    r"Python 3\.11, 3\.12 or 3\.13",
    r"\$ invprob reconstruct(.|\n)*?done  ",  # the screen up to where there are results
    r"iterations in [\d.]+ s",
    r"a view every 1\.5",
    r": 10 %, amplitude",
    r"80 %(?= of the pixels|, red)",
    r"deviation sigma of 1 %",
    r"9[05] % intervals",
    r"version 1\.10 or later, a result 1\.8",
    r"version 1\.8 format",
    r"noise of 2\.55 and 7\.65 of 255",
    r"published averages of BM3D are 32\.37, 29\.97 and 26\.72 dB",
    r"takes 0\.6 of the time and less than 0\.4 of the memory(.|\n)*?--only learned",  # ratios of times, see there
    r"deviation 0\.1 on 128",
    r"where 80 % of the pixels",
    r"take 1\.6 s, and A with A\^H",  # arithmetic on a plan
    r"1\.8 TiB",
    r"in 1\.3 s, beside",
    r"<!-- benchmarks/standard\.py -->(.|\n)*?<!-- end -->",  # see below
)


@pytest.fixture(scope="module")
def statements():
    spec = importlib.util.spec_from_file_location("statements", ROOT / "benchmarks/statements.py")
    module = sys.modules["statements"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_statement_stands_on_its_page_once(statements):
    for statement in statements.STATEMENTS:
        assert statement.stated


@pytest.mark.parametrize("page", PAGES)
def test_every_number_of_a_page_is_measured_or_given(statements, page):
    text = (ROOT / page).read_text(encoding="utf-8")
    known = [s.found().span() for s in statements.STATEMENTS if s.page == page]
    known += [m.span() for pattern in GIVEN for m in re.finditer(pattern, text)]
    known += [m.span() for m in CODE.finditer(text)]
    loose = [m[0] for m in NUMBER.finditer(text) if not any(a <= m.start() < b for a, b in known)]
    assert not loose, f"{page}: no command measures {loose}: see benchmarks/statements.py"


@pytest.mark.parametrize("page", [page for page in DOCS if page in TABLES])
def test_a_page_of_tables_names_its_command(page):
    assert TABLES[page] in (ROOT / page).read_text(encoding="utf-8")
    assert (ROOT / TABLES[page]).exists()


def test_the_standard_benchmark_is_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    standard = importlib.import_module("standard")
    found = json.loads((ROOT / "benchmarks/standard.json").read_text(encoding="utf-8"))
    for page, folder in (("README.md", "docs/pictures"), ("docs/benchmark.md", "pictures")):
        assert standard.section(found, folder) in (ROOT / page).read_text(encoding="utf-8")


def test_what_is_measured_quickly_holds(statements):
    for statement in statements.STATEMENTS:
        if statement.quick:
            stated, measured = statement.stated, statement.measure(None)
            for number, found in zip(stated, measured, strict=True):
                assert abs(number - found) <= statement.within + 1e-12, (statement.page, statement.found()[0], measured)


def test_a_page_is_rewritten(statements, tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text("It gains 1.23 dB, and 4 at best; 1.23 otherwise.\n")
    monkeypatch.setattr(statements, "ROOT", tmp_path)
    statement = statements.Statement("page.md", r"gains {} dB, and {} at best", lambda _: [], 0.1)
    assert statement.stated == [1.23, 4]
    statement.rewrite([-10.987, 5.2])
    assert (tmp_path / "page.md").read_text() == "It gains -10.99 dB, and 5 at best; 1.23 otherwise.\n"
    with pytest.raises(LookupError, match="0 passages"):
        statements.Statement("page.md", "loses {} dB", lambda _: [], 0.1).found()


def test_the_recipe_for_pictures_runs(invprob):
    page = (ROOT / "docs/restoration.md").read_text(encoding="utf-8")
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], {})
    lines = re.findall(r"^invprob (reconstruct photo.h5[^#\n]*)", page, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        words = line.split()
        fewer = [] if "wiener" in words else ["--set", "max_iter=2", "--set", "strength=0.01"]
        done = invprob(*words, *fewer)
        assert done.code == 0, done.err
