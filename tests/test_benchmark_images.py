"""The benchmark over images of any shape and kind: volumes, colours, complex ones, those that are no squares."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pages import Page
from skimage.metrics import structural_similarity

from invprob.benchmark import page, plan, tables
from invprob.benchmark.drawing_methods import samplers
from invprob.benchmark.problems import BODIES, PICTURES, PROBLEMS, Problem, cases
from invprob.benchmark.results import Results
from invprob.benchmark.store import Store
from invprob.benchmark.suite_runs import measure_all
from invprob.linop import Operator
from invprob.methods import Progress, find_recipe, settings_of
from invprob.methods.reporting import direct_result
from invprob.phantoms import random_ellipses
from invprob.phantoms.ellipsoids import random_ellipsoids
from invprob.phantoms.instruments import INSTRUMENTS, Instrument, gauss, instrument
from invprob.phantoms.random import as_generator, uniform
from invprob.phantoms.scenes import PHANTOMS, phantom
from invprob.sampling import PRESETS

SIZE = 32
BY_NAME = {problem.name: problem for problem in PROBLEMS}
DIRECT, FBP = (next(m for m in plan.registered() if m.name == name) for name in ("direct", "fbp"))


# --- guests: methods of somebody else's, found by "module:function" ---


def turned(problem):
    """The direct reconstruction, its phase wrong by one radian."""
    x = problem.A.direct(problem.y) * torch.exp(torch.tensor(1j))
    yield Progress("", 1, 1, 0.0, lambda: direct_result(problem, x, {}))


def sampler(problem):
    """A method that draws samples, tells how sure it is, and has no certificate and no residual."""
    x = problem.A.direct(problem.y)
    samples = torch.stack([1.25 * x, 0.75 * x])
    result = replace(direct_result(problem, x, {}), certificate=None, samples=samples, spread=0.25 * x.abs())
    yield Progress("", 1, 1, None, lambda: result)


TURNED = plan.Method("turned", f"{__name__}:turned")
SAMPLER = plan.Method("sampler", f"{__name__}:sampler", "learned")


def results_of(suite):
    results = Results(suite)
    for unit, runs in measure_all(suite):
        results.add(unit, runs)
    return results


# --- problems ---


def wide(size):
    return size, 3 * size // 2


def tall(size):
    return 2 * size, size


_QUIET = BY_NAME["ct-30"].noise  # 1 % and white
OBLONG = (
    Problem("wide-parallel", "oblong", "", instrument("parallel-beam", views=30), BODIES, _QUIET, wide),
    Problem("tall-fan", "oblong", "", instrument("fan-beam", views=45), BODIES, _QUIET, tall),
    Problem("wide-blur", "oblong", "", instrument("blur", kernel=gauss), PICTURES, _QUIET, wide),
    Problem("tall-noise", "oblong", "", instrument("camera"), PICTURES, BY_NAME["noise-coloured"].noise, tall),
    Problem("wide-pixels", "oblong", "", instrument("large-pixels", factor=2), PICTURES, _QUIET, wide),
    Problem("tall-few", "oblong", "", instrument("random-projection", pixels=4), PICTURES, _QUIET, tall),
    Problem("wide-box", "oblong", "", instrument("box"), ("leaf-waves",), _QUIET, wide),
)
OF_ANY_KIND = (*(BY_NAME[name] for name in ("cone-16", "holes-colour", "wave-blur", "wave-holes")), OBLONG[0])


@pytest.fixture(scope="module")
def of_any_kind():
    """A volume, a picture in colour, complex ones and one that is no square, by methods that are quick."""
    return results_of(plan.Suite(OF_ANY_KIND, (DIRECT, FBP, TURNED, SAMPLER), SIZE, tests=1, validations=1, tries=1))


@pytest.mark.parametrize("problem", OBLONG, ids=lambda p: p.name)
def test_images_need_not_be_squares(problem):
    test = cases(problem, SIZE, "test", 2)
    assert test.truth.shape == (2, *problem.shape(SIZE))
    misfit = test.scan.operator(test.truth) - test.scan.data
    assert 0.5 < float(misfit.abs().square().mean().sqrt() / test.scan.noise.mean()) < 4


@pytest.mark.parametrize("problem", OF_ANY_KIND, ids=lambda p: p.name)
def test_a_method_measures_images_of_any_kind_or_says_why_not(of_any_kind, problem):
    for name in ("direct", "sampler", "turned"):
        entry = next(e for e in of_any_kind.ranking(problem) if e.method.name == name)
        assert entry.run.reason == ""
        truth = cases(problem, SIZE, "test", 1).truth[0].to(torch.complex128)
        assert entry.run.image.shape == truth.shape
        # what scikit-image calls the peak signal-to-noise ratio, of complex numbers
        error = (torch.from_numpy(entry.run.image) - truth).abs().square().mean().item()
        assert entry.run.columns["psnr"] == pytest.approx([-10 * math.log10(error)], abs=1e-5)
    fbp = of_any_kind.entry(problem, FBP)
    assert fbp.measured == (fbp.problem.name in ("cone-16", "wide-parallel"))
    assert fbp.measured or (fbp.run.status, "fbp is for" in fbp.run.reason) == ("not for this", True)


def test_a_wrong_phase_is_an_error_and_no_imaginary_part_is_dropped(of_any_kind):
    for problem in OF_ANY_KIND:
        right, wrong = (of_any_kind.entry(problem, method) for method in (DIRECT, TURNED))
        assert np.iscomplexobj(wrong.run.image)
        assert np.iscomplexobj(right.run.image) == (problem.family == "complex images")
        assert wrong.of("psnr").mean < right.of("psnr").mean - 1
        assert wrong.of("nrmse").mean > 0.5
        if problem.family == "complex images":  # similarity is that of magnitudes
            assert wrong.of("ssim").mean == pytest.approx(right.of("ssim").mean)


def test_similarity_is_that_of_scikit_image_for_volumes_and_colours(of_any_kind):
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    for name, axis in (("cone-16", None), ("holes-colour", 0)):
        problem = BY_NAME[name]
        run = of_any_kind.entry(problem, DIRECT).run
        truth = cases(problem, SIZE, "test", 1).truth[0].double().numpy()
        found = structural_similarity(truth, run.image.astype(np.float64), channel_axis=axis, **options)
        assert run.columns["ssim"][0] == pytest.approx(found, abs=1e-6)


def test_what_a_method_tells_of_its_doubts_is_measured_kept_and_shown(of_any_kind, tmp_path):
    store = Store(tmp_path)
    for problem in OF_ANY_KIND:
        entry = of_any_kind.entry(problem, SAMPLER)
        size = float(np.sqrt(np.mean(np.abs(entry.run.image.astype(complex)) ** 2)))
        assert entry.run.columns["spread"] == pytest.approx([0.25 * size])
        assert 0 <= entry.run.columns["coverage"][0] <= 1
        assert entry.run.columns["calibration"][0] > 0
        assert entry.run.certificate == {}
        store.put(problem.name, entry.run)
        found = store.get(problem.name)
        for name in ("image", "spread", "sample"):
            assert np.array_equal(getattr(found, name), getattr(entry.run, name))
            assert getattr(found, name).dtype == getattr(entry.run, name).dtype
        assert np.allclose(entry.run.sample, 1.25 * entry.run.image)
    told = {
        (row["problem"], row["method"]): row["spread"]
        for row in csv.DictReader(io.StringIO(tables.as_csv(of_any_kind)))
        if row["mode"] == "auto"
    }
    assert float(told["cone-16", "sampler"]) > 0
    assert told["cone-16", "direct"] == ""
    assert json.dumps(tables.as_json(of_any_kind), allow_nan=False)


def test_every_preset_is_a_method_where_it_is_named():
    known = {method.name: method for method in samplers()}
    assert set(known) == set(PRESETS) - {"prior"}
    assert find_recipe(known["flower"].target) is find_recipe("flower")
    song = find_recipe(known["song"].target)
    assert (song.__name__, settings_of(song)) == ("song", settings_of(find_recipe("flower")))
    assert not set(known) & {method.name for method in plan.registered()}


def test_the_page_shows_images_of_any_kind(of_any_kind):
    found = Page(page.render(of_any_kind))
    pictures = {image["alt"]: image for image in found.all("img")}
    assert {"truth, phase", "sampler, a sample", "sampler, standard deviation", "turned, error"} <= set(pictures)
    sizes = {(image["width"], image["height"]) for image in found.all("img") if image["alt"] == "truth"}
    assert sizes == {("16", "16"), ("32", "32"), ("48", "32")}
    assert "12 x 16 x 16 voxels; the pictures show slice 6 of 12" in found.words
    assert "Images of 32 x 32 pixels, 3 channels." in found.words
    assert "Images of 32 x 32 pixels, complex; the pictures show magnitude" in found.words
    assert "size of image minus truth" in found.words


class Squares(Operator):
    """y = x^2, which is not linear."""

    def _forward(self, x):
        return x * x


def squaring(shape):
    A = Squares(shape, shape)
    return Instrument(A, lambda scene: A(scene.truth))


def test_instruments_need_not_be_linear():
    problem = Problem("squares", "not linear", "squares", squaring, PICTURES, _QUIET)
    entry = results_of(plan.Suite((problem,), (FBP,), SIZE, tests=1, validations=1, tries=1)).entry(problem, FBP)
    assert entry.run.status == "not for this"
    assert "linear" in entry.run.reason


def test_phantoms_and_instruments_are_found_by_their_names():
    assert all(row.about for table in (PHANTOMS, INSTRUMENTS) for row in table.values())
    with pytest.raises(ValueError, match="did you mean organs"):
        phantom("organ")
    with pytest.raises(ValueError, match="did you mean fan-beam"):
        instrument("fan")
    with pytest.raises(ValueError, match="2 axes of space"):
        PHANTOMS["organs"].draw((4, 16, 16), as_generator(0))
    own = phantom("invprob.phantoms.scenes:_organs")
    assert torch.equal(own((16, 16), as_generator(3)).fine, phantom("organs")((16, 16), as_generator(3)).fine)


def test_a_body_of_ellipsoids_has_their_volume_at_every_resolution():
    generator = as_generator(5)
    body = random_ellipses(0.95, generator, 1)
    half = float(uniform(generator, 0.8, 0.95, 1)) * 0.75  # of 24 slices of 1/16
    volume = float(body.values[0]) * 4 / 3 * math.pi * float(body.semi_axes[0].prod()) * half
    assert float(random_ellipsoids((24, 32, 32), 5, count=1).sum()) / 16**3 == pytest.approx(volume, rel=1e-3)
    fine, coarse = (random_ellipsoids((n, 2 * n, 2 * n), 7) for n in (32, 16))
    means = torch.nn.functional.avg_pool3d(fine[None], 2)[0]
    assert torch.dist(means, coarse) < 0.01 * coarse.norm()
    assert float(fine.min()) >= 0
