"""The page: complete in itself, safe to open, and true to the result."""

import base64
import hashlib
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from pages import Page
from PIL import Image

from invprob.errors import OutputError
from invprob.io import StoredResult
from invprob.operators import ParallelBeam
from invprob.report import save_report
from invprob.report.page import _scale_bar
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
    return StoredResult(
        image=scan.truth + 0.1,
        units=scan.units,
        pixel_size=0.5,
        status="converged",
        seconds=1.5,
        n_iter=torch.tensor(30),
        history={"iteration": torch.tensor([10, 20, 30]), "residual": torch.tensor([0.1, 0.01, 0.001])},
        command="invprob reconstruct scan.h5",
        item_status=("converged",),
        certificate={"residual_to_noise": 1.0, "fixed_point_residual": 1e-4},
        settings={"method": "tv", "strength": 0.0123},
        versions={"invprob": "0.1.0"},
        provenance={"source": "/somewhere/scan.h5", "digest": "sha256:abc"},
    )


@pytest.fixture
def page(tmp_path):
    def make(result, scan=None):
        save_report(tmp_path / "a.html", result, scan=scan, overwrite=True)
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
        certificate=result.certificate | {"notes": [EVIL]},
    )
    text = page(evil, scan)
    found = Page(text)
    assert not found.all("script")
    assert "<script" not in text
    assert "\x1b" not in text
    assert not any("onload" in attributes for _, attributes in found.tags)


@pytest.mark.parametrize("change", ["complex", "stack", "bare", "not finite", "flat", "wide"])
def test_results_of_every_kind_have_a_page(page, result, scan, change):
    image = result.image
    changes = {
        "complex": {"image": image * 1j},
        "stack": {"image": image.expand(3, SIZE, SIZE), "item_status": ("converged",) * 3},
        "bare": {
            "pixel_size": None,
            "history": {},
            "n_iter": None,
            "seconds": None,
            "provenance": {},
            "certificate": {},
        },
        "not finite": {"image": torch.full_like(image, torch.nan)},
        "flat": {"image": torch.zeros_like(image)},
        "wide": {"image": torch.rand(20, 3000)},
    }
    with_scan = scan if change in ("complex", "stack", "flat") else None
    words = Page(page(replace(result, **changes[change]), with_scan)).words
    assert ("middle one of 3 rows" in words) == (change == "stack")


def test_a_page_is_not_overwritten_unasked(tmp_path, result):
    save_report(tmp_path / "a.html", result)
    with pytest.raises(OutputError, match="--overwrite"):
        save_report(tmp_path / "a.html", result)


@pytest.mark.parametrize(
    ("width", "pixel", "bar"), [(128, 2.0, "50 mm"), (640, 0.003, "0.2 mm"), (100, None, "20 pixel")]
)
def test_the_scale_bar_is_a_round_length(width, pixel, bar):
    text, share = _scale_bar(width, pixel, "mm")
    assert text == bar
    assert share * width * (pixel or 1) == pytest.approx(float(bar.split()[0]))
