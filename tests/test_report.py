"""The page: complete in itself, safe to open, and true to the result."""

import base64
import hashlib
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import Page
from PIL import Image

from invprob.certificate import Certificate
from invprob.errors import OutputError
from invprob.grid import Grid
from invprob.io.cfl import save_cfl
from invprob.methods import reconstruct
from invprob.metrics import quality
from invprob.operators import ConeBeam, Identity, ParallelBeam
from invprob.report import save_report, show
from invprob.report.comparison import save_comparison
from invprob.report.page import _scale_bar
from invprob.report.projections import save_projections
from invprob.result import Result
from invprob.scan import Scan, Units

SIZE = 32
EVIL = "<script>alert(1)</script>\x1b[2J\" onload='x"


@pytest.fixture
def scan():
    A = ParallelBeam((SIZE, SIZE), np.arange(10) * np.pi / 10, 40, pixel_size=0.5, detector_size=0.5)
    truth = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return Scan(A, A(truth), 0.1, truth, units=Units.attenuation("mm"))


@pytest.fixture
def result(scan):
    return Result(
        x=scan.truth + 0.1,
        units=scan.units,
        grid=Grid((0.5, 0.5), "mm"),
        status="converged",
        seconds=1.5,
        n_iter=torch.tensor(30),
        history={"iteration": torch.tensor([10, 20, 30]), "residual": torch.tensor([0.1, 0.01, 0.001])},
        command="invprob reconstruct scan.h5",
        item_status=("converged",),
        certificate=Certificate(residual_to_noise=torch.tensor(1.0), fixed_point_residual=torch.tensor(1e-4)),
        settings={"method": "tv", "strength": 0.0123},
        versions={"invprob": "0.1.0"},
        provenance={"source": "/somewhere/scan.h5", "digest": "sha256:abc"},
    )


@pytest.fixture
def page(tmp_path):
    def make(result, scan=None):
        save_report(tmp_path / "a.html", result, scan, overwrite=True)
        return (tmp_path / "a.html").read_text(encoding="utf-8")

    return make


def test_the_page_tells_the_story(page, result, scan):
    words = " ".join(Page(page(result, scan)).words.split())
    for expected in (
        "scan.h5",
        "32 x 32 pixels of 0.5 mm, method tv, 1.5 s",
        "Nothing that was checked speaks against this image.",
        "The residual is 1.00 times the noise of the data",
        "Truth on the same scale",
        "PSNR 20.0",
        "Relative change over the iterations",
        "invprob reconstruct scan.h5",
        "sha256:abc",
        "strength 0.0123",
        "iterations 30",
    ):
        assert expected in words


def test_only_what_is_known_at_two_steps_is_drawn(page, result, scan):
    for objective, drawn in (([math.nan, math.nan, math.inf], False), ([math.nan, 2.0, 1.0], True)):
        known = replace(result, history={**result.history, "objective": torch.tensor(objective)})
        assert ("Objective over the iterations" in page(known, scan)) is drawn


def test_only_strengths_that_were_tried_are_drawn(page, result, scan):
    title = "Expected error over the strengths tried"
    for strengths, scores, drawn in (
        ([0.1, math.nan, 0.3], [2.0, math.nan, 1.0], True),  # a row that has settled while its neighbours go on
        ([0.1, 0.2, 0.3], [0.0, 0.0, 0.0], False),  # data of zeros
        ([0.0, math.inf, 0.3], [2.0, 1.0, 1.0], False),
        ([0.1, 0.1, 0.1], [1.0, 1.0, 1.0], True),
    ):
        tried = {"trial_strength": torch.tensor(strengths), "trial_score": torch.tensor(scores)}
        known = replace(result, history={**result.history, **tried})
        assert (title in page(known, scan)) is drawn


def test_the_page_refers_to_nothing_outside(page, result, scan):
    text = page(result, scan)
    found = Page(text)
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in found.tags}
    for tag, attributes in found.tags:
        assert not {name for name in attributes if name.startswith("on")}, tag
        assert "style" not in attributes
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"url\(|@import|https?:", text)


def test_the_policy_allows_this_style_and_nothing_else(page, result, scan):
    text = page(result, scan)
    policy = next(m["content"] for m in Page(text).all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_the_pictures_decode(page, result, scan):
    pictures = Page(page(result, scan)).all("img")
    sizes = []
    for picture in pictures:
        raw = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"), validate=True)
        with Image.open(io.BytesIO(raw)) as image:
            image.load()
            sizes.append(image.size)
        assert picture["alt"]
    assert sizes[:4] == [(SIZE, SIZE), (SIZE, SIZE), (SIZE, SIZE), (40, 10)]
    assert len(sizes) == 5


def test_what_comes_out_of_files_is_escaped(page, result, scan):
    evil = replace(
        result,
        command=EVIL,
        settings={EVIL: EVIL},
        versions={"a": EVIL},
        provenance={"source": EVIL, EVIL: EVIL},
        units=Units(length=EVIL, image=EVIL, data=EVIL),
        certificate=replace(result.certificate, notes=(EVIL,)),
        grid=Grid((1.0, 1.0), EVIL),
    )
    text = page(evil, scan)
    found = Page(text)
    assert not found.all("script")
    assert "<script" not in text
    assert "\x1b" not in text
    assert not any("onload" in attributes for _, attributes in found.tags)


@pytest.mark.parametrize("change", ["complex", "stack", "bare", "not finite", "flat", "wide"])
def test_results_of_every_kind_have_a_page(page, result, scan, change):
    image = result.x
    changes = {
        "complex": {"x": image * 1j},
        "stack": {"x": image.expand(3, SIZE, SIZE), "item_status": ("converged",) * 3},
        "bare": {
            "grid": None,
            "history": {},
            "n_iter": torch.zeros(0),
            "seconds": float("nan"),
            "provenance": {},
            "certificate": None,
        },
        "not finite": {"x": torch.full_like(image, torch.nan)},
        "flat": {"x": torch.zeros_like(image)},
        "wide": {"x": torch.rand(20, 3000)},
    }
    with_scan = scan if change in ("complex", "flat") else None
    if change == "stack":
        with_scan = replace(scan, data=scan.data.expand(3, -1, -1), truth=scan.truth.expand(3, -1, -1))
    words = Page(page(replace(result, **changes[change]), with_scan)).words
    assert ("Image 1 of 3" in " ".join(words.split())) == (change == "stack")
    assert ("nothing of it was checked" in words) == (change == "bare")
    assert ("Image magnitude" in " ".join(words.split())) == ("Phase" in words) == (change == "complex")


def test_a_page_is_not_overwritten_unasked(tmp_path, result):
    save_report(tmp_path / "a.html", result)
    with pytest.raises(OutputError, match="--overwrite"):
        save_report(tmp_path / "a.html", result)


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("a.html", "report.page"),
        ("b.html", "report.comparison"),
        ("a.png", "report.picture"),
        ("b.png", "report.projections"),
        ("a.cfl", "io.cfl"),
    ],
)
def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, monkeypatch, result, scan, name, room):
    path = tmp_path / name
    axes = (np.arange(4.0), np.arange(5.0), np.arange(6.0))
    write = {
        "a.html": lambda: save_report(path, result),
        "b.html": lambda: save_comparison(path, {"tv": result}, scan),
        "a.png": lambda: show(result).save(path),
        "b.png": lambda: save_projections(path, torch.rand(4, 5, 6), axes),
        "a.cfl": lambda: save_cfl(path, np.ones(3)),
    }

    def appears(given, *_, **__):
        Path(given).write_text("precious")
        return Path(given)

    monkeypatch.setattr(f"invprob.{room}.check_output", appears)
    with pytest.raises(OutputError, match="has appeared in the meantime"):
        write[name]()
    assert path.read_text() == "precious"
    assert not list(tmp_path.glob("*.partial"))


def test_samples_and_spread_are_shown(page, result):
    samples = result.x + torch.randn(5, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    words = " ".join(Page(page(replace(result, samples=samples, spread=samples.std(0)))).words.split())
    assert "Spread standard deviation of every value" in words
    assert "mean of 5 draws" in words
    assert "90 % intervals" not in words
    assert [f"Sample {i} of 5" in words for i in range(1, 5)] == [True, True, True, False]


def test_with_a_truth_the_page_checks_the_spread(page, scan):
    truth = scan.truth
    spread = torch.full_like(truth, 0.1)
    error = 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    samples = truth + error + 0.1 * torch.randn(6, *truth.shape, generator=torch.Generator().manual_seed(2))
    found = Page(page(replace(reconstruct(scan, "fbp"), x=truth + error, spread=spread, samples=samples), scan))
    words = " ".join(found.words.split())
    covered = float(re.search(r"inside 90 % intervals ([\d.]+)%", words)[1])
    assert covered == pytest.approx(100 * float(((error.abs() / spread) <= 1.6449).double().mean()), abs=0.06)
    assert float(re.search(r"error of their mean ([\d.]+)", words)[1]) == pytest.approx(1, abs=0.25)
    assert any("promise" in image["alt"] for image in found.all("img"))


def test_what_reconstruct_returns_has_a_page(page, scan):
    result = reconstruct(scan, "fbp")
    words = " ".join(Page(page(result)).words.split())
    assert "32 x 32 pixels of 0.5 mm, method fbp" in words
    assert "Truth" not in words
    assert "Truth" in Page(page(result, scan)).words


@pytest.mark.parametrize(("spacing", "size"), [((3.0, 1.0), (8, 24)), ((1.0, 1.0), (8, 8))])
def test_pixels_are_shown_in_proportion(page, result, spacing, size):
    image = Page(page(replace(result, x=torch.rand(8, 8), grid=Grid(spacing, "mm")))).all("img")[0]
    assert (int(image["width"]), int(image["height"])) == size


def test_of_a_volume_image_and_truth_show_the_same_slice(page):
    """On version 0.1 the picture was slice 0, and the quality that of slice 0 against the middle one of the truth."""
    A = ConeBeam((12, 16, 16), np.arange(8) * np.pi / 4, (14, 20), source_distance=60.0, detector_distance=20.0)
    truth = torch.rand(12, 16, 16, generator=torch.Generator().manual_seed(0))
    scan = Scan(A, A(truth), truth=truth, units=Units.attenuation("mm"))
    x = truth + 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    result = Result(x, "converged", ("converged",), torch.tensor(3), 1.0, {}, None).of_scan(scan)
    found = Page(page(result, scan))
    words = " ".join(found.words.split())
    assert "12 x 16 x 16 voxels of 1 mm" in words
    assert "Image slice 6 of 12" in words
    assert "Truth slice 6 of 12, on the same scale" in words
    assert "Data view 4 of 8" in words
    assert "rows" not in words
    assert f"PSNR {float(quality(x, truth, ndim=3)['PSNR']):.2f} dB" in words
    image, shown_truth, error = (decoded(picture) for picture in found.all("img")[:3])
    window = show(x, 3)
    expected = (truth[6].double() - window.low) / (window.high - window.low)
    np.testing.assert_allclose(shown_truth / 255, expected.clamp(0, 1), atol=0.01)
    assert np.abs(image / 255.0 - shown_truth / 255.0).mean() < 0.1
    assert error.ndim == 3


def test_a_complex_image_is_compared_as_it_is(page):
    A = Identity((16, 16))
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(16, 16, dtype=torch.complex64, generator=generator)
    scan = Scan(A, truth, truth=truth)
    result = Result(1j * truth, "converged", ("converged",), torch.tensor(3), 1.0, {}, None).of_scan(scan)
    words = " ".join(Page(page(result, scan)).words.split())
    assert "Image magnitude" in words
    assert "relative error 141.42%" in words  # |1j t - t| = sqrt(2) |t|, though the magnitudes are the same
    assert "Phase of the truth" in words
    assert words.count("grey where the magnitude is below 2 % of white") == 2


def test_a_scan_of_other_items_is_refused(page, result):
    scan = Scan(Identity((3, 8, 8)), torch.rand(3, 8, 8))
    with pytest.raises(ValueError, match="items of 2 axes, the scan of 3"):
        page(result, scan)
    A = Identity((40, 40))
    for larger in (Scan(A, torch.rand(40, 40)), Scan(A, torch.rand(40, 40), truth=torch.rand(40, 40))):
        with pytest.raises(ValueError, match=r"items of shape \(32, 32\), the scan of \(40, 40\): give the scan"):
            page(result, larger)


def test_a_scan_of_another_batch_is_refused(page, result, scan):
    five = Scan(Identity((SIZE, SIZE)), torch.rand(5, SIZE, SIZE), truth=torch.rand(5, SIZE, SIZE))
    with pytest.raises(ValueError, match=r"a batch of shape \(\), the scan of \(5,\): give the scan"):
        page(result, five)
    stack = replace(result, x=five.truth, item_status=("converged",) * 5)
    assert "Truth" in page(stack, five)
    with pytest.raises(ValueError, match=r"a batch of shape \(5,\), the scan of \(\)"):
        page(stack, scan)


def decoded(picture):
    raw = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"), validate=True)
    with Image.open(io.BytesIO(raw)) as image:
        return np.asarray(image)


def test_the_scale_bar_of_a_plane_of_a_volume_is_of_that_plane(result):
    plane = replace(result, x=torch.zeros(32, 50, 1), grid=Grid((0.006, 0.01, 0.0001), "m"), ndim=3)
    assert _scale_bar(plane) == ("0.1 m", pytest.approx(0.2))


@pytest.mark.parametrize(
    ("width", "pixel", "bar"), [(128, 2.0, "50 mm"), (640, 0.003, "0.2 mm"), (100, None, "20 pixels")]
)
def test_the_scale_bar_is_a_round_length(result, width, pixel, bar):
    grid = None if pixel is None else Grid((pixel, pixel), "mm")
    text, share = _scale_bar(replace(result, x=torch.zeros(4, width), grid=grid))
    assert text == bar
    assert share * width * (pixel or 1) == pytest.approx(float(bar.split()[0]))
