"""Pictures: which part of an item they show, in which proportion, and what they say of it."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

import invprob
from invprob.errors import OutputError
from invprob.grid import Grid
from invprob.report.picture import Picture, show


def randn(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def decoded(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


def test_the_public_name_is_the_function():
    assert invprob.show is show
    assert isinstance(invprob.show(torch.rand(4, 5)), Picture)


def test_a_real_image_is_itself():
    image = randn(8, 9)
    picture = show(image)
    np.testing.assert_array_equal(picture.values, image.double())
    assert (picture.low, picture.high) == pytest.approx(np.percentile(image.double(), [0.5, 99.5]))
    assert (picture.caption, picture.size) == ("", (9, 8))


def test_parts_of_a_complex_image():
    x = randn(6, 7, dtype=torch.complex64)
    np.testing.assert_allclose(show(x).values, np.abs(x.numpy()), rtol=1e-6)
    np.testing.assert_allclose(show(x, part="real").values, x.real)
    phase, level = show(x, part="phase"), show(x, part="dB")
    np.testing.assert_allclose(phase.values, np.angle(x.numpy()), rtol=1e-6)
    assert (phase.low, phase.high) == (-math.pi, math.pi)
    np.testing.assert_allclose(level.values, 20 * np.log10(np.abs(x.numpy()) / np.abs(x.numpy()).max()), atol=1e-5)
    assert (level.low, level.high, level.values.max()) == (-40.0, 0.0, 0.0)
    assert [show(x).caption, phase.caption, level.caption] == ["magnitude", "phase", "dB below the maximum"]


def test_of_a_volume_the_middle_slice_the_maximum_or_the_mean():
    x = randn(12, 5, 6)
    middle, largest, mean = (show(x, 3, over=over) for over in ("slice", "max", "mean"))
    np.testing.assert_array_equal(middle.values, x[6].double())
    np.testing.assert_array_equal(largest.values, x.amax(0).double())
    np.testing.assert_allclose(mean.values, x.double().mean(0))
    assert middle.caption == "slice 6 of 12"
    assert (largest.caption, mean.caption) == ("maximum over 12 slices", "mean over 12 slices")


def test_the_maximum_of_a_complex_volume_is_one_of_magnitudes():
    x = randn(4, 5, 6, dtype=torch.complex64)
    np.testing.assert_allclose(show(x, 3, over="max").values, np.abs(x.numpy()).max(0), rtol=1e-6)
    level = show(x, 3, part="dB", over="max")
    assert level.values.max() == 0
    assert level.caption == "maximum over 4 slices, dB below the maximum"


def test_of_a_batch_the_middle_item_and_of_channels_the_middle_one():
    x = randn(2, 3, 4, 5, 6)
    np.testing.assert_array_equal(show(x, 3).values, x[1, 0, 2].double())
    assert show(x, 3).caption == "image 3 of 6, slice 2 of 4"
    assert show(x[0], 3, channels="echoes").caption == "image 1 of 3, echo 2 of 4"
    assert show(x[0, 0], 3, grid=Grid((1, 1))).caption == "channel 2 of 4"
    np.testing.assert_array_equal(show(x, 4, channels="frames").values, x[1, 1, 2].double())
    assert show(x[0], 4, channels="frames").caption == "frame 1 of 3, slice 2 of 4"


def test_colour_is_said_and_not_guessed():
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 4, 6)
    shown = decoded(show(red, 3, channels="colour", window=(0, 1)).png())
    assert (shown.shape, shown[2, 3].tolist()) == ((4, 6, 3), [255, 0, 0])
    assert show(red, 3).values.shape == (4, 6)  # three slices
    with pytest.raises(ValueError, match="in colour is"):
        show(torch.rand(4, 5, 6), 3, channels="colour")


def test_a_volume_in_colour_has_a_middle_slice_too():
    x = torch.rand(3, 5, 4, 6)
    picture = show(x, 4, channels="colour")
    np.testing.assert_array_equal(picture.values, x[:, 2].movedim(0, -1).double())
    assert picture.caption == "slice 2 of 5"
    np.testing.assert_array_equal(show(x, 4, channels="colour", over="max").values[..., 1], x[1].amax(0).double())


def test_pixels_that_are_no_squares_are_shown_in_proportion():
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    picture = show(x, grid=Grid((3.0, 1.0), "mm"), window=(0, 1))
    assert picture.size == (2, 6)
    assert decoded(picture.png()).tolist() == [[0, 255]] * 3 + [[255, 0]] * 3
    volume = show(torch.rand(4, 10, 10), 3, grid=Grid((5.0, 1.0, 2.0), "mm"))  # the slices' distance is not seen
    assert volume.size == (20, 10)
    assert show(x, grid=Grid((1e6, 1.0))).size[1] <= 8192


def test_windows_colours_and_values_that_are_not_finite():
    x = torch.linspace(0, 1, 1000).reshape(20, 50)
    assert (show(x).low, show(x).high) == pytest.approx((0.005, 0.995))
    assert decoded(show(x * 1j, window=(0.0, 2.0)).png())[[0, -1], [0, -1]].tolist() == [0, 128]
    x[3, 4] = torch.nan
    assert decoded(show(x, window=(-1, 0.5)).png())[3, 4] == 0
    assert decoded(show(torch.full((3, 3), torch.nan)).png()).max() == 0
    assert decoded(show(torch.zeros(3, 3)).png()).max() == 0
    blue = decoded(show(torch.tensor([[-1.0, 1.0]]), window=(-1, 1), colours="RdBu_r").png())[0, 0]
    assert blue[2] > 2 * blue[0]
    with pytest.raises(ValueError, match="low < high"):
        show(x, window=(1, 1))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float16, torch.bfloat16, torch.float64])
def test_every_kind_of_number_is_shown(dtype):
    x = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    assert decoded(show(x, window=(0, 1)).png()).tolist() == [[0, 255], [255, 0]]


def test_a_signal_is_a_line():
    assert show(torch.rand(3, 50), 1).size == (50, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ndim": 4}, "ndim=4"),
        ({"part": "imaginary"}, "part must be one of magnitude, phase, real, dB"),
        ({"over": "sum"}, "over must be one of"),
        ({"part": "phase", "over": "max"}, "neither a maximum nor a mean"),
        ({"grid": Grid((1, 1, 1))}, "grid of 3 axes"),
        ({"ndim": 3, "channels": "colour", "part": "dB"}, "have no dB"),
    ],
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        show(torch.rand(3, 4, 5), **options)


def test_files_are_whole_and_not_overwritten_unasked(tmp_path):
    picture = show(torch.rand(30, 2000))
    picture.save(tmp_path / "a.png")
    assert decoded((tmp_path / "a.png").read_bytes()).shape == (30, 2000)
    assert decoded(picture.png(1024)).shape[1] == 1024
    assert picture.uri().startswith("data:image/png;base64,")
    assert picture._repr_png_()[:4] == b"\x89PNG"
    with pytest.raises(OutputError, match="--overwrite"):
        picture.save(tmp_path / "a.png")
