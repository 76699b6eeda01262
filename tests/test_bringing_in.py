"""Pictures, folders of projections and NeXus files: what others wrote, from the disk to a scan."""

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
import torch
from layout_files import ANGLES, COLUMNS, ROW_COUNT, VIEWS, exposed, write_exchange, write_nxtomo
from PIL import Image
from scipy import ndimage

from invprob import reconstruct, show
from invprob.errors import InputError, InputWarning
from invprob.io import load_scan, save_scan
from invprob.io.blur_kernels import kernel_of
from invprob.io.images import read_picture
from invprob.operators import Blur, Downsample, Identity, Mask, ParallelBeam
from invprob.scan import Scan

GREY = np.random.default_rng(0).integers(0, 256, (12, 16), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


# --- pictures ---


def test_greys_and_colours_are_shares_of_white(tmp_path):
    grey = read_picture(saved(tmp_path / "grey.png", GREY))
    assert np.allclose(grey, GREY / 255, atol=1e-7)
    assert np.allclose(read_picture(saved(tmp_path / "c.png", COLOUR)), COLOUR.transpose(2, 0, 1) / 255, atol=1e-7)
    deep = GREY.astype(np.uint16) * 257
    saved(tmp_path / "deep.png", deep)
    tifffile.imwrite(tmp_path / "deep.tif", deep)
    np.save(tmp_path / "deep.npy", deep)
    for name in ("deep.png", "deep.tif", "deep.npy"):
        assert np.allclose(read_picture(tmp_path / name), GREY / 255, atol=1e-7)
    tifffile.imwrite(tmp_path / "float.tif", (GREY * 3.5).astype(np.float32))
    assert np.array_equal(read_picture(tmp_path / "float.tif"), (GREY * 3.5).astype(np.float32))


def test_pictures_of_a_photograph_keep_its_greys(tmp_path):
    result = reconstruct(load_scan(saved(tmp_path / "grey.png", GREY // 2 + 40)), "direct")
    assert (show(result).low, show(result).high) == (0.0, 1.0)
    tifffile.imwrite(tmp_path / "float.tif", GREY.astype(np.float32))  # white is not known
    other = show(reconstruct(load_scan(tmp_path / "float.tif"), "direct"))
    assert other.high > 100


@pytest.mark.parametrize("array", [GREY, COLOUR], ids=["grey", "colour"])
def test_the_png_of_a_photograph_is_as_bright_as_the_photograph(invprob, tmp_path, array):
    path = saved(tmp_path / "photo.png", array // 2 + 40)
    done = invprob("reconstruct", "photo.png", "--method", "direct", "--png", "out.png")
    assert done.code == 0
    assert "black 0 to white 1" in done.out
    out = np.asarray(Image.open(tmp_path / "out.png").convert("L" if array is GREY else "RGB"), dtype=int)
    assert np.abs(out - np.asarray(Image.open(path))).max() <= 1


def test_a_photograph_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first row is the right side
    path = saved(tmp_path / "phone.jpg", COLOUR, exif=exif, quality=100, subsampling=0)
    assert read_picture(path).shape == (3, 16, 12)


def test_what_is_not_opaque_is_told(tmp_path):
    path = saved(tmp_path / "glass.png", np.dstack([COLOUR, GREY]))
    with pytest.warns(InputWarning, match="not opaque everywhere"):
        assert read_picture(path).shape == (3, 12, 16)


@pytest.mark.parametrize(
    ("options", "kind", "shape"),
    [
        ({}, Identity, (12, 16)),
        ({"blur": "gaussian:1.5"}, Blur, (12, 16)),
        ({"blur": "box:3", "boundary": "valid"}, Blur, (14, 18)),
        ({"factor": 2}, Downsample, (24, 32)),
        ({"factor": 2, "blur": "gaussian:1"}, Downsample, (24, 32)),
        ({"factor": 3, "blur": "box:5", "boundary": "valid"}, Downsample, (38, 50)),
        ({"mask": "mask.png"}, Mask, (12, 16)),
        ({"mask": "mask.png", "blur": "disc:2"}, Blur, (12, 16)),
    ],
)
@pytest.mark.parametrize("array", [GREY, COLOUR], ids=["grey", "colour"])
def test_every_picture_becomes_a_scan_that_a_file_holds(tmp_path, monkeypatch, array, options, kind, shape):
    monkeypatch.chdir(tmp_path)
    known = np.random.default_rng(2).random((12, 16)) < 0.7
    saved("mask.png", (255 * known).astype(np.uint8))
    scan = load_scan(saved("photo.png", array), noise=0.02, **options)
    inner = scan.operator.inner if array is COLOUR else scan.operator
    assert type(inner) is kind
    assert scan.operator.domain_shape == ((3, *shape) if array is COLOUR else shape)
    assert scan.operator.channels == ("colour" if array is COLOUR else None)
    assert scan.noise == 0.02
    save_scan("scan.h5", scan)
    again = load_scan("scan.h5")
    assert torch.equal(again.data, scan.data)
    assert (again.weights is None) == (scan.weights is None)
    x = torch.rand(scan.operator.domain_shape, generator=torch.Generator().manual_seed(3))
    assert torch.equal(again.operator(x), scan.operator(x))
    assert (again.operator.channels, again.operator.grid) == (scan.operator.channels, scan.operator.grid)
    if "mask" in options:
        counts = again.weights if again.weights is not None else again.operator.measured
        assert torch.equal(
            (counts > 0).expand(again.data.shape)[..., :, :].reshape(-1, 12, 16)[-1], torch.from_numpy(known)
        )


def test_what_is_not_a_number_is_not_known(tmp_path):
    picture = (GREY / 255).astype(np.float32)
    picture[3, 4:7] = np.nan
    np.save(tmp_path / "holes.npy", picture)
    scan = load_scan(tmp_path / "holes.npy", blur="gaussian:1")
    assert torch.equal(scan.weights == 0, torch.from_numpy(np.isnan(picture)))
    assert scan.provenance["not known"] == "3 of 192 pixels"


def test_kernels_by_name_are_what_they_say():
    gaussian = kernel_of("gaussian:1.5")
    spike = np.zeros((41, 41))
    spike[20, 20] = 1
    other = ndimage.gaussian_filter(spike, 1.5, truncate=6 / 1.5)[14:27, 14:27]
    assert np.allclose(gaussian, other / other.sum(), atol=1e-12)
    assert np.allclose(kernel_of("box:5"), 1 / 25)
    disc = kernel_of("disc:3")
    assert disc[3 + 1, 3 + 1] == pytest.approx(1 / (np.pi * 9), rel=1e-2)
    rows, columns = np.indices(kernel_of("motion:9:30").shape) - kernel_of("motion:9:30").shape[0] // 2
    moments = [
        float((kernel_of("motion:9:30") * m).sum()) for m in (rows, columns, -rows * columns, columns**2, rows**2)
    ]
    assert moments[:2] == pytest.approx([0, 0], abs=1e-9)
    assert moments[2] > 0  # counter-clockwise from the right: up to the right
    # a line of length 9 has the variance 81 / 12 along itself; sharing among pixels adds at most 1/4 along each axis
    assert 81 / 12 <= moments[3] + moments[4] <= 81 / 12 + 0.5


def test_kernels_in_files(tmp_path):
    kernel = np.random.default_rng(4).random((3, 5))
    np.save(tmp_path / "k.npy", kernel)
    with (tmp_path / "k.mat").open("wb") as stream:
        scipy.io.savemat(stream, {"k": kernel})
    cells = np.empty((1, 2), dtype=object)
    cells[0] = [np.ones((3, 3)), kernel]
    with (tmp_path / "cells.mat").open("wb") as stream:
        scipy.io.savemat(stream, {"kernels": cells})
    with h5py.File(tmp_path / "new.mat", "w") as file:  # as MATLAB 7.3: transposed, cells as references
        file["#refs#/a"], file["#refs#/b"] = np.ones((3, 3)), kernel.T
        file["kernels"] = np.array([[file["#refs#/a"].ref, file["#refs#/b"].ref]], dtype=h5py.ref_dtype)
    for text in ("k.npy", "k.mat", "cells.mat:1", "new.mat:1"):
        assert np.allclose(kernel_of(str(tmp_path / text)), kernel / kernel.sum())
    with pytest.raises(InputError, match=r"holds 2 kernels: say which, as in .*new.mat:0"):
        kernel_of(str(tmp_path / "new.mat"))
    with pytest.raises(InputError, match="there is no 2"):
        kernel_of(str(tmp_path / "cells.mat:2"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gaussian:x", "is not gaussian:SIGMA"),
        ("gaussian:1:2", "is not gaussian:SIGMA"),
        ("gaussian:-1", "reaches more than 0"),
        ("box:2.5", "whole number"),
        ("nowhere.png", "does not exist"),
    ],
)
def test_what_is_no_blur(text, words):
    with pytest.raises(InputError, match=words):
        kernel_of(text)


def test_a_turned_kernel(tmp_path):
    kernel = np.zeros((3, 3))
    kernel[0, 0] = kernel[1, 1] = 0.5
    np.save(tmp_path / "k.npy", kernel)
    path = saved(tmp_path / "p.png", GREY)
    turned = load_scan(path, blur=str(tmp_path / "k.npy"), turned=True)
    assert np.array_equal(turned.operator.kernel.numpy(), kernel[::-1, ::-1])


def test_a_picture_is_refused_with_the_reason(tmp_path):
    path = saved(tmp_path / "p.png", GREY)
    saved(tmp_path / "small.png", GREY[:4])
    for options, words in (
        ({"mask": str(tmp_path / "small.png")}, "the mask .* has the size"),
        ({"boundary": "zero"}, "leave out --read boundary: without --blur"),
        ({"angles": np.arange(12), "angles_unit": "deg"}, "leave out --angles: a picture has none"),
    ):
        with pytest.raises(InputError, match=words):
            load_scan(path, **options)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="cannot be read"):
        load_scan(path)


# --- projections ---


@pytest.fixture
def folders(tmp_path):
    """The same counts as Data Exchange and as folders of TIFF files, numbered without leading zeros."""
    stack, keys = exposed()
    for name, key in (("views", 0), ("flats", 1), ("darks", 2)):
        (tmp_path / name).mkdir()
        for i, frame in enumerate(stack[keys == key]):
            tifffile.imwrite(tmp_path / name / f"im_{i}.tif", frame)
    (tmp_path / "views" / "notes.txt").write_text("no picture")
    write_exchange(tmp_path / "scan.h5", data=stack[keys == 0], data_white=stack[keys == 1], data_dark=stack[keys == 2])
    np.savetxt(tmp_path / "angles.txt", np.rad2deg(ANGLES))
    return tmp_path


@pytest.mark.parametrize("source", ["views", "views/im_*.tif", "views.tif", "packed.tif", "views.npy"])
def test_projections_are_what_data_exchange_holds(folders, source):
    frames = np.stack([tifffile.imread(folders / "views" / f"im_{i}.tif") for i in range(VIEWS)])
    tifffile.imwrite(folders / "views.tif", frames, photometric="minisblack")
    tifffile.imwrite(folders / "packed.tif", frames, photometric="minisblack", compression="zlib")
    np.save(folders / "views.npy", frames)
    fields = {name: str(folders / name) for name in ("flats", "darks")}
    given = {"angles": np.rad2deg(ANGLES), "angles_unit": "deg", "axis": 9.0, "views": slice(1, None, 2)}
    due = load_scan(folders / "scan.h5", axis=9.0, views=slice(1, None, 2))
    scan = load_scan(folders / source, **fields, **given)
    assert torch.equal(scan.data, due.data)
    assert isinstance(scan.operator, ParallelBeam)
    assert np.allclose(scan.operator.angles, due.operator.angles)
    some = load_scan(folders / source, rows=slice(1, 4, 2), **fields, **given)
    assert torch.equal(some.data, due.data[1:4:2])


def test_projections_that_are_corrected_already(folders, tmp_path):
    integrals = np.random.default_rng(5).random((VIEWS, ROW_COUNT, COLUMNS), dtype=np.float32)
    given = {"angles": np.rad2deg(ANGLES), "angles_unit": "deg", "axis": 9.0}
    np.save(tmp_path / "integrals.npy", integrals)
    np.save(tmp_path / "passed.npy", np.exp(-integrals))
    due = torch.from_numpy(integrals.swapaxes(0, 1).copy())
    assert torch.equal(load_scan(tmp_path / "integrals.npy", values="integrals", **given).data, due)
    passed = load_scan(tmp_path / "passed.npy", values="transmission", **given)
    assert torch.allclose(passed.data, due, atol=1e-6)
    with pytest.raises(InputError, match=r"no open-beam field \(--flats\).*give it with --flats, or say what"):
        load_scan(tmp_path / "passed.npy", **given)
    with pytest.raises(InputError, match="leave out --flats: transmission are corrected already"):
        load_scan(tmp_path / "passed.npy", values="transmission", flats="f.npy", **given)


def test_folders_that_are_no_scan(folders):
    given = {"angles": np.rad2deg(ANGLES), "angles_unit": "deg", "flats": str(folders / "flats")}
    tifffile.imwrite(folders / "views" / "im_30.tif", np.zeros((3, 4), np.uint16))
    with pytest.raises(InputError, match=r"im_30.tif has pages of \(3, 4\)"):
        load_scan(folders / "views", **given)
    with pytest.raises(InputError, match="no file is called like"):
        load_scan(folders / "view_*.tif", **given)
    with pytest.raises(InputError, match="is a directory with no TIFF"):
        load_scan(folders, **given)


def test_a_folder_in_one_line_and_in_two(invprob, folders):
    options = ["--flats", "flats", "--darks", "darks", "--angles", "angles.txt", "--angles-unit", "deg"]
    options += ["--axis", "9", "--pixel-size", "0.5"]
    done = invprob("import", "views", *options, "-o", "scan2.h5")
    assert (done.code, done.err) == (0, "")
    assert "views (projections)" in done.out
    one = invprob("reconstruct", "views", *options, "--method", "fbp", "--npy", "one.npy")
    two = invprob("reconstruct", "scan2.h5", "--method", "fbp", "--npy", "two.npy")
    assert (one.code, two.code) == (0, 0)
    assert "views_fbp.h5" in one.out
    assert np.array_equal(np.load("one.npy"), np.load("two.npy"))
    assert load_scan("scan2.h5").provenance["original_digest"].startswith("sha256-files:")


def test_a_picture_in_one_line(invprob, tmp_path):
    saved(tmp_path / "photo.png", COLOUR)
    done = invprob("reconstruct", "photo.png", "--factor", "2", "--method", "direct", "--png", "large.png")
    assert (done.code, done.err) == (0, "")
    with Image.open("large.png") as large:
        assert large.size == (32, 24)
    assert "(24, 32) -> (12, 16)" in invprob("import", "photo.png", "--factor", "2").out
    assert invprob("import", "photo.png").code == 2  # photo.h5 is there
    assert "Nothing in it looks doubtful" in invprob("inspect", "photo.png", "--blur", "gaussian:1").out
    assert invprob("reconstruct", "photo.png", "--blur", "gauss:1").code == 3


# --- NeXus ---


def test_nexus_frames_are_sorted_by_their_keys(tmp_path):
    stack, keys = exposed()
    write_nxtomo(tmp_path / "scan.nxs")
    write_exchange(tmp_path / "scan.h5", data=stack[keys == 0], data_white=stack[keys == 1], data_dark=stack[keys == 2])
    due, scan = load_scan(tmp_path / "scan.h5", axis=9.0), load_scan(tmp_path / "scan.nxs", axis=9.0)
    assert torch.equal(scan.data, due.data)
    assert np.allclose(scan.operator.angles, due.operator.angles)
    assert (scan.units.length, scan.operator.detector_size) == ("mm", pytest.approx(5e-3))
    some = load_scan(tmp_path / "scan.nxs", axis=9.0, views=slice(2, 20, 3), rows=slice(2, 3))
    assert torch.equal(some.data, due.data[2:3, 2:20:3])


@pytest.mark.parametrize("how", ["external", "virtual"])
def test_frames_in_other_files_are_followed_when_told_to(tmp_path, how):
    stack, _ = exposed()
    write_nxtomo(tmp_path / "plain.nxs")
    (tmp_path / "raw").mkdir()
    with h5py.File(tmp_path / "raw" / "frames.h5", "w") as file:
        file["entry/data"] = stack
    path = tmp_path / "scan.nxs"
    if how == "external":
        write_nxtomo(path, h5py.ExternalLink("raw/frames.h5", "entry/data"))
    else:
        layout = h5py.VirtualLayout(stack.shape, stack.dtype)
        layout[:] = h5py.VirtualSource("raw/frames.h5", "entry/data", stack.shape)
        write_nxtomo(path, np.zeros(1))
        with h5py.File(path, "r+") as file:
            del file["entry/tomo_entry/instrument/detector/data"]
            file.create_virtual_dataset("entry/tomo_entry/instrument/detector/data", layout)
    with pytest.raises(InputError, match="allow it with --read linked=true"):
        load_scan(path, axis=9.0)
    assert torch.equal(load_scan(path, axis=9.0, linked=True).data, load_scan(tmp_path / "plain.nxs", axis=9.0).data)
    (tmp_path / "raw" / "frames.h5").rename(tmp_path / "elsewhere.h5")
    with pytest.raises(InputError, match="is missing"):
        load_scan(path, axis=9.0, linked=True)
    (tmp_path / "in").mkdir()
    path.rename(tmp_path / "in" / "scan.nxs")
    (tmp_path / "in" / "raw").symlink_to(tmp_path / "raw")
    (tmp_path / "elsewhere.h5").rename(tmp_path / "raw" / "frames.h5")
    with pytest.raises(InputError, match="out of its folder"):
        load_scan(tmp_path / "in" / "scan.nxs", axis=9.0, linked=True)


def test_several_scans_in_one_file(tmp_path):
    write_nxtomo(tmp_path / "scan.nxs")
    with h5py.File(tmp_path / "scan.nxs", "r+") as file:
        file.copy("entry", "second")
        file["entry/tomo_entry/instrument/detector/data"][...] = 20000
    with pytest.raises(InputError, match=r"holds 2 scans, .*: say which by --read entry=NAME"):
        load_scan(tmp_path / "scan.nxs")
    assert float(load_scan(tmp_path / "scan.nxs", axis=9.0, entry="second/tomo_entry").data.std()) > 0.1


# --- lifted operators in files ---


def test_a_file_keeps_what_an_operator_was_lifted_over(tmp_path):
    A = ParallelBeam((8, 8), ANGLES, 12).lift((2,), channels="slices", spacing=3.0).lift((3,), channels="frames")
    y = torch.rand(5, *A.range_shape, generator=torch.Generator().manual_seed(0))
    save_scan(tmp_path / "scan.h5", Scan(A, y))
    scan = load_scan(tmp_path / "scan.h5", rows=slice(1, 3))
    assert torch.equal(scan.data, y[1:3])
    assert scan.operator.channels == "frames"
    assert scan.operator.grid == A.grid
    with pytest.raises(InputError, match="leave out --views: the file holds channels"):
        load_scan(tmp_path / "scan.h5", views=slice(1))


def test_a_truncated_object_is_flat_where_it_is_seen_with_bins_beside_the_detector(tmp_path):
    views, columns, radius = 90, 48, 40.0  # a disc of density 0.01 that reaches beyond both ends
    s = np.arange(columns) - (columns - 1) / 2
    np.save(tmp_path / "views.npy", np.tile(0.02 * np.sqrt(radius**2 - s**2), (views, 1, 1)).astype(np.float32))
    given = {"values": "integrals", "angles": np.arange(views) * 180 / views, "angles_unit": "deg", "axis": 23.5}
    plain, padded = (load_scan(tmp_path / "views.npy", **given, **more) for more in ({}, {"pad": 20}))
    assert padded.data.shape == (1, views, columns + 40)
    assert torch.equal(padded.data[..., 20:-20], plain.data)
    assert torch.equal(padded.weights[0, 0], (torch.arange(columns + 40) - 43.5).abs().lt(24).float())
    assert padded.operator.axis_offset == plain.operator.axis_offset
    inside = torch.hypot(torch.arange(48) - 23.5, torch.arange(48)[:, None] - 23.5) < 20
    for method, settings, flatter, nearer in (("fbp", {}, 0.3, 0.5), ("least-squares", {"max_iter": 30}, 0.2, 0.2)):
        bare, mended = (reconstruct(scan, method, **settings).x[0] for scan in (plain, padded))
        bare, mended = bare[inside], mended[20:68, 20:68][inside]
        assert float(mended.std()) < flatter * float(bare.std())
        assert abs(float(mended.mean()) - 0.01) < nearer * abs(float(bare.mean()) - 0.01)


def test_a_kernel_in_colour_is_doubted(tmp_path):
    saved(tmp_path / "grey.png", np.repeat(GREY[..., None], 3, axis=2))
    assert kernel_of(str(tmp_path / "grey.png")).shape == GREY.shape
    with pytest.warns(InputWarning, match="is in colour, a kernel is not"):
        kernel_of(str(saved(tmp_path / "photo.png", COLOUR)))
