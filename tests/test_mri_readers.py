"""K-space from files of other programs: the same image from all of them, and each trap of their layouts."""

import re

import h5py
import mri_files as files
import mri_truth as truth
import numpy as np
import pytest
import torch

from invprob.errors import InputError, InputWarning, OutputError
from invprob.io import load_result, load_scan, open_stack, scan_summary
from invprob.io.cfl import read_cfl, save_cfl
from invprob.io.ismrmrd_header import parse_header
from invprob.io.read_out import without_oversampling

SHAPE = (32, 40)
BODY = [
    (1.0, np.array([1.0, 2.0]), np.array([12.0, 14.0]), 0.2),
    (0.5, np.array([-3.0, 4.0]), np.array([5.0, 3.0]), 0.0),
]
CLEAN = truth.kspace(BODY, truth.Coils(4, SHAPE), SHAPE)
SIGMA = 1e-3 * np.abs(CLEAN).max()
FULL = (CLEAN + truth.noise(CLEAN.shape, SIGMA)).astype(np.complex64)  # (coil, y, x)
SOME = np.zeros(40, bool)
SOME[::2], SOME[12:28] = True, True
Y = FULL * SOME  # phase encodings along x
ACROSS = np.ascontiguousarray(Y.swapaxes(1, 2))  # along y, as acquisitions have it


def centred_fft(y, axis):
    return np.fft.fftshift(np.fft.fft(np.fft.ifftshift(y, axis), axis=axis, norm="ortho"), axis)


def centred_ifft(y, axis):
    return np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(y, axis), axis=axis, norm="ortho"), axis)


def oversampled(y, axis, n):
    """The same image with nothing around it, in `n` samples along an axis."""
    image = centred_ifft(y, axis)
    before = n // 2 - y.shape[axis] // 2
    margins = [(before, n - y.shape[axis] - before) if a == axis else (0, 0) for a in range(y.ndim)]
    return centred_fft(np.pad(image, margins), axis).astype(np.complex64)


def write_numpy(path):
    np.save(path.with_suffix(".npy"), Y)
    return path.with_suffix(".npy")


def write_bart(path):
    save_cfl(path, Y[:, None])
    return path.with_suffix(".hdr")


def write_fastmri(path):
    files.write_fastmri(path, oversampled(Y, 1, 64)[None], files.header(64, 40, oversampled=2), mask=SOME.astype("u1"))
    return path


def write_ismrmrd(path):
    chosen = np.flatnonzero(SOME)
    files.write_ismrmrd(path, files.lines(ACROSS, chosen), files.header(32, 40))
    return path


WRITERS = {"numpy": write_numpy, "bart": write_bart, "fastmri": write_fastmri, "ismrmrd": write_ismrmrd}


@pytest.mark.parametrize("name", WRITERS)
def test_one_image_from_all_layouts_on_the_command_line(invprob, tmp_path, name):
    np.save(tmp_path / "plain.npy", Y)
    axes = ["--read", "axes=coil,y,x"]
    assert invprob("reconstruct", "plain.npy", *axes, "--method", "direct", "--output", "plain.h5").code == 0
    path = WRITERS[name](tmp_path / "scan")
    more = axes if name == "numpy" else []
    done = invprob("reconstruct", path.name, *more, "--method", "direct", "--output", "x.h5")
    assert (done.code, done.err) == (0, "")
    x, due = (load_result(tmp_path / each).x.squeeze() for each in ("x.h5", "plain.h5"))
    x = x.T if name == "ismrmrd" else x
    assert x.shape == due.shape == SHAPE
    shown = invprob("inspect", path.name, *more)
    assert shown.code == 0
    assert "4 coils" in shown.out
    torch.testing.assert_close(x, due, rtol=0, atol=2e-3 * float(due.abs().max()))
    provenance = load_result(tmp_path / "x.h5").provenance
    assert re.match(r"ESPIRiT from \d+ x \d+ samples", provenance["coil maps"])


def test_the_noise_is_that_of_the_middle_or_the_users(tmp_path):
    path = write_numpy(tmp_path / "a")
    axes = ("coil", "y", "x")
    assert load_scan(path, axes=axes).noise == pytest.approx(SIGMA, rel=0.2)
    scan = load_scan(path, axes=axes, noise=0.5)
    assert scan.noise == 0.5
    assert scan.provenance["mask"] == "where any coil is not 0"
    assert scan.provenance["measured"] == f"{32 * SOME.sum()} of 1280 positions of k-space"


# --- .npy ---


def test_axes_in_any_order_and_number(tmp_path):
    stack = np.stack([Y, 2 * Y])
    np.save(tmp_path / "a.npy", stack.transpose(3, 1, 0, 2))
    scan = load_scan(tmp_path / "a.npy", axes=("x", "coil", "slice", "y"))
    np.testing.assert_array_equal(scan.data.numpy(), stack)
    one = load_scan(tmp_path / "a.npy", axes=("x", "coil", "slice", "y"), rows=slice(1, 2))
    np.testing.assert_array_equal(one.data.numpy(), stack[1:])
    assert float(scan.noise[1]) == pytest.approx(2 * float(scan.noise[0]), rel=1e-3)
    np.save(tmp_path / "b.npy", np.asfortranarray(Y[0].astype(">c16")))
    single = load_scan(tmp_path / "b.npy")
    assert (single.data.dtype, single.operator.coils) == (torch.complex64, None)
    np.testing.assert_array_equal(single.data.numpy(), Y[0])


def test_a_mask_from_a_file(tmp_path):
    np.save(tmp_path / "y.npy", FULL)
    np.save(tmp_path / "mask.npy", SOME)
    with pytest.warns(InputWarning, match="1536 of 5120 samples are not 0 where the mask says that"):
        scan = load_scan(tmp_path / "y.npy", axes=("coil", "y", "x"), mask=str(tmp_path / "mask.npy"))
    np.testing.assert_array_equal(scan.data.numpy(), Y)
    assert scan.operator.acceleration == pytest.approx(40 / SOME.sum())
    np.save(tmp_path / "mask.npy", 0.5 * SOME)
    with pytest.raises(InputError, match="28 values that are neither 0 nor 1"):
        load_scan(tmp_path / "y.npy", axes=("coil", "y", "x"), mask=str(tmp_path / "mask.npy"))
    np.save(tmp_path / "mask.npy", SOME[:39])
    with pytest.raises(InputError, match=r"a mask of shape \(39,\), and k-space has \(32, 40\)"):
        load_scan(tmp_path / "y.npy", axes=("coil", "y", "x"), mask=str(tmp_path / "mask.npy"))


def test_maps_from_a_file(tmp_path):
    maps = truth.Coils(4, SHAPE).maps(SHAPE).astype(np.complex64)
    np.save(tmp_path / "y.npy", Y)
    np.save(tmp_path / "maps.npy", maps)
    save_cfl(tmp_path / "maps", maps[:, None])
    for name in ("maps.npy", "maps.cfl", "maps"):
        scan = load_scan(tmp_path / "y.npy", axes=("coil", "y", "x"), coils=str(tmp_path / name))
        np.testing.assert_array_equal(scan.operator.maps.numpy(), maps)
    assert scan.noise is None
    np.save(tmp_path / "maps.npy", maps[:3])
    with pytest.raises(InputError, match=r"maps of shape \(3, 32, 40\), and k-space needs \(4, 32, 40\)"):
        load_scan(tmp_path / "y.npy", axes=("coil", "y", "x"), coils=str(tmp_path / "maps.npy"))


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def not_finite(y, at):
    y = y.copy()
    y[at] = np.nan
    return y


ARRAYS = {
    "pickle": (np.array([Evil()], dtype=object), {}, "cannot be read"),
    "axes not said": (Y, {}, r"axes \(4, 32, 40\).*--read axes=coil,y,x"),
    "too many axes": (Y, {"axes": ("y", "x")}, "3 axes"),
    "no x": (Y, {"axes": ("coil", "y", "z")}, "lacks y or x"),
    "real": (Y.real, {"axes": ("coil", "y", "x")}, "k-space is complex"),
    "text": (np.array(["a", "b"]), {}, "type <U1"),
    "records": (np.zeros((3, 4), [("a", "f4")]), {}, "not supported"),
    "empty": (np.zeros((0, 4), "c8"), {}, "is empty"),
    "huge": (Y[0].astype("c16") * 1e45, {}, "beyond 3.4e38"),
    "nan": (not_finite(Y, (2, 5, 6)), {"axes": ("coil", "y", "x")}, "in 1 of 5120 places, first at coil 2, y 5, x 6"),
    "zero": (0 * Y, {"axes": ("coil", "y", "x")}, "is zero everywhere"),
    "no middle": (
        Y * (np.arange(40) < 15),
        {"axes": ("coil", "y", "x")},
        "too few for coil maps: give maps with coils=",
    ),
    "rows": (Y, {"axes": ("coil", "y", "x"), "rows": slice(1)}, "leave out --rows"),
}


@pytest.mark.parametrize(("array", "options", "words"), ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_are_no_scan(tmp_path, capsys, array, options, words):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=words) as complaint:
        load_scan(tmp_path / "a.npy", **options)
    assert "\n" not in str(complaint.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("cut", [5, 60, 200, 2000])
def test_a_truncated_array(tmp_path, cut):
    raw = write_numpy(tmp_path / "a").read_bytes()
    (tmp_path / "a.npy").write_bytes(raw[:cut])
    with pytest.raises(InputError):
        load_scan(tmp_path / "a.npy", axes=("coil", "y", "x"))


def test_one_line_and_code_3(invprob, tmp_path):
    np.save(tmp_path / "a.npy", Y)
    done = invprob("reconstruct", "a.npy")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert invprob("reconstruct", "a.npy", "--read", "axes=coil,y,q").code == 2
    assert invprob("reconstruct", "a.npy", "--read", "axes=coil,y,x", "--read", "noise=-1").code == 2
    assert invprob("reconstruct", "a.npy", "--read", "axes=coil,y,x", "--read", "coils=none.npy").code == 3


# --- BART ---


def test_cfl_round_trip(tmp_path):
    array = np.arange(24).reshape(2, 1, 3, 4) * (1 + 2j)
    save_cfl(tmp_path / "a.cfl", array)
    found = read_cfl(tmp_path / "a.hdr")
    assert (found.shape, found.dtype) == ((2, 1, 3, 4), np.complex64)
    np.testing.assert_array_equal(found, array)
    assert (tmp_path / "a.hdr").read_text() == "# Dimensions\n4 3 1 2 1 1 1 1 1 1 1 1 1 1 1 1\n"
    raw = np.fromfile(tmp_path / "a.cfl", "<f4")
    assert raw[:4].tolist() == [0, 0, 1, 2]  # the first dimension, our last axis, runs fastest
    with pytest.raises(OutputError):
        save_cfl(tmp_path / "a", array)
    save_cfl(tmp_path / "a", array[0], overwrite=True)
    assert read_cfl(tmp_path / "a").shape == (3, 4)  # trailing ones are the leading axes here
    with pytest.raises(OutputError, match="1 to 16"):
        save_cfl(tmp_path / "b", np.zeros((1,) * 17))


def test_dimensions_are_those_of_bart(tmp_path):
    volume = np.stack([np.stack([Y] * 20, axis=1)] * 2)  # (frame, coil, z, y, x)
    save_cfl(tmp_path / "a", volume.reshape(2, 1, 1, 1, 1, 1, 1, 4, 20, 32, 40))
    stack = open_stack(tmp_path / "a.cfl")
    scan = stack.load(range(1, 2))
    assert (len(stack), scan.operator.image_shape, scan.data.shape) == (2, (20, 32, 40), (1, 4, 20, 32, 40))
    np.testing.assert_array_equal(scan.data.numpy(), volume[1:])
    save_cfl(tmp_path / "b", Y[:, :, :, None])  # no read-out: a slice of a volume
    assert load_scan(tmp_path / "b.hdr").operator.image_shape == SHAPE


def test_only_sizes_are_read_of_a_header(tmp_path):
    path = write_bart(tmp_path / "a")
    path.write_text("# Data\n/etc/hostname\n# Command\nfft 7 a b\n" + path.read_text() + "# Creator\nBART v0.9\n")
    with pytest.raises(InputError):  # a pair begins with its sizes
        load_scan(path)
    np.testing.assert_array_equal(read_cfl(path)[:, 0], Y)


HEADERS = {
    "swapped bytes short": ("# Dimensions\n40 32 1 5\n", "has 40960 bytes, and the sizes 40 x 32 x 1 x 5 need 51200"),
    "none": ("# Dimensions\n", "no line of sizes"),
    "words": ("# Dimensions\nforty 32\n", "positive whole numbers"),
    "negative": ("# Dimensions\n-40 -32 1 4\n", "positive whole numbers"),
    "zero": ("# Dimensions\n40 32 0 4\n", "positive whole numbers"),
    "underscore": ("# Dimensions\n4_0 32 1 4\n", "positive whole numbers"),
    "17": ("# Dimensions\n" + "1 " * 17 + "\n", "17 sizes"),
    "huge": ("# Dimensions\n2000000000 2000000000 2000000000\n", "bytes, and the sizes"),
    "several": ("# Dimensions\n40 32 1 4\n# SizesDimensions\n5120\n", "several arrays in one file"),
    "maps": ("# Dimensions\n40 32 1 1 4\n", "sets of maps: these are maps, no k-space"),
    "a line": ("# Dimensions\n5120\n", "no plane of k-space"),
    "long": ("# Dimensions\n40 32 1 4\n" + "x" * 70000, "over 65536 bytes"),
}


@pytest.mark.parametrize(("text", "words"), HEADERS.values(), ids=HEADERS)
def test_headers_that_are_none(invprob, tmp_path, text, words):
    write_bart(tmp_path / "a").write_text(text)
    done = invprob("reconstruct", "a.hdr")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert words in done.err


@pytest.mark.parametrize(("given", "lost"), [("a.hdr", "a.cfl"), ("a.cfl", "a.hdr")])
def test_a_missing_half(invprob, tmp_path, given, lost):
    write_bart(tmp_path / "a")
    (tmp_path / lost).unlink()
    done = invprob("reconstruct", given)
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert f"{lost} does not exist" in done.err


def test_where_the_noise_level_is_from_is_said(invprob, tmp_path):
    write_bart(tmp_path / "a")
    assert ", seen in the middle of k-space\n" in invprob("inspect", "a.hdr").out
    assert "standard deviation 0.5, given\n" in invprob("inspect", "a.hdr", "--read", "noise=0.5").out


def test_halves_and_bytes_that_are_swapped(invprob, tmp_path):
    write_bart(tmp_path / "a")
    raw = np.fromfile(tmp_path / "a.cfl", "<f4")
    raw.astype(">f4").tofile(tmp_path / "a.cfl")
    done = invprob("reconstruct", "a.hdr")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "a.cfl has its bytes in the wrong order" in done.err
    raw.tofile(tmp_path / "b.hdr")
    (tmp_path / "a.hdr").rename(tmp_path / "b.cfl")
    for name in ("b.hdr", "b.cfl"):
        done = invprob("reconstruct", name)
        assert (done.code, done.err.count("\n")) == (3, 1)


# --- read-outs ---


@pytest.mark.parametrize(("n", "whole"), [(8, 16), (7, 15), (8, 13), (7, 7)])
def test_what_is_cut_is_the_margin_of_the_image(n, whole):
    rng = np.random.default_rng(n)
    image = rng.standard_normal((3, n)) + 1j * rng.standard_normal((3, n))
    y = centred_fft(image, 1)
    np.testing.assert_allclose(without_oversampling(oversampled(y, 1, whole), 1, n), y, atol=1e-5)


def test_noise_stays_white_with_its_level():
    noise = truth.noise((2, 3000, 16), 1.0).astype(np.complex64)
    cut = without_oversampling(noise, 2, 8)
    covariance = np.einsum("cij,cik->jk", cut, cut.conj()) / 6000
    assert np.abs(covariance - np.eye(8)).max() < 0.05


# --- fastMRI ---


def test_columns_that_were_never_measured(tmp_path):
    """The header's limits say so, not the zeros: 3 to 33 of 40."""
    some = np.zeros(40, bool)
    some[3:34] = True
    xml = files.header(32, 40, last=30, centre=17)
    files.write_fastmri(tmp_path / "a.h5", np.stack([FULL * some] * 3), xml)
    scan = load_scan(tmp_path / "a.h5", rows=slice(1, 3))
    assert scan.data.shape == (2, 4, *SHAPE)
    np.testing.assert_array_equal(scan.operator.mask.squeeze().numpy(), some)
    assert scan.provenance["acquisition"] == "AXT2"
    assert "0123456789" not in str(scan.provenance)
    np.save(tmp_path / "mask.npy", SOME)
    with pytest.warns(InputWarning, match="left out"):
        scan = load_scan(tmp_path / "a.h5", rows=slice(1), mask=str(tmp_path / "mask.npy"))
    np.testing.assert_array_equal(scan.operator.mask.squeeze().numpy(), some & SOME)


def test_a_single_coil_has_no_axis(tmp_path):
    files.write_fastmri(tmp_path / "a.h5", np.stack([FULL[0]] * 2), files.header(32, 40))
    scan = load_scan(tmp_path / "a.h5")
    assert (scan.operator.coils, scan.data.shape) == (None, (2, *SHAPE))
    rss = scan.operator.direct(scan.data)[1].abs()
    np.testing.assert_allclose(rss, np.abs(centred_ifft(centred_ifft(FULL[0], 0), 1)), atol=1e-5)


FAST = {
    "no header": ({"xml": b""}, "XML header is empty"),
    "not xml": ({"xml": "<a"}, "XML header is damaged"),
    "doctype": ({"xml": '<!DOCTYPE a [<!ENTITY b "c">]><a/>'}, "document type"),
    "namespace": ({"xml": "<ismrmrdHeader/>"}, "begins with ismrmrdHeader"),
    "other width": ({"xml": files.header(32, 41)}, "40 phase encodings, and its header 41"),
    "axes": ({"kspace": FULL[0]}, r"shape \(32, 40\)"),
    "mask": ({"mask": np.ones(39)}, "mask has the shape"),
    "mask of 2": ({"mask": np.full(40, 2)}, "values of 0 and 1"),
    "long": ({"xml": "<a>" + " " * 2**20 + "</a>"}, "over 1048576 bytes"),
}


@pytest.mark.parametrize(("changes", "words"), FAST.values(), ids=FAST)
def test_files_that_are_no_fastmri(tmp_path, changes, words):
    parts = {"kspace": FULL[None], "xml": files.header(32, 40)} | changes
    if parts["xml"] == b"":
        parts["xml"] = " "
    files.write_fastmri(tmp_path / "a.h5", **parts)
    with pytest.raises(InputError, match=words):
        load_scan(tmp_path / "a.h5")


def test_links_out_of_the_file_are_refused(tmp_path):
    files.write_fastmri(tmp_path / "a.h5", FULL[None], files.header(32, 40))
    files.write_ismrmrd(tmp_path / "b.h5", files.lines(ACROSS), files.header(32, 40))
    for name, where in (("a.h5", "ismrmrd_header"), ("b.h5", "dataset/xml"), ("b.h5", "dataset/data")):
        with h5py.File(tmp_path / "c.h5", "w") as file, h5py.File(tmp_path / name, "r") as source:
            for key in source:
                source.copy(key, file)
            del file[where]
            file[where] = h5py.ExternalLink(name, where)
        with pytest.raises(InputError, match="external link"):
            load_scan(tmp_path / "c.h5")


# --- ISMRMRD ---


def loaded(path, records, xml=None, **options):
    files.write_ismrmrd(path, records, xml or files.header(32, 40))
    return load_scan(path, **options)


def test_only_acquisitions_of_the_image_are_used(tmp_path):
    """Navigators, corrections, feedback, dummies and other encodings would spoil the line they name."""
    good = files.lines(FULL.swapaxes(1, 2))
    flags = (19, 23, 24, 26, 27, 28, 29, 30, 31)
    junk = [files.acquisition(1e3 * FULL[:, 3, :32], flags=(flag,), kspace_encode_step_1=7) for flag in flags]
    other = files.acquisition(1e3 * FULL[:, 3, :8], space=1, kspace_encode_step_1=3)
    scan = loaded(tmp_path / "a.h5", [*junk, *good, other])
    np.testing.assert_array_equal(scan.data.numpy(), FULL.swapaxes(1, 2))
    assert scan.weights is None
    assert scan.provenance["acquisitions"] == "40 of 50"


def test_reversed_cut_and_asymmetric_read_outs(tmp_path):
    kspace = FULL.swapaxes(1, 2)  # (coil, phase, read-out of 32 with its centre at 16)
    padded = np.pad(kspace, ((0, 0), (0, 0), (3, 2)))
    records = []
    for i in range(40):
        line = padded[:, i]
        if i % 2:
            records.append(files.acquisition(line, centre=19, pre=3, post=2, kspace_encode_step_1=i))
        else:
            records.append(
                files.acquisition(line[:, ::-1], flags=(22,), centre=36 - 19, pre=2, post=3, kspace_encode_step_1=i)
            )
    np.testing.assert_array_equal(loaded(tmp_path / "a.h5", records).data.numpy(), kspace)
    partial = [files.acquisition(kspace[:, i, 5:], centre=11, kspace_encode_step_1=i) for i in range(40)]
    scan = loaded(tmp_path / "b.h5", partial)
    np.testing.assert_array_equal(scan.data.numpy(), kspace * (np.arange(32) >= 5))
    np.testing.assert_array_equal(scan.operator.mask.squeeze().numpy(), np.arange(32) >= 5)


def test_phase_encodings_lie_about_the_centre_of_the_header(tmp_path):
    kspace = FULL.swapaxes(1, 2)
    records = [files.acquisition(kspace[:, i], kspace_encode_step_1=i - 6) for i in range(6, 40)]  # partial Fourier
    scan = loaded(tmp_path / "a.h5", records, files.header(32, 40, last=33, centre=14))
    np.testing.assert_array_equal(scan.data.numpy(), kspace * (np.arange(40) >= 6)[:, None])
    files.write_ismrmrd(tmp_path / "b.h5", records, files.header(32, 40, last=33, centre=24))
    with pytest.raises(InputError, match="4 of 34 acquisitions of the image lie outside"):
        load_scan(tmp_path / "b.h5")


def test_repeats_are_averaged_and_count_more(tmp_path):
    kspace = FULL.swapaxes(1, 2)
    middle = files.lines(3 * kspace, range(12, 28), average=1)
    scan = loaded(tmp_path / "a.h5", [*files.lines(kspace), *middle])
    np.testing.assert_allclose(scan.data.numpy()[:, 12:28], 2 * kspace[:, 12:28], rtol=1e-6)
    np.testing.assert_array_equal(scan.weights[0, :, 0].numpy(), 1 + ((np.arange(40) >= 12) & (np.arange(40) < 28)))
    assert scan.weights.shape == scan.data.shape


def test_contrasts_and_slices_are_items(tmp_path):
    kspace = FULL.swapaxes(1, 2)
    records = [
        r for c in range(2) for s in range(3) for r in files.lines((1 + c + 10 * s) * kspace, contrast=c, slice=s)
    ]
    scan = loaded(tmp_path / "a.h5", records)
    assert scan.data.shape == (2, 3, 4, 40, 32)
    np.testing.assert_allclose(scan.data[1, 2].numpy(), 22 * kspace)
    one = load_scan(tmp_path / "a.h5", rows=slice(1, 2))
    np.testing.assert_allclose(one.data[0, 2].numpy(), 22 * kspace)
    with pytest.raises(InputError, match="contrast 1, slice 2 has no acquisition, and others have 40"):
        loaded(tmp_path / "b.h5", records[:-40])


ECHO_TIMES = np.array([20.0, 40.0, 80.0])  # ms


def echoes(t2=50.0):
    """K-space at the echo times of an object with one T2, (echo, coil, y, x)."""
    noise = truth.noise((len(ECHO_TIMES), *CLEAN.shape), SIGMA)
    return (np.exp(-ECHO_TIMES / t2)[:, None, None, None] * CLEAN + noise).astype(np.complex64)


def test_contrasts_become_a_map_on_the_command_line(invprob, tmp_path):
    across = (echoes() * SOME).swapaxes(2, 3)
    records = [r for i, echo in enumerate(across) for r in files.lines(echo, np.flatnonzero(SOME), contrast=i)]
    files.write_ismrmrd(tmp_path / "a.h5", records, files.header(32, 40))
    settings = ["echo_times=20,40,80", "strength=1e-3", "max_iter=3"]
    options = [part for setting in settings for part in ("--set", setting)]
    done = invprob("reconstruct", "a.h5", "--read", "frames=contrast", "--method", "t2-map", *options)
    assert done.code == 0, done.err
    t2 = load_result(tmp_path / "a_t2-map.h5").maps["T2"].values.numpy()[truth.inside(BODY, SHAPE).T]
    assert np.nanmedian(np.abs(t2 - 50)) <= 1.5


def test_echoes_of_a_cfl_pair_are_frames(tmp_path):
    kspace = echoes() * SOME
    save_cfl(tmp_path / "a", kspace[:, None, :, None])  # dimensions 5, the echoes, 4, the maps, 3, the coils
    scan = load_scan(tmp_path / "a.hdr", frames="echo")
    assert scan.operator.frames == 3
    np.testing.assert_array_equal(scan.data.numpy(), kspace)


def test_frames_of_a_stack_keep_its_rows(tmp_path):
    """The axis of the frames may stand before or after that of the rows, and maps are those of all frames together."""
    kspace = np.stack([echoes() * SOME, 2 * echoes() * SOME])  # (slice, echo, coil, y, x)
    np.save(tmp_path / "a.npy", kspace)
    np.save(tmp_path / "b.npy", kspace.swapaxes(0, 1))
    one = load_scan(tmp_path / "a.npy", axes=("slice", "echo", "coil", "y", "x"), frames="echo", rows=slice(1, 2))
    other = load_scan(tmp_path / "b.npy", axes=("echo", "slice", "coil", "y", "x"), frames="echo", rows=slice(1, 2))
    for scan in (one, other):
        assert (scan.operator.frames, scan.data.shape) == (3, (1, 3, 4, *SHAPE))
        np.testing.assert_array_equal(scan.data[0].numpy(), kspace[1])
    assert one.operator.maps.shape == (1, 4, *SHAPE)
    with pytest.raises(InputError, match="no axis 'frame' of several images for --read frames: it has slice, echo"):
        load_scan(tmp_path / "a.npy", axes=("slice", "echo", "coil", "y", "x"), frames="frame")


def test_noise_makes_the_coils_white(tmp_path):
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4))
    noise = [
        files.acquisition((mix @ truth.noise((4, 256), 0.01, i)).astype("c8"), flags=(19,), dwell=4.0)
        for i in range(20)
    ]
    kspace = np.einsum(
        "cd,dyx->cyx", mix, CLEAN.swapaxes(1, 2) + truth.noise((4, 40, 32), 0.01 / np.sqrt(0.8 * 5 / 4), 99)
    )
    scan = loaded(tmp_path / "a.h5", [*noise, *files.lines(kspace)])
    assert scan.noise == 1.0
    assert scan.provenance["whitening"] == "by 5120 samples of noise, variance ratio 1"
    x = scan.operator.direct(scan.data)
    seen = (scan.data - scan.operator(x)).abs().square().mean().sqrt()
    assert 0.7 < float(seen) < 1.3
    few = loaded(
        tmp_path / "b.h5", [*(files.acquisition(mix[:, :2], flags=(19,)) for _ in range(3)), *files.lines(kspace)]
    )
    assert few.provenance["whitening"] == "none: 6 samples of noise are too few for 4 coils"


def test_lines_for_calibration_alone_are_of_no_image(tmp_path):
    kspace = FULL.swapaxes(1, 2)
    apart = files.lines(5 * kspace, range(8, 32), flags=(20,))
    every_other = files.lines(kspace, range(0, 40, 2))
    scan = loaded(tmp_path / "a.h5", [*apart, *every_other])
    np.testing.assert_array_equal(scan.data.numpy(), kspace * (np.arange(40) % 2 == 0)[:, None])
    assert scan.provenance["coil maps"].startswith("ESPIRiT from 24 x 24 samples")


def test_data_of_siemens_are_conjugated(tmp_path):
    records = files.lines(FULL.swapaxes(1, 2))
    scan = loaded(tmp_path / "a.h5", records, files.header(32, 40, vendor="SIEMENS"))
    np.testing.assert_array_equal(scan.data.numpy(), FULL.swapaxes(1, 2).conj())
    assert "SIEMENS" in scan.provenance["conjugated"]
    scan = load_scan(tmp_path / "a.h5", conjugate=False)
    np.testing.assert_array_equal(scan.data.numpy(), FULL.swapaxes(1, 2))
    assert "conjugated" not in scan.provenance


def test_oversampled_read_outs_are_cut(tmp_path):
    wide = oversampled(FULL.swapaxes(1, 2), 2, 64)
    scan = loaded(tmp_path / "a.h5", files.lines(wide), files.header(64, 40, oversampled=2))
    np.testing.assert_allclose(scan.data.numpy(), FULL.swapaxes(1, 2), atol=1e-4)
    assert scan.provenance["read-out"].startswith("cut from 64 to 32 pixels")


def test_asymmetric_read_outs_stay_oversampled(tmp_path):
    """Cutting them in the image would smear what is missing of k-space over all of it."""
    wide = oversampled(FULL.swapaxes(1, 2), 2, 64)
    records = [files.acquisition(wide[:, i, 9:], centre=23, kspace_encode_step_1=i) for i in range(40)]
    scan = loaded(tmp_path / "a.h5", records, files.header(64, 40, oversampled=2))
    np.testing.assert_array_equal(scan.data.numpy(), wide * (np.arange(64) >= 9))
    assert "read-out" not in scan.provenance


def test_lines_for_calibration_and_the_image_serve_both(tmp_path):
    kspace = FULL.swapaxes(1, 2)
    both = files.lines(kspace, range(8, 32), flags=(21,))
    others = files.lines(kspace, [*range(0, 8, 2), *range(32, 40, 2)])
    alone = files.lines(5 * kspace, range(7, 8), flags=(20,))
    scan = loaded(tmp_path / "a.h5", [*both, *others, *alone])
    here = np.isin(np.arange(40), [*range(8, 32), *range(0, 8, 2), *range(32, 40, 2)])
    np.testing.assert_array_equal(scan.data.numpy(), kspace * here[:, None])
    assert scan.provenance["coil maps"].startswith("ESPIRiT from 24 x 24 samples")


NOT_FINITE = {
    "bart": lambda path, y: (save_cfl(path, y[:, None]), path.with_suffix(".hdr"))[1],
    "fastmri": lambda path, y: (files.write_fastmri(path, y[None], files.header(32, 40)), path)[1],
    "ismrmrd": lambda path, y: (
        files.write_ismrmrd(path, files.lines(y.swapaxes(1, 2)), files.header(32, 40)),
        path,
    )[1],
}


@pytest.mark.parametrize("name", NOT_FINITE)
def test_readings_that_are_not_finite(invprob, tmp_path, name):
    path = NOT_FINITE[name](tmp_path / "a", not_finite(FULL, (2, 5, 6)))
    done = invprob("reconstruct", path.name)
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "is NaN or infinite in 1 of 5120 places, first at" in done.err


def changed(**fields):
    records = files.lines(FULL.swapaxes(1, 2))
    for name, value in fields.items():
        records[3]["head"][name] = value
    return records


ACQUISITIONS = {
    "trajectory": (
        changed(),
        files.header(32, 40, trajectory="spiral"),
        "a spiral trajectory have positions of \\[0\\] axes, expected 2 or 3",
    ),
    "samples": (changed(number_of_samples=31), None, "acquisition 3 has 256 numbers, and its head tells of 4 x 31"),
    "coils": (changed(active_channels=2, number_of_samples=64, center_sample=32), None, "outside"),
    "none": (changed()[:0] or [files.acquisition(FULL[:, 0], flags=(19,))], None, "no acquisition of an image among 1"),
    "empty header": (changed(), " ", "XML header is empty"),
    "declared": (changed(active_channels=60000, number_of_samples=60000), None, "in a smaller file"),
}


@pytest.mark.parametrize(("records", "xml", "words"), ACQUISITIONS.values(), ids=ACQUISITIONS)
def test_acquisitions_that_make_no_image(tmp_path, records, xml, words):
    with pytest.raises(InputError, match=words):
        loaded(tmp_path / "a.h5", records, xml)


def test_other_records_are_no_acquisitions(tmp_path):
    files.write_ismrmrd(tmp_path / "a.h5", changed(), files.header(32, 40))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["dataset/data"]
        file["dataset/data"] = np.zeros(3, [("head", "f4"), ("data", "f4")])
    with pytest.raises(InputError, match="other records than expected"):
        load_scan(tmp_path / "a.h5")


def test_an_entity_is_not_followed_in_any_encoding():
    xml = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><a>&b;</a>'
    with pytest.raises(InputError, match="document type"):
        parse_header(xml, "x")
    with pytest.raises(InputError, match="no UTF-8"):
        parse_header(xml.encode("utf-16"), "x")


@pytest.mark.parametrize("name", ["fastmri", "ismrmrd"])
def test_a_truncated_file_says_so(tmp_path, name):
    raw = WRITERS[name](tmp_path / "a").read_bytes()
    (tmp_path / "b").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError, match="cut short"):
        scan_summary(tmp_path / "b")
