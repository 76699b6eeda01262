"""Training of learned proximal networks: proximal matching and its exact minimisers, data, resuming, the command."""

import json

import numpy as np
import pytest
import torch
from trainers import train, weights

from invprob.cli.main import main
from invprob.errors import InputError
from invprob.priors import LearnedProximal, load_pretrained
from invprob.priors.networks import ConvexConv, ConvexRidge, ConvexScalar, RidgeRegulariser
from invprob.training import DenoiserSettings, ProximalSettings, Trainer
from invprob.training.checkpoint import load, save
from invprob.training.image_file import read_images
from invprob.training.laplace import laplace_batch, laplace_matched, laplace_mean, laplace_median
from invprob.training.matching import matching_loss, matching_weights, mean_square
from invprob.training.proximal_task import ProximalTask
from invprob.training.proximal_validation import proximal_quality

DOUBLE = torch.float64
TINY = {"batch": 4, "patch": 16, "image": 16, "reuse": 3, "steps": 8, "warmup": 2, "validate_every": 10**6, "filter": 3}
LAPLACE = {"data": "laplace", "network": "convex-scalar", "sigma_max": 1.0, "batch": 1, "width": 8, "layers": 2}


def settings(**changes):
    return ProximalSettings.checked({**TINY, **changes})


@pytest.fixture
def digits(tmp_path):
    path = tmp_path / "digits.npz"
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(40))
    return path


# ---- the loss


def test_matching_by_its_formula():
    error = torch.tensor([[0.3, -0.4], [1.2, 0.5]], dtype=DOUBLE)
    square = mean_square(error)
    assert square.tolist() == pytest.approx([0.125, 0.845])
    # |r|^2 / gamma^2 with the norm over the whole item and gamma = gamma_rms sqrt(n), as published
    gamma = 0.5 * 2**0.5
    assert matching_weights(square, 0.5).tolist() == pytest.approx(
        torch.exp(-error.square().sum(1) / gamma**2).tolist()
    )
    assert float(matching_loss(square, 0.5)) == pytest.approx(1 - float(matching_weights(square, 0.5).mean()))


def test_patches_are_matched_one_by_one():
    error = torch.zeros(1, 4, 6, dtype=DOUBLE)
    error[0, :2, 2:4] = 2.0
    assert mean_square(error, 2).tolist() == [[0, 4, 0, 0, 0, 0]]
    assert mean_square(error).tolist() == pytest.approx([4 * 4 / 24])


def test_the_widths_fall_in_equal_stages():
    s = settings(steps=100, matching=0.4, gammas="0.4-0.2")
    assert [s.gamma(k) for k in (0, 59, 60, 79, 80, 99)] == [None, None, 0.4, 0.4, 0.2, 0.2]
    assert settings(matching=0.0).gamma(7) is None
    assert settings(steps=10, matching=1.0, gammas=[0.3]).gamma(0) == 0.3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gammas": "0.4-x"}, r"gammas\.1: .*number"),
        ({"gammas": [0.4, -1]}, "gammas must be positive"),
        ({"data": "photos"}, "data must be images, phantoms, laplace or an .npz file"),
        ({"data": "laplace"}, "go together"),
        ({"matched": 32}, r"matched \(32\) must be at most patch \(16\)"),
        ({"network": "resnet"}, "network: input should be"),
    ],
)
def test_wrong_settings_are_one_sentence(values, words):
    with pytest.raises(InputError, match=words) as error:
        settings(**values)
    assert "\n" not in str(error.value)


# ---- Laplace's problem


def test_the_exact_minimisers():
    """Against figures worked out independently, to four digits."""
    y = torch.tensor([0.5, 1.0, 1.5, 2.0, 3.0], dtype=DOUBLE)
    assert laplace_mean(y).tolist() == pytest.approx([0.2410, 0.5032, 0.8056, 1.1611, 2.0258], abs=1e-4)
    assert laplace_median(y).tolist() == pytest.approx([0.1888, 0.4275, 0.7312, 1.1054, 2.0112], abs=5e-3)
    assert laplace_matched(y, 0.5).tolist() == pytest.approx([0.1402, 0.3106, 0.5716, 1.0022, 2.0], abs=1e-4)
    assert laplace_matched(y, 0.1).tolist() == pytest.approx([0.0421, 0.1110, 0.5, 1.0, 2.0], abs=1e-4)
    assert laplace_matched(-y, 0.2).tolist() == pytest.approx((-laplace_matched(y, 0.2)).tolist())


@pytest.mark.parametrize("gamma", [0.5, 0.2])
def test_the_identity_behind_them(gamma):
    """argmax_z of p(x | y) smoothed by a Gaussian of variance gamma^2 / 2, by brute force."""
    y = torch.tensor([0.4, 1.0, 2.3], dtype=DOUBLE)
    x, z = torch.linspace(-12, 12, 6001, dtype=DOUBLE), torch.linspace(-1, 3, 4001, dtype=DOUBLE)
    p = torch.exp(-x.abs() - 0.5 * (y[:, None] - x).square())
    smooth = p @ torch.exp(-((x[:, None] - z) / gamma).square())
    assert (z[smooth.argmax(1)] - laplace_matched(y, gamma)).abs().max() <= 1.5e-3


def test_the_quadrature_is_the_risk():
    """Its minimiser of the mean square is the posterior mean, at every noisy value."""
    batch = laplace_batch(1.0)
    y = batch.noisy[:, 0].double()
    mean = (batch.weight.double() * batch.clean.double()).sum(1) / batch.weight.double().sum(1)
    inside = y.abs() < 5
    assert float((mean - laplace_mean(y))[inside].abs().max()) <= 2e-3
    assert float(batch.weight.sum()) == pytest.approx(1.0, rel=1e-4)


def test_a_short_training_nears_its_target():
    s = settings(**LAPLACE, steps=250, learning_rate=0.04, matching=0.0, pretraining="l2", ema=0.9)
    trainer = train(Trainer(s))
    quality = proximal_quality(trainer.averaged, s, trainer.step)
    assert quality["largest distance from the target"] < 0.2
    assert quality["largest distance from the soft threshold"] > 0.4  # the mean is no maximum


# ---- networks, data


@pytest.mark.parametrize(
    ("changes", "network"),
    [
        ({}, RidgeRegulariser),
        ({"network": "convex-ridge"}, ConvexRidge),
        ({"network": "convex-conv", "width": 4, "layers": 2}, ConvexConv),
        ({"network": "convex-ridge", "data": "phantoms"}, ConvexRidge),
        (LAPLACE, ConvexScalar),
    ],
)
def test_every_network_is_trained_and_stays_a_prox(changes, network):
    trainer = train(Trainer(settings(**changes, matched=8)), 3)
    assert isinstance(trainer.network, network)
    assert trainer.network.weak_convexity() < 1
    assert not torch.equal(*weights(trainer).chunk(2))
    for name, weight in trainer.network.state_dict().items():
        if isinstance(trainer.network, ConvexConv | ConvexScalar) and name.startswith(("weights", "last")):
            assert float(weight.min()) >= 0


def test_images_from_a_file(digits):
    s = settings(data=str(digits), network="convex-conv", width=4, layers=2, sigma_max=0.1)
    trainer = Trainer(s)
    batch = trainer.batches(0)
    images = read_images(digits)
    assert float(images.max()) == 1.0
    assert batch.sigma.tolist() == [pytest.approx(0.1)] * 4
    kept = {k for k in range(40) if k % 10}
    for clean in batch.clean:
        (k,) = [k for k, image in enumerate(images) if torch.equal(image, clean)]
        assert k in kept  # as it is, and none of those held out
    assert trainer.network.arguments["side"] == 16
    assert ProximalTask(s).card(trainer.network, {})["sigma_range"] == [0.1, 0.1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "cannot be read"),
        (b"PK and so on", "cannot be read"),
        (np.zeros((30, 16, 17)), "square images"),
        (np.full((30, 16, 16), np.nan), "finite"),
        (np.full((30, 16, 16), 1j), "real numbers, got complex128"),
    ],
)
def test_files_that_hold_no_images(tmp_path, content, words):
    path = tmp_path / "a.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, images=content)
    with pytest.raises(InputError, match=words):
        read_images(path)


def test_one_array_is_no_archive(tmp_path):
    with (tmp_path / "a.npz").open("wb") as stream:
        np.save(stream, np.zeros((30, 16, 16)))
    with pytest.raises(InputError, match=r"write it by numpy\.savez"):
        read_images(tmp_path / "a.npz")


# ---- runs


def test_resuming_at_any_step_changes_nothing(tmp_path):
    s = settings(network="convex-ridge", matched=8)
    whole = weights(train(Trainer(s)))
    for k in (0, 3, 6, 8):
        path = tmp_path / f"{k}.pt"
        train(Trainer(s), k).save(path)
        assert torch.equal(weights(train(Trainer.resume(path))), whole), f"resumed at step {k}"


def test_the_weights_of_matching_are_told():
    trainer = Trainer(settings(network="convex-ridge", matched=8, matching=0.5))
    train(trainer, 4)
    assert trainer.notes == ""
    train(trainer, 5)
    assert trainer.notes.startswith("gamma 0.64, weights ")
    assert trainer.notes.endswith("(quantiles of 5 to 95 %)")


def test_checkpoints_from_before_there_were_kinds(tmp_path):
    path = tmp_path / "old.pt"
    known = {"batch": 4, "patch": 16, "image": 16, "channels": [4, 8], "blocks": 1, "precision": "float32", "steps": 3}
    trainer = train(Trainer(DenoiserSettings.checked(known)), 2)
    trainer.save(path)
    state = load(path)
    del state["kind"]
    save(path, state)
    assert torch.equal(weights(train(Trainer.resume(path))), weights(train(trainer)))
    save(path, {**state, "kind": "gan"})
    with pytest.raises(InputError, match="training of 'gan'"):
        Trainer.resume(path)


def test_the_command(tmp_path, capsys):
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps({**TINY, **LAPLACE, "steps": 6}))
    line = ["train", "lpn", "--out", str(tmp_path / "run"), "--config", str(config), "--name", "toy"]
    assert main(line) == 0
    assert "largest distance from the target" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"checkpoint.pt", "toy.safetensors", "toy.json"}
    prior = load_pretrained("toy", tmp_path / "run")
    assert isinstance(prior, LearnedProximal)
    assert prior.prox(torch.ones(2, 3), 1.0).shape == (2, 3)
    assert main([*line, "--resume"]) == 0
    assert main(["train", "denoiser", *line[2:4], "--resume"]) == 3
    assert "invprob train lpn --resume" in capsys.readouterr().err
    assert main(["train", "lpn", "--out", str(tmp_path / "other"), "--data", "no.npz"]) == 3
