"""The pages of the site: their links lead somewhere, their code runs, and every page is in the table of contents."""

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = (DOCS / "_build", DOCS / "gallery")  # by `make docs`
PAGES = sorted(page for page in DOCS.rglob("*.md") if not any(made in page.parents for made in MADE))
OTHERS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "data" / "README.md"]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
FENCE = re.compile(r"```.*?```", re.DOTALL)
BLOCK = re.compile(r"```(python|sh)\n(.*?)```", re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def links(page: Path) -> list[str]:
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    return [first or second for first, second in LINK.findall(text)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges and the site make them."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken(page: Path, link: str) -> bool:
    if re.match(r"https?:|mailto:", link):
        return False  # nobody asks the network
    target, _, anchor = link.partition("#")
    path = (page.parent / target) if target else page
    if MADE[1] in path.parents:  # the gallery, which is made from the examples
        return path.name != "index.rst" and not (ROOT / "examples" / f"{path.stem}.py").exists()
    return not path.exists() or (bool(anchor) and anchor not in anchors(path))


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=name_of)
def test_links_lead_somewhere(page):
    assert [link for link in links(page) if broken(page, link)] == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A head, of `code`\n[a](other.md) [b](#a-head-of-code) [c](#nothing) `[d](no.md)` ![e](e.png)\n")
    assert links(page) == ["other.md", "#a-head-of-code", "#nothing", "e.png"]
    assert [link for link in links(page) if broken(page, link)] == ["other.md", "#nothing", "e.png"]


def test_every_page_is_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {line for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL) for line in block.split()}
    there = {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES} - {"index"}
    assert there - listed == set()


def test_the_reference_has_every_room():
    from invprob import _ROOMS

    told = {page.stem for page in (DOCS / "reference").glob("*.md")}
    assert {*_ROOMS, "metrics", "phantoms", "testing"} - told == {"linalg"}  # for those who write operators
    for page in (DOCS / "reference").glob("*.md"):
        module = re.search(r"automodule:: (\S+)", page.read_text(encoding="utf-8"))[1]
        assert importlib.util.find_spec(module) is not None


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and code of each block, behind as many empty lines as stand above it on the page."""
    text = page.read_text(encoding="utf-8")
    return [(found[1], "\n" * text.count("\n", 0, found.start(2)) + found[2]) for found in BLOCK.finditer(text)]


def run(page: Path, invprob) -> None:
    """Run a page from top to bottom: lines for the shell as commands, Python in one namespace."""
    names: dict[str, object] = {}
    for language, code in blocks(page):
        if language == "python":
            exec(compile(code, name_of(page), "exec"), names)
            continue
        for line in code.split("\n"):
            if not line:
                continue
            program, *words = line.split()
            done = invprob(*words)
            assert (program, done.code) == ("invprob", 0), line + done.err


@pytest.mark.parametrize("name", ["start.md", "start/research.md", "extending.md"])
def test_a_page_runs_from_top_to_bottom(name, invprob, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    page = DOCS / name
    assert blocks(page)
    run(page, invprob)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_of_a_page_is_python(page):
    for language, code in blocks(page):
        if language == "python":
            ast.parse(code)


def test_commands_of_the_pages_know_their_options(invprob):
    """Every line that begins with `invprob` names commands and options that exist."""
    help_of: dict[str, str] = {}
    for page in [*PAGES, ROOT / "README.md"]:
        for line in re.findall(r"^(?:\$ )?invprob (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            words = line.split(" #")[0].split()
            command = tuple(words[:2]) if words[0] == "train" else (words[0],)
            if command not in help_of:
                help_of[command] = invprob(*command, "--help").out
            for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", " ".join(words)):
                assert option in help_of[command], f"{name_of(page)}: {line}"


def test_which_method_says_what_the_reference_says():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import which_method
    finally:
        sys.path.pop(0)
    told = which_method.tables(json.loads(which_method.REFERENCE.read_text(encoding="utf-8")))
    assert told in which_method.PAGE.read_text(encoding="utf-8"), "run python benchmarks/which_method.py --write"


def test_docstrings_become_markup():
    spec = importlib.util.spec_from_file_location("site_docstrings", DOCS / "site" / "docstrings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines = ["|A x|^2 of `(*batch,", "*item)`.", "", "Arguments:", "    a, b: one", "        or two.", "", "    code()"]
    told = module.as_rst(lines[:7])
    assert told[0] == r"\|A x\|^2 of ``(*batch, *item)``."
    assert told[-4:-1] == ["- ``a``, ``b``: one", "  or two.", ""]
    assert module.as_rst(["So:", "", "    x = 1"])[1:-1] == ["", "", "::", "", "    x = 1"]
