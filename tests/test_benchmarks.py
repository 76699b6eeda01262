"""The benchmark scripts still run, on tiny problems; how fast anything is, is no business of a test."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from invprob.benchmark import plan
from invprob.benchmark.problems import STANDARD

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "ct.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a quick run of the sections that need no peer but ASTRA and scikit-image wrote."""
    out = tmp_path_factory.mktemp("benchmarks") / "out.json"
    options = ["--quick", "--repeats", "1", "--peers-budget", "0.2", "--threads", "1", "--json", str(out)]
    command = [
        sys.executable,
        str(SCRIPT),
        "--only",
        "projectors",
        "fan",
        "blocks",
        "slices",
        "stacks",
        "tv",
        "deblur",
        *options,
    ]
    env = os.environ | {"GOMP_SPINCOUNT": "5000"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(out.read_text())["repeats"][0]


def test_every_section_measures_ours(found):
    sections = {f["section"].split()[0] for f in found if f["kind"] in ("Ratio", "Fact")}
    assert sections == {"parallel", "fan", "blocks", "slices", "stacks", "tv", "deblur"}
    ratios = [f for f in found if f["kind"] == "Ratio"]
    assert ratios
    assert all(f["ours"] > 0 for f in ratios if f["section"].startswith(("parallel", "fan", "deblur")))


def test_errors_and_mismatches_are_small(found):
    value = {(f["section"].split()[0], f["what"]): f["value"] for f in found if f["kind"] == "Fact"}
    for section in ("parallel", "fan"):
        assert value[section, "adjoint mismatch of invprob"] < 1e-6
        assert value[section, "relative error of invprob, mean of the bin"] < 0.06  # 32 x 32 pixels


def test_tv_reaches_the_optimum(found):
    value = {f["what"]: f["value"] for f in found if f["kind"] == "Fact" and f["section"].startswith("tv")}
    # how far it comes in the time it gets depends on the machine
    assert value["ADMM, rho = |A|^2 / 40: smallest gap seen"] < 5e-2
    assert abs(value["reconstruct(scan, 'tv', tol=0.001), joseph: its gap"]) < 5e-2


def test_every_kernel_is_put_beside_a_limit(tmp_path):
    out = tmp_path / "kernels.json"
    command = [sys.executable, str(SCRIPT.with_name("kernels.py")), "--quick", "--json", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    written = json.loads(out.read_text())
    facts = [f for f in written["repeats"][0] if f["kind"] == "Fact"]
    physics = {f["section"].split(" ")[0] for f in facts}
    assert physics == {"limits", "parallel", "fan", "Fourier", "cone", "Cartesian", "radial", "blur", "radar"}
    assert all(f["value"] > 0 for f in facts)
    assert len([f for f in facts if f["what"].endswith("share of the limit")]) == 16
    assert "cores" in written["about"]["processor"]


def test_every_processor_has_its_columns(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import processors
    from report import Fact, Ratio

    known = json.loads(processors.KEPT.read_text(encoding="utf-8"))
    assert processors.table(known) in processors.PAGE.read_text(encoding="utf-8"), f"run {processors.COMMAND}"

    def found(ms):
        yield Fact("limits", "memory", 12.345, "GB/s")
        yield Fact("blur", "forward", ms, "ms")
        yield Fact("blur", "forward, share of the limit", 0.25, "by memory")
        yield Ratio("blur", "forward", ms, "scipy", 4 * ms)

    page, kept = tmp_path / "page.md", tmp_path / "kept.json"
    page.write_text(f"before\n<!-- {processors.COMMAND} -->\n<!-- end -->\nafter\n")
    for name, ms in (("two cores", 1.5), ("eight cores", 0.5), ("two cores", 2.5)):
        processors.keep(name, found(ms), kept, page)
    lines = page.read_text().splitlines()
    assert "- A: two cores. One thread: memory 12.3 GB/s." in lines
    assert "- B: eight cores. One thread: memory 12.3 GB/s." in lines
    assert "| kernel | limit | A forward | A adjoint | B forward | B adjoint |" in lines
    assert "| blur | memory | 2.5 ms, 25%, 4 x scipy |  | 0.5 ms, 25%, 4 x scipy |  |" in lines
    assert (lines[0], lines[-1]) == ("before", "after")


@pytest.mark.skipif(find_spec("leapctype") is not None, reason="a peer that is here")
def test_absent_peers_are_named_not_an_error(found):
    absent = {f["peer"]: f["reason"] for f in found if f["kind"] == "Absent"}
    assert "not installed" in absent["LEAP"]


def test_the_standard_benchmark_goes_into_the_pages(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import standard

    found = json.loads((ROOT / "benchmarks" / "reference.json").read_text(encoding="utf-8"))
    (tmp_path / "docs").mkdir()
    for name in standard.PLACES:
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    standard.write(found, tmp_path)
    texts = {name: (tmp_path / name).read_text(encoding="utf-8") for name in standard.PLACES}
    for name, folder in (("docs/benchmark.md", "pictures"), ("README.md", "docs/pictures")):
        assert texts[name].count("## The standard benchmark") == 1
        assert f"]({folder}/benchmark.png)" in texts[name]
        assert "| 30 views (`ct-30`) |" in texts[name]
    standard.write(found, tmp_path)
    assert texts == {name: (tmp_path / name).read_text(encoding="utf-8") for name in standard.PLACES}


def test_the_standard_suite_has_a_problem_of_most_families():
    suite = plan.standard()
    assert (suite.size, suite.tests) == (128, 8)
    assert len({problem.family for problem in suite.problems}) == len(suite.problems) == len(STANDARD)
    assert {problem.name for problem in plan.quick().problems} <= set(STANDARD)
