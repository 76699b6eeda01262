"""The benchmark: honest numbers, nothing lost by an interruption, and a page that tells no more than the table."""

import base64
import csv
import hashlib
import io
import json
import math
import re
import shutil
import signal
import subprocess
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import Page
from PIL import Image
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from invprob.benchmark import charts, comparison, page, plan, pool, problems, tables
from invprob.benchmark.measurement import Run, measure, search
from invprob.benchmark.peers import PEERS
from invprob.benchmark.problems import PROBLEMS, cases
from invprob.benchmark.results import Results
from invprob.benchmark.statistics import estimate
from invprob.benchmark.store import Store
from invprob.benchmark.suite_runs import measure_all
from invprob.errors import InputError
from invprob.methods import Progress
from invprob.methods.reporting import direct_result
from invprob.operators import Mask

SIZE = 32
HERE = __name__
BY_NAME = {problem.name: problem for problem in PROBLEMS}
DIRECT, FBP, TIKHONOV, LEAST = (
    next(m for m in plan.registered() if m.name == name) for name in ("direct", "fbp", "tikhonov", "least-squares")
)


# --- guests: methods of somebody else's, found by "module:function" ---


def shrunk(problem, *, strength=1.0):
    """The direct reconstruction, multiplied by 1 / (1 + strength)."""
    x = problem.A.direct(problem.y) / (1 + strength)
    yield Progress("", 1, 1, 0.0, lambda: direct_result(problem, x, {"strength": strength}))


def raises(problem):
    yield Progress("", 1, 2, 0.0, lambda: None)
    raise RuntimeError("no luck\x1b[2J <b>today</b>")


def refuses(problem):
    raise ValueError("only on Sundays")
    yield


def not_a_number(problem):
    x = problem.A.direct(problem.y) * math.nan
    yield Progress("", 1, 1, 0.0, lambda: direct_result(problem, x, {}))


def guest(function, name=None, kind="classical"):
    return plan.Method(name or function.__name__, f"{HERE}:{function.__name__}", kind)


def suite(*methods, names=("ct-18", "noise-coloured"), **sizes):
    chosen = tuple(BY_NAME[name] for name in names)
    return plan.Suite(chosen, methods, **{"size": SIZE, "tests": 3, "validations": 1, "tries": 3} | sizes)


def results_of(plan_, folder=None):
    results = Results(plan_)
    for unit, runs in measure_all(plan_, folder):
        results.add(unit, runs)
    return results


@pytest.fixture(scope="module")
def results():
    """A small benchmark with every kind of row; `shrunk` plays the learned method."""
    guests = guest(shrunk, kind="learned"), guest(raises), guest(refuses), guest(not_a_number, "nan")
    return results_of(suite(DIRECT, FBP, LEAST, TIKHONOV, *guests))


@pytest.fixture(scope="module")
def html(results):
    return page.render(results, command="invprob benchmark --quick")


def rows(results):
    return list(csv.DictReader(io.StringIO(tables.as_csv(results))))


# --- the problems ---


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_the_data_are_those_of_the_truth_up_to_noise_and_grid(problem):
    test = cases(problem, SIZE, "test", 2)
    scan, truth = test.scan, test.truth
    assert truth.shape == (2, *problem.shape(SIZE))
    assert truth.is_complex() == (problem.family in ("complex images", "MRI", "radar"))
    assert truth.is_complex() or float(truth.min()) >= 0
    assert 0.3 < float(truth.abs().max()) <= 1
    weights = torch.ones_like(scan.data.real) if scan.weights is None else scan.weights
    if scan.operator.measured is not None:
        weights = weights * scan.operator.measured
    misfit = weights.sqrt() * (scan.operator(truth) - scan.data)
    mean_square = misfit.abs().square().sum() / (weights > 0).sum()
    level = float(mean_square.sqrt() / scan.noise.mean())
    assert 0.5 < level < 4  # of the noise: a coarse grid's error comes on top, a wrong instrument would be far off


def test_no_inverse_crime_in_ct_and_blur():
    for name in ("ct-60", "cone-16", "blur-motion", "wave-blur"):
        quiet = replace(BY_NAME[name], noise=partial(_no_noise))
        test = cases(quiet, SIZE, "test", 1)
        assert torch.dist(test.scan.operator(test.truth), test.scan.data) > 1e-3 * test.scan.data.norm()


def _no_noise(y, generator):
    return y, torch.zeros(()), None


def test_scenes_are_the_same_every_time_and_never_meet_those_of_validation():
    problem = BY_NAME["ct-30"]
    first, again = (cases(problem, SIZE, "test", 3) for _ in range(2))
    assert torch.equal(first.scan.data, again.scan.data)
    assert torch.equal(cases(problem, SIZE, "test", 2).truth, first.truth[:2])
    held = cases(problem, SIZE, "validation", 3)
    assert not set(first.names) & set(held.names)
    assert min(torch.dist(a, b) for a in first.truth for b in held.truth) > 1


def test_problems_share_scenes_but_no_noise():
    a, b = (cases(BY_NAME[name], SIZE, "test", 2) for name in ("holes-box", "noise-coloured"))
    assert torch.equal(a.truth, b.truth)


def test_every_family_of_the_quick_suite_and_every_scene_has_a_name():
    assert set(problems.QUICK) <= set(BY_NAME)
    assert len(BY_NAME) == len(PROBLEMS)


# --- numbers ---


def test_the_metrics_are_those_of_scikit_image(results):
    entry = results.entry(BY_NAME["ct-18"], TIKHONOV)
    truth = cases(BY_NAME["ct-18"], SIZE, "test", 3).truth[0].double().numpy()
    image = entry.run.image.astype(np.float64)
    columns = entry.run.columns
    assert columns["psnr"][0] == pytest.approx(peak_signal_noise_ratio(truth, image, data_range=1.0), abs=1e-5)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert columns["ssim"][0] == pytest.approx(structural_similarity(truth, image, data_range=1.0, **options), abs=1e-6)


def test_intervals_are_those_of_scipy():
    values = [1.0, 2.5, -0.5, 3.0]
    found = estimate(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert not found.sure
    assert estimate([1.0, 1.2, 1.1]).sure
    assert (estimate([1.0]).low, estimate([1.0]).sure) == (None, False)
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_the_search_finds_a_maximum_with_the_tries_it_has():
    tried = search(lambda s: -(math.log(s / 0.02) ** 2), 1.0, 12)
    assert len(tried) == 12
    assert len({strength for strength, _ in tried}) == 12
    best, _ = max(tried, key=lambda pair: pair[1])
    assert 0.01 < best < 0.04


def test_every_method_gets_as_many_tries(results):
    for name in ("ct-18", "noise-coloured"):
        for method in (TIKHONOV, LEAST, guest(shrunk, kind="learned")):
            assert len(results.entry(BY_NAME[name], method).runs["tuned"].tried) == 3


def test_tuning_sees_validation_images_only(monkeypatch):
    seen = []
    true_cases = cases

    def spy(problem, size, purpose, count):
        seen.append(purpose)
        return true_cases(problem, size, purpose, count)

    monkeypatch.setattr("invprob.benchmark.measurement.cases", spy)
    unit = next(plan.units(suite(TIKHONOV)))
    auto = Run("measured", strengths=[0.01])
    run = measure(unit, "tuned", auto)
    assert seen[-1] == "test"
    assert set(seen[:-1]) == {"validation"}
    assert run.tried[0][0] == pytest.approx(0.01)


def test_two_runs_give_the_same_numbers(results):
    again = results_of(replace(results.suite, problems=(BY_NAME["noise-coloured"],)))
    before = [row | {"seconds": ""} for row in rows(results) if row["problem"] == "noise-coloured"]
    assert before == [row | {"seconds": ""} for row in rows(again)]


# --- what goes wrong is a row ---


def test_methods_that_fail_or_refuse_are_rows_with_reasons(results):
    told = {(row["method"], row["mode"]): row for row in rows(results) if row["problem"] == "noise-coloured"}
    assert told["fbp", "auto"]["status"] == "not for this"
    assert "fbp is for parallel, fan and cone beams" in told["fbp", "auto"]["reason"]
    assert (told["refuses", "auto"]["status"], told["refuses", "auto"]["reason"]) == ("not for this", "only on Sundays")
    assert told["raises", "auto"]["status"] == "failed"
    assert "RuntimeError: no luck\\x1b[2J" in told["raises", "auto"]["reason"]
    assert "NaN or infinite" in told["nan", "auto"]["reason"]
    assert told["direct", "tuned"]["status"] == "nothing to tune"


def test_what_was_not_measured_is_empty_and_never_zero(results, html):
    for row in rows(results):
        if row["status"] in ("failed", "not for this", "nothing to tune"):
            assert not any(row[name] for name in (*tables.METRICS, "strength", "image"))
        assert row["iterations"] != "0"
    entries = tables.as_json(results)["entries"]
    assert all("psnr" not in entry for entry in entries if entry["status"] != "measured")
    last = results.ranking(BY_NAME["noise-coloured"])[-1]
    assert not last.measured
    assert "failed" in Page(html).words


def test_an_unknown_function_is_a_row_too():
    lost = plan.Method("lost", "no.such.module:function")
    entry = results_of(suite(lost, names=("ct-18",))).entry(BY_NAME["ct-18"], lost)
    assert entry.run.status == "failed"
    assert "cannot be loaded" in entry.run.reason


# --- verdicts ---


def test_verdicts_pair_images_and_take_the_champions_of_validation(results):
    verdict = results.verdict("sparse-view CT")
    learned = results.entry(BY_NAME["ct-18"], guest(shrunk, kind="learned"))
    rivals = [results.entry(BY_NAME["ct-18"], method) for method in (TIKHONOV, LEAST, FBP)]
    best = max(rivals, key=lambda entry: entry.run.validation)
    assert verdict.classical == best.method.name
    differences = np.subtract(learned.run.columns["psnr"], best.run.columns["psnr"])
    assert verdict.difference.mean == pytest.approx(differences.mean())
    assert f"by {abs(differences.mean()):.1f} dB" in verdict.text
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert verdict.grade == ("open" if low < 0 < high else "good" if low > 0 else "bad")


def test_without_a_learned_method_the_verdict_says_so():
    verdict = results_of(suite(TIKHONOV, names=("ct-18",))).verdict("sparse-view CT")
    assert "no learned method was measured; the best classical one is tikhonov" in verdict.text


# --- keeping, resuming, processes ---


def test_an_interruption_loses_nothing(tmp_path, results):
    part = suite(DIRECT, LEAST, guest(shrunk, kind="learned"))
    events = measure_all(part, tmp_path)
    first = next(events)
    events.close()
    assert len(list(tmp_path.glob("*.npz"))) == 2  # both modes of the first unit
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    resumed = list(measure_all(part, tmp_path))
    assert len(resumed) == 6
    assert str(resumed[0][1]["auto"].columns) == str(first[1]["auto"].columns)  # NaN of samplers' columns included
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    by_unit = {(unit.problem.name, unit.method.name): runs for unit, runs in resumed}
    whole = results.entry(BY_NAME["ct-18"], LEAST).runs["tuned"].columns["psnr"]
    assert by_unit["ct-18", "least-squares"]["tuned"].columns["psnr"] == whole


def test_what_is_kept_comes_back_as_it_was(tmp_path, results):
    store = Store(tmp_path)
    for k, entry in enumerate(results.entries()):
        run = entry.runs["tuned"]
        store.put(str(k), run)
        found = store.get(str(k))
        assert np.array_equal(found.image, run.image) if run.image is not None else found.image is None
        same = replace(found, image=None, certificate={}), replace(run, image=None, certificate={})
        assert repr(same[0]) == repr(same[1])


def test_a_damaged_file_is_measured_again(tmp_path):
    store = Store(tmp_path)
    store.put("a", Run("failed", "x"))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:50])
    assert store.get("a") is None
    assert store.get("b") is None


def test_the_key_follows_what_numbers_depend_on(monkeypatch):
    unit = next(plan.units(suite(TIKHONOV)))
    keys = {
        unit.key("auto"),
        unit.key("tuned"),
        replace(unit, size=33).key("auto"),
        replace(unit, method=LEAST).key("auto"),
        replace(unit, problem=BY_NAME["ct-30"]).key("auto"),
        replace(unit, method=guest(shrunk)).key("auto"),
    }
    assert len(keys) == 6
    before = unit.key("auto")
    assert unit.key("auto") == before
    monkeypatch.setattr(plan, "code_version", lambda: "another")
    assert unit.key("auto") != before


def test_a_process_that_dies_costs_a_row_not_the_run():
    found = dict(pool.calls(signal.raise_signal, [signal.SIGURG, signal.SIGKILL], workers=1))
    assert found[signal.SIGURG] is None  # what raise_signal returns where the signal is ignored
    assert isinstance(found[signal.SIGKILL], pool.Died)
    assert "2 times (signal 9" in found[signal.SIGKILL].reason


# --- the page ---


def test_the_page_needs_nothing_and_allows_nothing_else(html):
    found = Page(html)
    policy = next(m["content"] for m in found.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    digests = {
        kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for kind, text in found.code.items()
    }
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digests['style']}'; "
        f"script-src 'sha256-{digests['script']}'; base-uri 'none'; form-action 'none'"
    )
    for tag, attributes in found.tags:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}, tag
        for name in ("src", "href", "srcset", "action"):
            assert attributes.get(name, "data:").startswith(("data:", "#"))
    assert not re.search(r"url\(|@import|https?:", html)
    assert len(html) < 2**21


def test_links_lead_to_sections_and_images_decode(html):
    found = Page(html)
    names = {attributes.get("id") for _, attributes in found.tags}
    links = found.all("a")
    assert links
    assert all(link["href"][1:] in names for link in links)
    pictures = found.all("img")
    # truth, the direct image and three methods: image and zoom, and all but the truth their error
    assert len(pictures) == 2 * (2 * 5 + 4)
    for picture in pictures:
        raw = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"), validate=True)
        with Image.open(io.BytesIO(raw)) as image:
            image.load()
            assert image.size == (int(picture["width"]), int(picture["height"]))
        assert picture["alt"]


def test_every_figure_leads_to_a_row_of_the_table(results, html):
    known = {row["row"] for row in rows(results)}
    wholes = {name.rpartition("/")[0] for name in known} | known
    found = [attributes["data-row"] for _, attributes in Page(html).tags if attributes.get("data-row")]
    assert len(found) > 40
    assert set(found) <= wholes
    figures = [
        attributes["data-row"] for tag, attributes in Page(html).tags if tag == "figure" if "data-row" in attributes
    ]
    assert set(figures) <= known


def test_the_numbers_on_the_page_are_those_of_the_table(results, html):
    values = [float(row["psnr"]) for row in rows(results) if row["row"].startswith("ct-18/tikhonov/tuned/")]
    assert f"{np.mean(values):.2f}" in html
    assert results.verdict("denoising").text[1:].replace("'", "&#39;") in html.replace("&#x27;", "&#39;")


def test_strange_names_do_no_harm(results):
    evil = "<script>alert(1)</script>\x1b[2J\" onload='x"
    worse = plan.Method(evil, f"{HERE}:shrunk")
    strange = Results(replace(results.suite, methods=(DIRECT, worse)))
    for problem in results.suite.problems:
        for method, source in ((DIRECT, DIRECT), (worse, guest(shrunk, kind="learned"))):
            unit = plan.Unit(problem, method, **results.suite.facts)
            strange.add(unit, dict(results.entry(problem, source).runs))
    text = page.render(strange, command=evil)
    assert [tag for tag, _ in Page(text).tags if tag == "script"] == ["script"]
    assert "\x1b" not in text


def test_a_page_of_nothing_yet(results):
    text = page.render(Results(results.suite))
    assert "This page is not complete: 16 of 16 measurements are missing" in text
    assert "Nothing is measured yet." in Page(text).words


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """<script>
window.addEventListener("load", () => {
  const table = document.querySelector("table.ranked"), heads = [...table.tHead.querySelectorAll("th")];
  const head = heads.find((th) => th.textContent.startsWith("SSIM")), column = head.cellIndex;
  const values = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.value));
  head.querySelector("button").click(); const down = values();
  head.querySelector("button").click(); const up = values();
  const images = [...document.images];
  const result = { down, up, sorted: head.getAttribute("aria-sort"), count: images.length,
    loaded: images.filter((image) => image.complete && image.naturalWidth > 0).length,
    requests: performance.getEntriesByType("resource").map((one) => one.name).filter((name) => !/^data:/.test(name)),
    wide: document.documentElement.scrollWidth - innerWidth };
  const output = document.createElement("output"); output.id = "found"; output.textContent = JSON.stringify(result);
  document.body.append(output);
});
</script></body>"""


@pytest.mark.filterwarnings("always::pytest.PytestWarning")
def test_the_page_works_in_a_browser(html, tmp_path):
    if CHROMIUM is None:
        message = "NO CHROMIUM HERE: the benchmark's page was not opened in a browser"
        warnings.warn(pytest.PytestWarning(message), stacklevel=2)
        pytest.skip("no chromium")
    # the probe is a second script, which the page's own policy would, rightly, forbid
    digest = base64.b64encode(hashlib.sha256(PROBE[8:-16].encode()).digest()).decode()
    probed = html.replace("script-src '", f"script-src 'sha256-{digest}' '", 1).replace("</body>", PROBE)
    (tmp_path / "page.html").write_text(probed, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    options += [
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1280,1000",
        "--enable-logging=stderr",
        "--v=0",
    ]
    done = subprocess.run(
        [CHROMIUM, *options, "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = re.search('<output id="found">(.*?)</output>', done.stdout)
    assert told, done.stderr
    found = json.loads(told[1])
    assert found["down"] == sorted(found["down"], reverse=True)
    assert found["up"] == sorted(found["down"])
    assert found["sorted"] == "ascending"
    assert found["loaded"] == found["count"] > 0
    assert found["requests"] == []
    assert found["wide"] <= 0
    assert "CONSOLE" not in done.stderr, done.stderr


# --- the command ---

QUICK = ["benchmark", "--quick", "--size", 32, "--tests", 2, "--tries", 2, "--workers", 1]
FEW = ["--problems", "ct-30,finer-2", "--methods", "direct,least-squares,fbp"]


@pytest.fixture
def here(monkeypatch):
    """Measure in this process: spawned ones would take longer to start than to work."""
    from invprob.cli import benchmark_run

    monkeypatch.setattr(benchmark_run, "measure_all", lambda suite, folder, **_: measure_all(suite, folder))


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The runs of the command's suite, measured once."""
    folder = tmp_path_factory.mktemp("runs")
    methods = [m for m in plan.registered() if m.name in ("direct", "least-squares", "fbp")]
    chosen = tuple(BY_NAME[name] for name in ("ct-30", "finer-2"))
    few = replace(plan.quick(methods), problems=chosen).resized(size=SIZE, tests=2, tries=2)
    assert all(runs for _, runs in measure_all(few, folder))
    return folder


@pytest.fixture
def measured(known, tmp_path):
    """The directory out, where everything is measured already."""
    shutil.copytree(known, tmp_path / "out" / "runs")


def test_the_command_measures_writes_and_resumes(invprob, here, tmp_path):
    done = invprob(*QUICK, *FEW, "-o", "out")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"measured +ct-30 least-squares: \d+\.\d\d dB, tuned \d+\.\d\d dB", done.out)
    assert "sparse-view CT: no learned method was measured" in done.out
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert content["complete"] is True
    assert content["settings"]["seeds"]["ct-30"] == ["organs test 0", "ellipses test 1"]
    assert content["command"].startswith("invprob benchmark --quick")
    with Image.open(tmp_path / "out" / "benchmark.png") as figure:
        assert figure.size[0] > 400
    assert (tmp_path / "out" / "benchmark.png").stat().st_size < 150_000
    before = (tmp_path / "out" / "benchmark.csv").read_text()
    kept = sorted(path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").iterdir())
    assert invprob(*QUICK, *FEW, "-o", "out").code == 0
    assert (tmp_path / "out" / "benchmark.csv").read_text() == before
    assert kept == sorted(path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").iterdir())


def test_what_got_worse_is_told_and_is_the_exit_code(invprob, here, measured, tmp_path):
    assert invprob(*QUICK, *FEW, "-o", "out").code == 0
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    same = invprob(*QUICK, *FEW, "-o", "out", "--compare", tmp_path / "out" / "benchmark.json")
    assert (same.code, "0 better, 0 worse, 0 broken, 0 new" in same.out) == (0, True)
    for entry in content["entries"]:
        if (entry["problem"], entry["method"], entry["mode"]) == ("ct-30", "least-squares", "tuned"):
            entry["psnr"]["mean"] += 1.0
    (tmp_path / "better.json").write_text(json.dumps(content))
    worse = invprob(*QUICK, *FEW, "-o", "out", "--compare", "better.json")
    assert worse.code == 5
    assert re.search(r"ct-30/least-squares/tuned +worse", worse.out)
    other = invprob(*QUICK[:-4], "--tries", 3, "--workers", 1, *FEW, "-o", "out", "--compare", "better.json")
    assert other.code == 3
    assert "tries 2 then, 3 now" in other.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--methods", "tikonov"], 2, "did you mean tikhonov"),
        (["--methods", "os:system"], 2, "'os:system' is code: say --plugin os, too"),
        (["--problems", "ct-31"], 2, "did you mean ct-30"),
        (["--compare", "none.json"], 3, "does not exist: check the path"),
        (["--size", "8"], 2, "--size"),
        (["--full"], 2, "--quick and --full: choose one"),
        (["-o", "full"], 2, "holds other things"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(invprob, tmp_path, arguments, code, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years")
    done = invprob("benchmark", "--quick", *arguments)
    assert done.code == code
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "benchmark" / "runs").exists()


def test_ctrl_c_keeps_what_is_done_and_the_command_goes_on(invprob, monkeypatch, tmp_path):
    from invprob.cli import benchmark_run

    def impatient(suite, folder, workers, plugins):
        for k, event in enumerate(measure_all(suite, folder)):
            if k == 2:
                signal.raise_signal(signal.SIGINT)
            yield event

    monkeypatch.setattr(benchmark_run, "measure_all", impatient)
    done = invprob(*QUICK, *FEW, "-o", "out")
    assert done.code == 130
    assert "4 of 6 are missing; the same command goes on" in done.err
    assert "This page is not complete: 4 of 6" in (tmp_path / "out" / "benchmark.html").read_text()
    assert json.loads((tmp_path / "out" / "benchmark.json").read_text())["complete"] is False
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").iterdir()}
    assert len(kept) == 6
    monkeypatch.setattr(benchmark_run, "measure_all", lambda suite, folder, **_: measure_all(suite, folder))
    assert invprob(*QUICK, *FEW, "-o", "out").code == 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())


# --- comparing ---


def content_of(**levels):
    entries = [
        {"problem": "p", "method": name, "mode": "auto", "status": "measured", "psnr": {"mean": level}}
        if level is not None
        else {"problem": "p", "method": name, "mode": "auto", "status": "failed", "reason": "why"}
        for name, level in levels.items()
    ]
    sizes = {"size": 32, "tests": 2, "validations": 1, "tries": 2}
    return {"format": tables.FORMAT, "settings": sizes, "tolerance": {"psnr": 0.25}, "entries": entries}


def test_changes_have_a_kind_and_a_tolerance():
    old = content_of(a=30.0, b=30.0, c=30.0, d=30.0, e=None, f=None)
    new = content_of(a=30.2, b=30.3, c=29.7, d=None, e=20.0, f=None, g=1.0)
    found = {change.name[2]: change.kind for change in comparison.compare(old, new).changes}
    kinds = {"a": "same", "b": "better", "c": "worse", "d": "broken", "e": "mended", "f": "same", "g": "new"}
    assert found == kinds
    assert {change.name[2] for change in comparison.compare(old, new).worse} == {"c", "d"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "else", "entries": []}', "[" * 100_000])
def test_what_is_no_benchmark_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json"):
        comparison.read(tmp_path / "a.json")
    damaged = content_of(a=1.0)
    del damaged["entries"][0]["psnr"]
    with pytest.raises(InputError, match="damaged"):
        comparison.compare(damaged, content_of(a=1.0))
    with pytest.raises(InputError, match="nothing to compare"):
        comparison.compare(content_of(b=1.0), content_of(a=1.0))


# --- peers ---


@pytest.mark.parametrize("name", PEERS)
def test_peers_that_are_installed_bring_the_image_nearer(name):
    method = next((m for m in benchmark_peers() if m.name == name), None)
    if method is None:
        pytest.skip(f"{PEERS[name][0]} is not installed")
    task = {
        "skimage-wiener": "blur-gaussian",
        "skimage-fill": "holes-random",
        "astra-sirt": "ct-30",
        "astra-cgls": "ct-30",
    }
    problem = BY_NAME[task.get(name, "noise-coloured")]
    found = results_of(plan.Suite((problem,), (DIRECT, method), SIZE, tests=1, validations=1, tries=3))
    entry = found.entry(problem, method)
    assert entry.run.reason == ""
    assert entry.of("psnr").mean > 18
    for other in (BY_NAME["few-4"], BY_NAME["wave-holes"], BY_NAME["cone-16"]):
        few = plan.Suite((other,), (method,), SIZE, tests=1, validations=1, tries=2)
        refused = results_of(few).entry(other, method)
        assert (name, other.name) == ("deepinv-tv", "few-4") or refused.run.status == "not for this"


def benchmark_peers():
    from invprob.benchmark.peers import installed

    return installed()


def test_no_label_hides_a_mark_or_another_label():
    """Twelve methods, of which six are alike: as crowded as the page gets."""
    rng = np.random.default_rng(0)
    places = np.concatenate([rng.uniform((60, 30), (260, 180), (6, 2)), rng.normal((200, 50), 9.0, (6, 2))])
    marks = [charts.Box(x - 4.5, y - 4.5, x + 4.5, y + 4.5) for x, y in places]
    taken, labels = list(marks), []
    for (x, y), name in zip(places, [m.name for m in plan.registered()], strict=False):
        labels.append(charts._free_place(x, y, name, taken))
        taken.append(labels[-1])
    for k, label in enumerate(labels):
        assert not any(label.overlap(mark) for mark in marks)
        assert not any(label.overlap(other) for other in labels[:k])


# --- docs/benchmark.md ---

DOCS = (Path(__file__).parents[1] / "docs" / "benchmark.md").read_text(encoding="utf-8")
BLOCKS = re.findall("```python\n(.*?)```", DOCS, re.DOTALL)


def test_the_documented_problem_can_be_measured():
    names = {**vars(problems), "Mask": Mask}
    head, _, row = BLOCKS[0].partition("\n\n\n")
    exec(head, names)
    problem = eval(row, names)
    found = results_of(plan.Suite((problem,), (DIRECT, LEAST), SIZE, tests=1, validations=1, tries=1))
    assert found.entry(problem, LEAST).measured


def test_the_documented_method_is_one_of_the_suite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = BLOCKS[1].replace("my_package.my_module:my_recipe", f"{HERE}:shrunk").replace("workers=2", "workers=0")
    code = code.replace("quick([*registered(), mine])", "quick([mine]).resized(size=32, tests=1, tries=1)")
    names = {"Path": Path}
    exec(code, names)
    assert names["results"].complete
    assert (tmp_path / "page.html").stat().st_size > 50_000


def test_the_documented_names_are_those_of_the_table():
    told = set(
        re.findall(r"`((?:ct|arc|dose|fan|cone|blur|noise|holes|finer|few|wave|mri|radial|dynamic|radar)-[\w]+)`", DOCS)
    )
    starred = set(re.findall(r"`([\w-]+)`\*", DOCS))
    assert told >= set(BY_NAME)
    assert told <= set(BY_NAME) | {"holes-random"}
    assert starred == set(problems.QUICK)
