"""Methods and weights of the user's own: plain functions, recipes in files, networks by their path."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch

from invprob import Scan, load_result, reconstruct, registry, save_scan
from invprob.methods import settings_of
from invprob.operators import Mask
from invprob.priors import load_pretrained
from invprob.priors.networks.pretrained import WEIGHTS

PLUGIN = """
def doubled(scan, factor=2.0, *, offset=0.0):
    return factor * scan.operator.adjoint(scan.data) + offset

def plain(x):
    return x

def broken(problem, *, strength=1.0):
    raise RuntimeError("never asked")
"""


ONES = np.ones(3)


def masked(batch=()):
    known = torch.rand(12, 12, generator=torch.Generator().manual_seed(0)) < 0.7
    data = torch.rand(*batch, 12, 12, generator=torch.Generator().manual_seed(1)) * known
    return Scan(Mask(known), 48.0 * data, noise=0.1)


def doubled(scan, factor=2.0, *, offset=0.0):
    return factor * scan.operator.adjoint(scan.data) + offset


@pytest.mark.parametrize("batch", [(), (3,)])
def test_a_plain_function_is_a_method_in_the_units_of_the_scan(batch):
    scan = masked(batch)
    result = reconstruct(scan, doubled, offset=7.0)
    assert torch.allclose(result.x, 2 * scan.data + 7.0)  # an offset has the scan's unit, and was not scaled
    assert result.settings == {"method": "doubled", "offset": 7.0}
    residual = (scan.operator(result.x) - scan.data).flatten(-2).norm(dim=-1)
    due = residual / (0.1 * float(scan.operator.measured.sum()) ** 0.5)
    assert torch.allclose(result.certificate.residual_to_noise, due.double(), rtol=1e-4)


def test_what_is_no_function_but_can_be_called_is_a_method_too():
    thrice = partial(doubled, factor=3.0)
    scan = masked()
    assert torch.equal(reconstruct(scan, thrice).x, 3.0 * scan.data)
    with pytest.raises(ValueError, match="doubled has no setting 'ofset'"):
        reconstruct(scan, thrice, ofset=2.0)


def test_its_settings_are_all_but_the_first_argument():
    assert settings_of(doubled) == {"factor": 2.0, "offset": 0.0}
    with pytest.raises(ValueError, match="doubled has no setting 'faktor'; did you mean factor"):
        reconstruct(masked(), doubled, faktor=1.0)


def test_its_settings_come_as_they_are_given():
    given = {}

    def method(scan, levels="auto", kernel=ONES, seed=None, tol=1e-3):
        given.update(levels=levels, kernel=kernel, seed=seed, tol=tol)
        return scan.data

    settings = {"levels": 3, "kernel": 3, "seed": -1, "tol": np.float32(0.5)}
    reconstruct(masked(), method, **settings)
    assert given == settings
    assert isinstance(given["levels"], int)
    reconstruct(masked(), method, tol=10**30)
    assert isinstance(given["tol"], float)
    with pytest.raises(ValueError, match="tol of method must be a number >= 0"):
        reconstruct(masked(), method, tol=np.float32("inf"))


def test_numpy_arrays_are_images_and_other_things_are_not():
    scan = masked()
    result = reconstruct(scan, lambda scan: np.asarray(scan.data, dtype=np.float64))
    assert torch.equal(result.x, scan.data)
    with pytest.raises(ValueError, match="returned NoneType, not an image"):
        reconstruct(scan, lambda scan: None)
    with pytest.raises(ValueError, match=r"shape \(5,\) where \(12, 12\) is due"):
        reconstruct(scan, lambda scan: torch.zeros(5))


def test_a_plugin_is_run_where_the_user_says_so(invprob, tmp_path):
    scan = masked()
    save_scan("scan.h5", scan)
    (tmp_path / "door_plugin.py").write_text(PLUGIN)
    line = ("reconstruct", "scan.h5", "--method", "door_plugin:doubled", "--set", "factor=3")
    refused = invprob(*line)
    assert refused.code == 2
    assert "say --plugin door_plugin, too, if you trust it" in refused.err
    for plugin in ("door_plugin.py", "door_plugin"):
        done = invprob(*line, "--plugin", plugin, "--overwrite")
        assert done.code == 0, done.err
    assert torch.allclose(load_result("scan_doubled.h5").x, 3 * scan.data)
    both = invprob("reconstruct", "scan.h5", "--plugin", "door_plugin", "--method", "direct,door_plugin:doubled")
    assert both.code == 0, both.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--plugin", "no_such_module"], "--plugin no_such_module: ModuleNotFoundError"),
        (["--plugin", "plugin_two.py", "--method", "plugin_two:nothing"], "is no method"),
        (
            ["--plugin", "plugin_two.py", "--method", "plugin_two:doubled", "--set", "faktor=1"],
            "no setting 'faktor'",
        ),
        (["--plugin", "plugin_two.py", "--method", "os:getcwd"], "say --plugin os"),
    ],
)
def test_a_plugin_that_is_none_is_a_wrong_command_line(invprob, tmp_path, arguments, words):
    save_scan("scan.h5", masked())
    (tmp_path / "plugin_two.py").write_text(PLUGIN)
    done = invprob("reconstruct", "scan.h5", *arguments)
    assert (done.code, words in done.err) == (2, True), done.err


def test_the_benchmark_takes_own_methods(invprob, tmp_path):
    (tmp_path / "door_plugin3.py").write_text(PLUGIN)
    sizes = ("--size", "32", "--tests", "1", "--validations", "1", "--workers", "1", "--problems", "holes-random")
    names = ("--quick", *sizes, "--methods", "direct,door_plugin3:doubled")
    assert "say --plugin door_plugin3" in invprob("benchmark", *names).err
    done = invprob("benchmark", *names, "--plugin", "door_plugin3.py")
    assert done.code == 0, done.err
    entries = json.loads((tmp_path / "benchmark" / "benchmark.json").read_text())["entries"]
    assert {e["method"] for e in entries if e["status"] == "measured"} == {"direct", "door_plugin3:doubled"}


def test_rows_that_a_plugin_adds_to_the_tables_reach_the_workers(invprob, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))
    row = 'registry.METHODS["twice"] = registry.Method("door_plugin4:doubled", "classical", "twice the adjoint")'
    (tmp_path / "door_plugin4.py").write_text(f"from invprob import registry\n{row}\n{PLUGIN}")
    sizes = ("--size", "32", "--tests", "1", "--validations", "1", "--workers", "1", "--problems", "holes-random")
    done = invprob("benchmark", "--quick", *sizes, "--methods", "direct,twice", "--plugin", "door_plugin4.py")
    assert done.code == 0, done.err
    entries = json.loads((tmp_path / "benchmark" / "benchmark.json").read_text())["entries"]
    assert {e["method"] for e in entries if e["status"] == "measured"} == {"direct", "twice"}


def test_weights_of_ones_own_go_by_their_path(tmp_path):
    for end in ("safetensors", "json"):
        shutil.copy(WEIGHTS / f"lpn-phantoms.{end}", tmp_path / f"mine.{end}")
    path = str(tmp_path / "mine.safetensors")
    x = torch.rand(8, 8)
    assert torch.equal(load_pretrained(path).prox(x, 1.0), load_pretrained("lpn-phantoms").prox(x, 1.0))
    scan = masked()
    by_path, by_name = (reconstruct(scan, "lpn", network=n, strength=0.1, max_iter=2) for n in (path, "lpn-phantoms"))
    assert torch.equal(by_path.x, by_name.x)


def test_the_list_names_weights_problems_and_readers(invprob):
    told = invprob("list").out
    for name in (
        "lpn-natural-like",
        "denoiser-colour",
        "blur-gaussian",
        "dose-1e3",
        "nxtomo",
        "organ",
        "near-field-mimo",
    ):
        assert name in told
