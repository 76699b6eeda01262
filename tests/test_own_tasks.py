"""Tasks of one's own: other batches, other arguments of the network, volumes, complex images."""

import itertools
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn
from trainers import train, weights

from invprob.errors import InputError
from invprob.linop import LinearOperator
from invprob.operators import Mask
from invprob.training import (
    Batch,
    Batches,
    NoisyImages,
    Task,
    Team,
    Trainer,
    TrainingSettings,
    export,
    generator_of,
    validate,
)
from invprob.training.batches import _symmetries, _turned
from invprob.training.contraction import residual_expansion
from invprob.training.matching import mean_square

ROOT = Path(__file__).parents[1]
QUICK = {"steps": 30, "batch": 4, "learning_rate": 0.02, "warmup": 3, "precision": "float32"}
PATCHES = {**QUICK, "learning_rate": 0.1, "patch": 16, "image": 16, "reuse": 5}


def waves(count, side, ndim, generator):
    """Smooth complex images or volumes, of one wave each."""
    slopes = 2 * torch.rand(count, ndim, generator=generator)
    axes = torch.stack(torch.meshgrid(*[torch.linspace(0, 3, side)] * ndim, indexing="ij"))
    return torch.exp(1j * torch.einsum("ba,a...->b...", slopes, axes))


@dataclass
class Measurement:
    """What a mask leaves of images, and the images: nothing that denoisers know."""

    A: LinearOperator
    data: torch.Tensor
    truth: torch.Tensor

    def to(self, weight):
        return Measurement(self.A.to(weight.device, weight.dtype), self.data.to(weight), self.truth.to(weight))


class Inpainting(nn.Module):
    """Landweber steps with a learned filter after each; it takes an operator and data."""

    def __init__(self):
        super().__init__()
        self.filters = nn.Parameter(torch.zeros(3, 1, 1, 5, 5))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, A, data):
        self.calls += 1
        x = A.adjoint(data)
        for kernel in self.filters:
            x = x + nn.functional.conv2d(x[:, None], kernel, padding=2)[:, 0]
            x = x + A.adjoint(data - A(x))
        return x


class InpaintingTask(Task):
    def build(self):
        return Inpainting()

    def batches(self, first, last):
        def batch(step):
            generator = generator_of(9, self.settings.seed, step)
            kept = torch.rand(16, 16, generator=generator) < 0.5
            truth = waves(self.settings.batch, 16, 2, generator).real[first:last]
            A = Mask(kept)
            return Measurement(A, A(truth), truth)

        return batch

    def predict(self, network, batch):
        return network(batch.A, batch.data)

    def loss(self, answer, batch, step):
        return (answer - batch.truth).square().mean()

    def quality(self, network):
        with torch.no_grad():
            batch = self.batches(0, 4)(10**6)
            error = self.loss(self.predict(network, batch), batch, 0)
        return {"measure": "mean square", "error": float(error)}


class NoisyTask(Task[Batch]):
    """What volumes and complex images share: `source` makes them, `network` is told nothing of tasks."""

    ndim = 2

    def batches(self, first, last):
        return Batches(self.settings, first, last, self.source, ndim=self.ndim)

    def predict(self, network, batch):
        return network(batch.noisy, batch.sigma)

    def loss(self, answer, batch, step):
        return mean_square(batch.error(answer, self.settings.sigma_max)).mean()


class VolumeNetwork(nn.Module):
    """x - w(x, sigma) by one convolution in three dimensions."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(1, 2, 3, 3, 3))

    def forward(self, x, sigma):
        level = sigma[:, None, None, None].expand_as(x)
        return x + nn.functional.conv3d(torch.stack([x, level], 1), self.kernel, padding=1)[:, 0]


class VolumeTask(NoisyTask):
    ndim = 3

    def build(self):
        return VolumeNetwork()

    def source(self, count, side, generator):
        return waves(count, side, 3, generator).real


class PartsNetwork(nn.Module):
    """A convolution of real and imaginary parts, that is told the noise of one part."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(2, 3, 3, 3))

    def forward(self, z, sigma):
        parts = torch.view_as_real(z).movedim(-1, -3)
        batch = parts.reshape(-1, *parts.shape[-3:])
        level = (torch.as_tensor(sigma) / math.sqrt(2)).expand(len(batch))[:, None, None, None]
        told = torch.cat([batch, level.expand(-1, 1, *batch.shape[-2:])], 1)
        answer = batch + nn.functional.conv2d(told, self.kernel, padding=1)
        return torch.view_as_complex(answer.reshape(parts.shape).movedim(-3, -1).contiguous())


class ComplexTask(NoisyTask):
    def build(self):
        return PartsNetwork()

    def source(self, count, side, generator):
        return waves(count, side, 2, generator)


TASKS = {
    "operator": lambda **changes: InpaintingTask(TrainingSettings(**QUICK | changes)),
    "volume": lambda **changes: VolumeTask(NoisyImages(**PATCHES | changes)),
    "complex": lambda **changes: ComplexTask(NoisyImages(**PATCHES | changes)),
}


def unseen(trainer):
    """The loss of the averaged network on a batch that it was not trained on."""
    batch = trainer.batches(10**6)
    with torch.no_grad():
        return float(trainer.task.loss(trainer.task.predict(trainer.averaged, batch), batch, 0))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_trained_and_resumed_bit_for_bit(name, tmp_path):
    trainer = Trainer(TASKS[name]())
    before = unseen(trainer)
    train(trainer)
    assert unseen(trainer) < 0.85 * before
    for k in (0, 7, 30):
        path = tmp_path / f"{k}.pt"
        train(Trainer(TASKS[name]()), k).save(path)
        assert torch.equal(weights(train(Trainer.resume(path, task=TASKS[name]()))), weights(trainer)), f"step {k}"
    assert not torch.equal(weights(train(Trainer(TASKS[name](seed=1)))), weights(trainer))


def test_a_checkpoint_of_a_task_is_resumed_by_that_task_alone(tmp_path):
    path = tmp_path / "checkpoint.pt"
    Trainer(TASKS["operator"]()).save(path)
    with pytest.raises(InputError, match=r"training of 'InpaintingTask'.* give a task of your own"):
        Trainer.resume(path)
    with pytest.raises(InputError, match="the task is a VolumeTask"):
        Trainer.resume(path, task=TASKS["volume"]())
    with pytest.raises(InputError, match="with others"):
        Trainer.resume(path, task=TASKS["operator"](seed=31))


def test_the_forward_pass_goes_through_what_the_team_has_wrapped():
    class Wrapper(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network, self.calls = network, 0

        def forward(self, *arguments):
            self.calls += 1
            return self.network(*arguments)

    class Watched(Team):
        def wrapped(self, network):
            return Wrapper(network)

    for make in TASKS.values():
        trainer = train(Trainer(make(steps=3), Watched()))
        assert trainer._wrapped.calls == 3


def test_buffers_of_the_average_are_those_of_the_network():
    trainer = train(Trainer(TASKS["operator"](steps=3)))
    assert float(trainer.averaged.calls) == 3


def test_files_of_a_task(tmp_path):
    trainer = train(Trainer(TASKS["operator"](steps=3)))
    quality = trainer.task.quality(trainer.averaged)
    path = export(trainer, tmp_path, "holes", quality=quality)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["quality"] == quality
    assert (card["what"], card["architecture"], card["parameters"]) == ("InpaintingTask", "Inpainting", 76)
    assert TrainingSettings.checked(card["settings"]) == trainer.settings
    assert not {"licence", "command", "patch"} & {*card, *card["settings"]}  # nothing that is not known
    assert trainer.task.words(quality) == f"error {quality['error']:.6g}"
    assert trainer.task.samples(trainer.averaged) is None


def test_words_tell_numbers_and_groups_of_numbers():
    task = TASKS["operator"]()
    assert task.words({}) == ""
    quality = {"measure": "PSNR", "sigma 1": {"noisy": 20.125, "of": "x", "denoised": 31}, "far": 0.25}
    assert task.words(quality) == "sigma 1: noisy 20.125, denoised 31; far 0.25"


def test_tensors_in_a_quality_become_plain_numbers(tmp_path):
    trainer = Trainer(TASKS["operator"]())
    quality = {"psnr": torch.tensor(3.0), "of": {"level": torch.tensor(0.5)}, "each": (torch.tensor([1, 2]), None)}
    assert trainer.task.words(quality) == "psnr 3; of: level 0.5"
    path = export(trainer, tmp_path, "holes", quality=quality)
    found = json.loads(path.with_suffix(".json").read_text())["quality"]
    assert found == {"psnr": 3.0, "of": {"level": 0.5}, "each": [[1, 2], None]}


@pytest.mark.parametrize(
    ("given", "due"),
    [
        (torch.complex128, torch.complex64),
        (torch.complex64, torch.complex64),
        (torch.float64, torch.float32),
        (torch.int64, torch.int64),
        (torch.bool, torch.bool),
    ],
)
def test_a_tensor_is_a_batch_and_keeps_its_kind(given, due):
    """Before, complex batches lost their imaginary parts."""
    seen = []

    class Plain(InpaintingTask):
        def build(self):
            return nn.Linear(3, 3)

        def batches(self, first, last):
            return lambda step: torch.full((2, 3), 1j if given.is_complex else 1, dtype=given)

        def predict(self, network, batch):
            seen.append(batch)
            return network(batch.to(torch.complex64).abs())

        def loss(self, answer, batch, step):
            return answer.square().mean()

    Trainer(Plain(TrainingSettings(**QUICK))).advance()
    assert seen[0].dtype == due
    assert bool((seen[0] == (1j if given.is_complex else 1)).all())


def test_what_a_trainer_refuses():
    class Complex(InpaintingTask):
        def build(self):
            network = nn.Module()
            network.weight = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
            return network

    with pytest.raises(TypeError, match="complex weights"):
        Trainer(Complex(TrainingSettings()))
    with pytest.raises(TypeError, match="TrainingSettings belongs to none of denoiser, diffusion, lpn"):
        Trainer(TrainingSettings())


# batches


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_turns_are_all_symmetries_of_the_cube(ndim):
    cube = torch.arange(3**ndim).reshape((3,) * ndim)
    expected = set()
    for axes in itertools.permutations(range(ndim)):
        for mirrored in itertools.product([False, True], repeat=ndim):
            flips = [axis for axis in range(ndim) if mirrored[axis]]
            expected.add(tuple(cube.permute(axes).flip(flips).flatten().tolist()))
    found = [tuple(_turned(cube, k, ndim).flatten().tolist()) for k in range(_symmetries(ndim))]
    assert len(found) == len(expected)
    assert set(found) == expected
    both = torch.stack([cube, cube + 100])  # channels stay where they are
    turned = _turned(both, _symmetries(ndim) - 1, ndim)
    assert torch.equal(turned[1], turned[0] + 100)


@pytest.mark.parametrize("name", ["volume", "complex"])
def test_batches_of_other_items(name):
    task = TASKS[name](batch=16)
    whole = task.batches(0, 16)(3)
    ndim = task.ndim
    assert whole.clean.shape == (16, *[16] * ndim)
    assert whole.clean.is_complex() == whole.noisy.is_complex() == (name == "complex")
    noise = (whole.noisy - whole.clean) / whole.sigma.reshape(16, *[1] * ndim)
    assert float(noise.abs().square().mean()) == pytest.approx(1, rel=0.05)  # E|n|^2 = sigma^2
    if noise.is_complex():
        assert float(noise.real.square().mean()) == pytest.approx(0.5, rel=0.05)
    parts = [task.batches(first, first + 8)(3) for first in (0, 8)]
    assert torch.equal(whole.noisy, torch.cat([part.noisy for part in parts]))
    moved = whole.to(torch.zeros((), dtype=torch.float64))
    assert moved.noisy.dtype == (torch.complex128 if name == "complex" else torch.float64)
    assert moved.sigma.dtype == torch.float64
    assert torch.equal(moved.noisy.to(whole.noisy.dtype), whole.noisy)


def test_the_mean_square_of_other_errors():
    error = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.complex128)
    assert mean_square(error).tolist() == pytest.approx((error.abs() ** 2).mean((1, 2, 3)).tolist())
    corner = (error[:, 2:, :2, 2:].abs() ** 2).mean((1, 2, 3))
    assert mean_square(error, 2)[:, 5].tolist() == pytest.approx(corner.tolist())
    line = error[:, 0, 0].real
    assert mean_square(line, 2)[:, 1].tolist() == pytest.approx(line[:, 2:].square().mean(1).tolist())


def test_validation_of_complex_images_and_volumes():
    class Nothing(nn.Linear):
        def forward(self, x, sigma):
            return x

    expected = -20 * torch.log10(torch.tensor([25, 50]) / 255).double()
    for images in (torch.full((2, 64, 64), 0.5j), 0.5 * torch.ones(2, 16, 16, 16)):
        quality = validate(Nothing(1, 1), images, levels=(25, 50))
        assert torch.allclose(quality["noisy"], expected, atol=0.15)
        assert torch.equal(quality["noisy"], quality["denoised"])
    trainer = train(Trainer(TASKS["complex"]()))
    images = trainer.task.source(2, 64, torch.Generator().manual_seed(5))
    quality = validate(trainer.averaged, images, levels=(50,))
    assert float(quality["denoised"]) > float(quality["noisy"]) + 1


def test_the_expansion_of_a_residual_of_complex_images():
    network = PartsNetwork().double()
    with torch.no_grad():
        network.kernel.copy_(torch.randn(network.kernel.shape, generator=torch.Generator().manual_seed(0)))
    clean = torch.randn(1, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.complex128)
    noise = 0.1 * torch.randn(1, 5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.complex128)
    sigma = torch.ones(1, dtype=torch.float64)

    def residual(parts):
        x = torch.view_as_complex(parts)
        return torch.view_as_real(x - network(x, sigma))

    J = torch.autograd.functional.jacobian(residual, torch.view_as_real(clean + noise)).reshape(50, 50)
    found = float(residual_expansion(network, Batch(clean, clean + noise, sigma)).detach())
    assert 0.8 <= found / float(torch.linalg.matrix_norm(J, 2)) <= 1 + 1e-12


# the page


def test_the_example_of_the_page_runs(tmp_path, monkeypatch):
    (code,) = re.findall("```python\n(.*?)```", (ROOT / "docs" / "training.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert unseen(names["trainer"]) < 0.9 * unseen(Trainer(names["Deblurring"](names["settings"])))
    assert json.loads((tmp_path / "deblurring.json").read_text())["steps"] == 40
