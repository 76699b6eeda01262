"""What results and scans show of themselves, and what the command line shows of a result."""

import sys
from types import SimpleNamespace
from typing import ClassVar

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

import invprob
from invprob import Scan, load_result, reconstruct, save_scan, watch
from invprob.cli.errors import UsageError
from invprob.cli.trials import trials_of
from invprob.grid import Units
from invprob.operators import Identity, Mask, ParallelBeam
from invprob.report.views import slices_of


def make_scan(rows=0):
    A = ParallelBeam((16, 16), np.arange(12) * np.pi / 12, 24, pixel_size=2.0, detector_size=2.0)
    truth = torch.zeros(*([rows] if rows else []), 16, 16)
    truth[..., 4:10, 5:12] = 0.02
    return Scan(A, A(truth), 0.01, truth, units=Units.attenuation("mm"))


def test_scans_and_results_are_short_in_words():
    scan = make_scan()
    assert repr(scan).startswith("Scan(ParallelBeam(16 x 16")
    assert repr(scan).endswith("data 12 x 24, noise 0.01, truth)")
    result = invprob.reconstruct(scan, "fbp")
    assert repr(result).startswith("Result(16 x 16 pixels of 2 mm, values in 1/mm, fbp, converged, in ")
    assert len(repr(result)) < 120


def test_notebooks_see_a_picture_and_a_verdict():
    scan = make_scan()
    html = invprob.reconstruct(scan, "fbp")._repr_html_()
    assert 'src="data:image/png;base64,' in html
    assert "this image" in html
    assert "16 x 16 pixels of 2 mm" in html
    assert "ParallelBeam(16 x 16" in scan._repr_html_()
    scary = Scan(scan.operator, scan.data, provenance={"source": "<script>alert(1)</script>"})
    assert "<script>" not in scary._repr_html_()


@pytest.mark.parametrize("shape", [(5, 6, 7), (40, 6, 7)])
def test_notebooks_have_a_slider_for_volumes(shape):
    volume = torch.arange(float(np.prod(shape))).reshape(shape)
    scan = Scan(Identity(shape), volume)
    result = invprob.reconstruct(scan, "direct")
    pictures = slices_of(result)
    assert len(pictures) == (5 if len(volume) == 5 else 20)
    for picture in pictures:
        number = int(picture.caption.split()[1])
        assert picture.caption == f"slice {number} of {len(volume)}"
        assert np.array_equal(picture.values, result.x[number].double().numpy())
    assert len({(picture.low, picture.high) for picture in pictures}) == 1
    html = result._repr_html_()
    assert html.count("display:none") == len(pictures) - 1
    assert '<input type="range" min="0"' in html


def test_a_slider_goes_through_the_images_of_a_batch():
    result = invprob.reconstruct(make_scan(rows=3), "fbp")
    assert [picture.caption for picture in slices_of(result)] == ["image 0 of 3", "image 1 of 3", "image 2 of 3"]
    assert "range" not in invprob.reconstruct(make_scan(), "fbp")._repr_html_()


def test_a_result_is_shown_as_it_knows_itself():
    result = invprob.reconstruct(make_scan(), "fbp")
    due = invprob.show(result.x, 2, grid=result.grid)
    assert np.array_equal(invprob.show(result).values, due.values)


def test_a_plot_has_axes_in_units_of_length():
    mpl.use("Agg")
    from matplotlib import pyplot

    axes = invprob.reconstruct(make_scan(), "fbp").plot(window=(0.0, 0.02))
    assert axes.get_xlabel() == "mm"
    assert axes.get_xlim() == (0.0, 32.0)
    assert axes.images[0].get_clim() == (0.0, 0.02)
    pyplot.close(axes.figure)


def test_what_was_forgotten_comes_later(invprob, tmp_path):
    save_scan(tmp_path / "scan.h5", make_scan(rows=3))
    assert invprob("reconstruct", "scan.h5", "--method", "fbp", "-o", "r.h5").code == 0
    done = invprob("show", "r.h5", "--slice", "2", "--window", "0:0.02", "--png", "p.png", "--npy", "p.npy")
    assert (done.code, done.err) == (0, "")
    x = load_result("r.h5").x[2]
    assert np.array_equal(np.load("p.npy"), x.numpy())
    with Image.open("p.png") as picture:
        assert np.array_equal(np.asarray(picture), (255 * (x / 0.02).clamp(0, 1)).round().to(torch.uint8).numpy())
    for arguments, words in (
        (["--slice", "3"], "there are 3, counted from 0"),
        (["--window", "1:0"], "from black to white"),
        (["--png", "p.png"], "p.png"),
    ):
        refused = invprob("show", "r.h5", *arguments)
        assert refused.code == 2
        assert words in refused.err


def test_methods_and_values_side_by_side(invprob, tmp_path):
    save_scan(tmp_path / "scan.h5", make_scan())
    done = invprob("reconstruct", "scan.h5", "--method", "fbp,direct", "--png", "strip.png")
    assert (done.code, done.err) == (0, "")
    assert "strip, from left to right: fbp, direct" in done.out
    page = (tmp_path / "scan_compared.html").read_text()
    assert page.count("<figure>") == 3  # and the truth
    assert "PSNR" in page
    assert "http" not in page.replace("http-equiv", "")
    with Image.open("strip.png") as strip:
        assert strip.size == (2 * 16 + 4, 16)
    assert invprob("reconstruct", "scan.h5", "--method", "fbp,direct", "-o", "a.h5").code == 2


def test_what_is_tried():
    trials = trials_of(["tv"], {}, {}, "strength=0.001:0.1:3")
    assert [trial.settings["strength"] for trial in trials] == [0.001, 0.01, 0.1]
    assert [trial.title for trial in trials] == ["strength 0.001", "strength 0.01", "strength 0.1"]
    axes = trials_of(["fbp"], {}, {"rows": slice(1)}, "axis=290:300:3")
    assert [trial.options for trial in axes] == [{"rows": slice(1), "axis": a} for a in (290.0, 295.0, 300.0)]
    for tried, words in (("axi=1:2:3", "did you mean axis"), ("strength=1:2", "neither"), ("strength", "is NAME=")):
        with pytest.raises(UsageError, match=words):
            trials_of(["fbp" if "axi" in tried else "tv"], {}, {}, tried)


class FakeBar:
    """What `watch` asks of tqdm."""

    made: ClassVar[list] = []

    def __init__(self, total, desc, leave):
        self.total, self.desc, self.n, self.closed = total, desc, 0, False
        FakeBar.made.append(self)

    def update(self, by):
        self.n += by

    def set_postfix_str(self, text, refresh):
        assert text.startswith("residual ")

    def close(self):
        self.closed = True


@pytest.mark.parametrize("tqdm", [True, False])
def test_watching_changes_nothing_and_tells_of_every_iteration(monkeypatch, tqdm):
    FakeBar.made = []
    module = SimpleNamespace(tqdm=FakeBar) if tqdm else None
    monkeypatch.setitem(sys.modules, "tqdm", module)
    monkeypatch.setitem(sys.modules, "tqdm.auto", module)
    A = Mask(torch.rand(12, 12, generator=torch.Generator().manual_seed(0)) < 0.7)
    scan = Scan(A, A(torch.ones(12, 12)), noise=0.1)
    told = []
    seen = watch(scan, "least-squares", each=told.append, max_iter=4)
    assert torch.equal(seen.x, reconstruct(scan, "least-squares", max_iter=4).x)
    assert len(told) >= 4
    assert all(event.image().shape == (12, 12) for event in told[-1:])
    assert bool(FakeBar.made) == tqdm
    assert all(bar.closed and 0 < bar.n <= bar.total for bar in FakeBar.made if "half" not in bar.desc)

    def stop(event):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        watch(scan, "least-squares", each=stop)
    assert all(bar.closed for bar in FakeBar.made)
