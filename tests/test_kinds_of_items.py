"""From the file of a scan to HDF5, PNG, TIFF and page: volumes and complex images as well as real pictures."""

import re

import numpy as np
import pytest
import tifffile
import torch
from pages import Page
from PIL import Image

from invprob.cli.main import main
from invprob.grid import Grid
from invprob.io import load_result, save_result, save_scan
from invprob.methods import reconstruct
from invprob.methods.reporting import Progress
from invprob.metrics import quality
from invprob.operators import Blur, ConeBeam
from invprob.report import save_report
from invprob.result import Result
from invprob.scan import Scan, Units

OUTPUTS = ("--png", "out.png", "--tiff", "out.tif", "--npy", "out.npy", "--report", "out.html", "-o", "out.h5")


def cone_scan():
    A = ConeBeam(
        (12, 14, 16),
        np.arange(12) * np.pi / 6,
        (16, 24),
        source_distance=60.0,
        detector_distance=20.0,
        voxel_size=0.5,
        detector_size=0.6,
    )
    generator = torch.Generator().manual_seed(0)
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in A.domain_shape), indexing="ij")
    truth = (x**2 + y**2 + 2 * z**2 < 0.6).float() + 0.1 * torch.rand(A.domain_shape, generator=generator)
    truth[0] = 0  # an end of the volume shows nothing of it
    return Scan(A, A(truth), 0.01, truth, units=Units.attenuation("mm"))


def complex_scan():
    kernel = torch.ones(3, 3) / 9
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (20, 24)), indexing="ij")
    truth = (x**2 + y**2 < 0.5) * torch.exp(2j * x + 1j * y)
    A = Blur((20, 24), kernel)
    return Scan(A, A(truth), 0.01, truth)


@pytest.fixture
def reconstructed(tmp_path, monkeypatch, capsys):
    def run(scan, *options):
        monkeypatch.chdir(tmp_path)
        save_scan("scan.h5", scan)
        code = main(["reconstruct", "scan.h5", *OUTPUTS, *options])
        said = capsys.readouterr()
        assert (code, said.err) == (0, "")
        return said.out, load_result("out.h5"), " ".join(Page((tmp_path / "out.html").read_text("utf-8")).words.split())

    return run


def test_a_volume_from_file_to_picture_and_page(reconstructed):
    scan = cone_scan()
    said, result, page = reconstructed(scan, "--method", "least-squares", "--set", "max_iter=20")
    assert (result.ndim, result.grid) == (3, Grid((0.5, 0.5, 0.5), "mm"))
    assert result.size == "12 x 14 x 16 voxels of 0.5 mm"
    # the picture is that of the middle slice
    middle = result.x[6].double().numpy()
    low, high = np.percentile(middle, [0.5, 99.5])
    shown = np.asarray(Image.open("out.png")) / 255
    np.testing.assert_allclose(shown, ((middle - low) / (high - low)).clip(0, 1), atol=0.003)
    assert "picture, slice 6 of 12" in said
    # one number for the one volume, on the command line and on the page
    found = quality(result.x, scan.truth, ndim=3)
    assert f"PSNR {float(found['PSNR']):.1f} dB" in said
    assert f"PSNR {float(found['PSNR']):.2f} dB" in page
    assert "12 x 14 x 16 voxels of 0.5 mm" in page
    assert not re.search(r"\brows\b", said + page)
    with tifffile.TiffFile("out.tif") as file:
        assert (file.imagej_metadata["spacing"], file.imagej_metadata["unit"]) == (0.5, "mm")
        np.testing.assert_array_equal(file.asarray(), result.x.numpy())


def test_a_complex_image_of_a_real_operator_is_kept(reconstructed):
    scan = complex_scan()
    said, result, page = reconstructed(scan, "--method", "least-squares", "--set", "max_iter=20")
    assert result.x.dtype == torch.complex64
    assert float(quality(result.x, scan.truth)["relative error"]) < 0.3
    np.testing.assert_array_equal(np.load("out.npy"), result.x.numpy())
    with tifffile.TiffFile("out.tif") as file:
        magnitude, phase = (part.asarray() for part in file.pages)
    np.testing.assert_allclose(magnitude * np.exp(1j * phase), result.x.numpy(), atol=1e-5)
    assert "TIFF of the magnitudes, then the phases" in said
    assert "picture, magnitude" in said
    assert "Image magnitude" in page


def test_inspect_tells_of_volumes_and_complex_images(reconstructed, capsys):
    reconstructed(cone_scan(), "--method", "direct")
    assert main(["inspect", "out.h5"]) == 0
    said = capsys.readouterr().out
    assert "12 x 14 x 16 voxels of 0.5 mm, in 1/mm" in said
    assert "in the middle slice" in said


def test_in_python_the_result_knows_where_it_lies():
    scan = cone_scan()
    result = reconstruct(scan, "direct")
    assert (result.ndim, result.grid, result.units) == (3, Grid((0.5,) * 3, "mm"), scan.units)
    assert {"python", "torch", "numpy", "invprob"} == set(result.versions)


def drawing(problem, *, count=3):
    """A method that draws samples and checks nothing: no residual, no certificate."""
    x = problem.A.direct(problem.y)
    samples = torch.stack([x + 0.1 * i for i in range(count)])
    result = Result(
        x=samples.mean(0),
        status="converged",
        item_status=("converged",) * x.shape[: x.ndim - 2].numel(),
        n_iter=torch.zeros(x.shape[:-2], dtype=torch.int64),
        seconds=0.0,
        history={},
        certificate=None,
        samples=samples,
        spread=samples.std(0),
    )
    yield Progress("drawing", 1, 1, None, lambda: result)


def test_samples_without_a_certificate_from_python_to_file_and_page(tmp_path):
    A = Blur((12, 14), torch.ones(3, 3) / 9)
    truth = 10 * torch.rand(2, 12, 14, generator=torch.Generator().manual_seed(0))
    scan = Scan(A, A(truth), truth=truth)
    result = reconstruct(scan, drawing)
    torch.testing.assert_close(result.samples.mean(0), result.x)  # all in the units of the scan
    torch.testing.assert_close(result.samples.std(0), result.spread)
    save_result(tmp_path / "out.h5", result)
    back = load_result(tmp_path / "out.h5")
    assert torch.equal(back.samples, result.samples)
    assert (back.certificate, back.grid) == (None, Grid((1.0, 1.0)))
    save_report(tmp_path / "out.html", back, scan)
    page = " ".join(Page((tmp_path / "out.html").read_text("utf-8")).words.split())
    for words in (
        "Image 1 of 2",
        "Spread standard deviation of every value",
        "Sample 2 of 3",
        "Not verified",
        "Nothing is known that speaks for or against",
    ):
        assert words in page
