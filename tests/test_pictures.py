"""Pictures: which part of an item they show, in which proportion, and what they say of it."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import invprob
from invprob.errors import OutputError
from invprob.grid import Grid
from invprob.report.picture import Picture, bulk, show
from invprob.report.views import plot_result, slices_of
from invprob.result import Result


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


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_of_a_volume_of_one_layer_the_layer(axis):
    plane = torch.arange(20.0).reshape(4, 5)
    spacing = [2.0, 3.0]
    spacing.insert(axis, 7.0)
    picture = show(plane.unsqueeze(axis), 3, grid=Grid(tuple(spacing), "mm"))
    assert picture.values.tolist() == plane.tolist()
    assert (picture.sides, picture.caption) == ((2.0, 3.0), "")
    result = Result(plane.unsqueeze(axis), "converged", ("converged",), torch.tensor(3), 1.0, {}, None)
    result = replace(result, grid=Grid(tuple(spacing), "mm"), ndim=3)
    assert [shown.values.tolist() for shown in slices_of(result)] == [plane.tolist()]
    axes = Figure().add_subplot()
    assert plot_result(result, axes).images[0].get_extent() == [0.0, 15.0, 8.0, 0.0]


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


@pytest.mark.parametrize("value", [1e20, -1e20, 1.7e308, -1.7e308, float(np.finfo(float).max), 0.0])
def test_constants_of_any_size_are_shown(value):
    picture = show(torch.full((8, 8), value, dtype=torch.float64))
    assert -np.inf < picture.low < picture.high < np.inf
    assert len(set(decoded(picture.png()).flatten())) == 1


def test_the_largest_numbers_there_are_do_not_overflow():
    values = np.linspace(-1, 1, 64).reshape(8, 8)
    picture = show(torch.tensor(values * 1.7e308))
    np.testing.assert_allclose([picture.low, picture.high], 1.7e308 * np.percentile(values, [0.5, 99.5]))
    np.testing.assert_array_equal(decoded(picture.png()), decoded(show(torch.tensor(values)).png()))


def test_a_phase_is_blank_where_there_is_nothing():
    x = torch.polar(torch.ones(20, 20), torch.linspace(-3, 3, 20).expand(20, 20))
    x[:10] *= 0.01
    phase = show(torch.stack([torch.zeros_like(x), x, 9 * x]), 3, part="phase")
    assert phase.blank.tolist() == [[row < 10] * 20 for row in range(20)]
    colours = decoded(phase.png())
    assert set(colours[:10].flatten()) == {128}
    assert len({tuple(colour) for colour in colours[10]}) > 10
    assert show(torch.zeros(4, 4, dtype=torch.complex64), part="phase").blank.all()
    assert show(x[0] / 0.01, 1, part="phase").blank.shape == (1, 20)
    assert show(x).blank is None


def test_the_bulk_of_values_has_no_limit_of_size():
    values = torch.arange(1000.0)
    assert bulk(-values, 0.99) == pytest.approx(np.quantile(values, 0.99))
    assert bulk(torch.full((2**24 + 8,), 2.0, dtype=torch.float32), 0.5) == 2.0  # torch.quantile refuses as many
    assert [bulk(torch.zeros(5), 0.9), bulk(torch.full((5,), torch.nan), 0.9)] == [1.0, 1.0]


def test_what_is_no_tensor_is_refused_in_words():
    with pytest.raises(TypeError, match=r"show: a tensor or .* got list: as in show\(torch.as_tensor\(x\)\)"):
        show([[1.0, 2.0]])


def test_a_result_is_shown_by_its_image():
    result = Result(torch.rand(3, 4), "converged", ("converged",), torch.tensor(3), 1.0, {}, None)
    assert np.array_equal(show(result).values, show(result.x).values)
