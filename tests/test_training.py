"""Training: settings in words, batches by (seed, step), bit-equal resuming, one process and two, and the files."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from trainers import train, weights

from invprob import metrics
from invprob.cli.main import main
from invprob.errors import InputError
from invprob.priors import load_pretrained
from invprob.priors.networks import DenoisingUNet
from invprob.training import (
    DenoiserSettings,
    Team,
    Trainer,
    checkpoint,
    export,
    read_settings,
    validate,
    validation_images,
)
from invprob.training.batches import Batch, Batches
from invprob.training.contraction import residual_expansion
from invprob.training.denoiser_task import DenoiserTask
from invprob.training.trainer import learning_rate

TINY = {"batch": 4, "patch": 16, "image": 16, "reuse": 3, "channels": [4, 8], "blocks": 1, "validate_every": 10**6}
KINDS = {"precision": "float32", **TINY}


def settings(**changes):
    return DenoiserSettings.checked({**KINDS, "steps": 8, "warmup": 2, **changes})


# settings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"stepz": 3}, "there is no setting 'stepz'; known: steps, seed"),
        ({"steps": 0}, "steps: input should be greater than or equal to 1, got 0"),
        ({"patch": 64, "image": 32}, r"patch \(64\) must be at most image \(32\)"),
        ({"learning_rate": float("nan")}, "learning_rate: .*finite"),
        ({"precision": "half"}, "precision: input should be 'auto', 'float32', 'float64' or 'bfloat16'"),
        ({"channels": [4, 0]}, r"channels must be at least 1 each, got \[4, 0\]"),
        ({"steps": 0, "batch": 0}, "steps: .*; batch: "),
    ],
)
def test_wrong_settings_are_one_sentence(values, words):
    with pytest.raises(InputError, match=words) as error:
        DenoiserSettings.checked(values)
    assert "\n" not in str(error.value)


def test_channels_on_the_command_line():
    assert DenoiserSettings.checked({"channels": "16-32-64"}).channels == (16, 32, 64)
    assert DenoiserSettings.checked({"channels": [16, 32]}).channels == (16, 32)
    assert DenoiserSettings.checked({"channels": 16}).channels == (16,)  # as the command line understands 16
    with pytest.raises(InputError, match=r"channels\.1: .*integer.*'x'"):
        DenoiserSettings.checked({"channels": "16-x"})


def test_settings_from_files(tmp_path):
    (tmp_path / "a.toml").write_text("steps = 7\nchannels = [4, 8]\n")
    (tmp_path / "a.json").write_text('{"steps": 7, "channels": [4, 8]}')
    for name in ("a.toml", "a.json"):
        assert read_settings(tmp_path / name) == {"steps": 7, "channels": [4, 8]}
    for name, text, words in [
        ("b.toml", "steps = = 7", "no valid TOML"),
        ("b.json", "[1]", "must hold names with values"),
        ("b.ini", "", "are read from .toml, .json and .yaml"),
        ("c.toml", None, "cannot be read"),
    ]:
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=words):
            read_settings(tmp_path / name)


def test_yaml_is_read_or_the_missing_library_named(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("steps: 7\n")
    try:
        import yaml  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(InputError, match="YAML needs PyYAML"):
            read_settings(path)
    else:
        assert read_settings(path) == {"steps": 7}


def test_the_learning_rate_rises_and_falls():
    s = DenoiserSettings(steps=1000, warmup=100, learning_rate=0.01, last_rate=1e-4)
    rates = [learning_rate(s, k) for k in range(1000)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == pytest.approx(0.01)
    assert rates.index(max(rates)) in (99, 100)
    assert rates[550] == pytest.approx((0.01 + 1e-4) / 2, rel=0.01)
    assert rates[-1] == pytest.approx(1e-4, rel=0.01)


# batches


def test_a_batch_is_a_function_of_seed_and_step():
    s = settings(image=24)
    one, other = Batches(s, 0, 4), Batches(s, 0, 4)
    for step in (0, 1, 2, 3):
        one(step)
    for a, b in [(one(7), other(7)), (one(2), other(2))]:  # whatever was asked for before
        assert torch.equal(a.noisy, b.noisy)
        assert torch.equal(a.clean, b.clean)
    assert not torch.equal(one(2).noisy, one(3).noisy)
    assert not torch.equal(one(2).noisy, Batches(settings(image=24, seed=1), 0, 4)(2).noisy)


def test_shares_of_a_batch_make_up_the_batch():
    s = settings(batch=12)
    whole = Batches(s, 0, 12)(5)
    parts = [Batches(s, first, first + 4)(5) for first in (0, 4, 8)]
    assert torch.equal(whole.noisy, torch.cat([p.noisy for p in parts]))
    assert torch.equal(whole.sigma, torch.cat([p.sigma for p in parts]))


def test_the_noise_is_what_sigma_says():
    batch = Batches(settings(batch=64, patch=32, image=32), 0, 64)(0)
    assert batch.clean.shape == (64, 32, 32)
    assert 0 <= batch.sigma.min() < 0.05
    assert 0.25 < batch.sigma.max() <= 0.3
    measured = (batch.noisy - batch.clean).std((1, 2))
    assert torch.allclose(measured, batch.sigma, rtol=0.15)


def test_a_batch_in_colour():
    s = settings(batch=8, image=24, colours=3)
    batch = DenoiserTask(s).batches(0, 8)(3)
    assert batch.clean.shape == batch.noisy.shape == (8, 3, 16, 16)
    assert torch.allclose((batch.noisy - batch.clean).std((1, 2, 3)), batch.sigma, rtol=0.15)
    parts = [DenoiserTask(s).batches(first, first + 4)(3) for first in (0, 4)]
    assert torch.equal(batch.noisy, torch.cat([part.noisy for part in parts]))


def test_validation_images_are_nobodys_training_images():
    images = validation_images(4, 32)
    assert torch.equal(images, validation_images(4, 32))
    trained = Batches(settings(image=32, patch=32, batch=8), 0, 8)(0).clean
    assert not any(torch.equal(a, b) for a in images for b in trained)


# the trainer


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resuming_at_any_step_changes_nothing(tmp_path, precision):
    s = settings(precision=precision)
    whole = weights(train(Trainer(s)))
    for k in (0, 1, 3, 7, 8):
        path = tmp_path / f"{k}.pt"
        train(Trainer(s), k).save(path)
        assert torch.equal(weights(train(Trainer.resume(path))), whole), f"resumed at step {k}"
    assert not torch.equal(whole, weights(train(Trainer(settings(precision=precision, seed=1)))))


def test_a_run_may_be_made_shorter_or_longer(tmp_path):
    path = tmp_path / "checkpoint.pt"
    half = train(Trainer(settings()), 4)
    half.save(path)
    short = Trainer.resume(path, steps=6)
    assert (short.settings.steps, short.step, short.plans) == (6, 4, {4: 8})
    train(short).save(path)
    assert short.done
    rates = [learning_rate(short.settings, step) for step in (4, 5)]  # as of a run of six steps, and to its end
    assert rates == [learning_rate(settings(steps=6), step) for step in (4, 5)]
    assert short._optimizer.param_groups[0]["lr"] == rates[1] < learning_rate(settings(), 5)
    long = Trainer.resume(path, steps=9)
    assert (long.step, long.plans) == (6, {4: 8, 6: 6})  # what came before is not forgotten
    assert "up to step 4 a run of steps=8, then up to step 6" in export_card(train(long), tmp_path)["resumed"]
    assert "resumed" not in export_card(train(Trainer(settings())), tmp_path)
    with pytest.raises(InputError, match="steps=5 is less than the 6 steps that have been done"):
        Trainer.resume(path, steps=5)
    assert Trainer.resume(path, task=DenoiserTask(settings(steps=7))).plans == {4: 8, 6: 6}
    with pytest.raises(InputError, match="with others"):
        Trainer.resume(path, task=DenoiserTask(settings(steps=7, seed=1)))


def test_the_expansion_of_the_residual_is_that_of_its_jacobian():
    network = DenoisingUNet((4, 8), 1, generator=1).double()
    with torch.no_grad():
        network.tail.weight.add_(torch.randn(network.tail.weight.shape, generator=torch.Generator().manual_seed(0)))
    clean = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    batch = Batch(clean, clean + 0.1, torch.full((2,), 0.1, dtype=torch.float64))
    found = residual_expansion(network, batch)
    for k in range(2):
        J = torch.autograd.functional.jacobian(lambda x: x - network(x, 0.1), batch.noisy[k]).reshape(64, 64)
        assert 0.8 <= float(found[k].detach() / torch.linalg.matrix_norm(J, 2)) <= 1 + 1e-12
    assert torch.autograd.grad(found.sum(), network.tail.weight)[0].abs().max() > 0


def test_a_penalty_makes_the_residual_expand_less():
    def after(contraction):
        trainer = Trainer(settings(steps=60, learning_rate=1e-2, contraction=contraction, sigma_max=0.5))
        train(trainer)
        return float(residual_expansion(trainer.network, trainer.batches(0)).detach().max())

    assert after(1.0) < after(0.0)


def test_training_goes_on_from_weights(tmp_path):
    first = train(Trainer(settings()))
    start = export(first, tmp_path, "first", quality={})
    second = Trainer(settings(start=str(start), seed=5))
    assert torch.equal(weights(second).chunk(2)[0], weights(first).chunk(2)[1])  # it begins with the averaged ones
    card = json.loads(export(train(second), tmp_path, "second", quality={}).with_suffix(".json").read_text())
    assert card["command"].endswith("--set start=first.safetensors")
    assert card["start"]["command"].startswith("invprob train denoiser --steps 8")
    grown = Trainer(settings(start=str(start), blocks=2)).network
    noisy, level = torch.rand(2, 16, 24, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 0.3])
    assert torch.equal(grown(noisy, level), first.averaged(noisy, level))
    assert sum(map(torch.numel, grown.parameters())) > sum(map(torch.numel, first.averaged.parameters()))
    deeper = str(export(Trainer(settings(blocks=2)), tmp_path, "deeper", quality={}))
    wrongs = {"nothing": "no pretrained weights", "lpn-laplace": "no denoiser", str(start): "layout", deeper: "fewer"}
    for wrong, words in wrongs.items():
        with pytest.raises(InputError, match=words):
            Trainer(settings(start=wrong, unshuffle=1 if wrong == str(start) else 2))


def test_the_average_lags_behind_and_the_loss_is_what_it_says():
    trainer = Trainer(settings())
    batch = trainer.batches(0)
    relative = (batch.sigma / trainer.settings.sigma_max).clamp(min=0.02)
    square = (batch.noisy - batch.clean).square().mean((1, 2)) / relative  # it begins as the identity
    expected = (square + 1e-8).sqrt().mean()
    assert float(trainer.advance()) == pytest.approx(float(expected), rel=1e-5)
    train(trainer)
    w, mean = weights(trainer).chunk(2)
    start = weights(Trainer(settings())).chunk(2)[0]
    assert 0 < (mean - start).norm() < (w - start).norm()


def test_a_gradient_that_is_not_finite_stops_the_run_and_spares_the_weights():
    trainer = Trainer(settings())
    trainer.advance()
    before = weights(trainer)
    broken = torch.full((4, 16, 16), torch.nan)
    trainer.batches = lambda step: Batch(broken, broken, torch.ones(4))
    with pytest.raises(ArithmeticError, match="gradient of step 1 is not finite"):
        trainer.advance()
    assert torch.equal(weights(trainer), before)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no checkpoint"), (b"", "damaged"), (b"PK\x03\x04 and so on", "damaged"), ({"x": 1}, "is no checkpoint")],
)
def test_other_files_are_no_checkpoints(tmp_path, content, words):
    path = tmp_path / "checkpoint.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=words):
        Trainer.resume(path)


def test_no_flipped_byte_of_a_checkpoint_passes(tmp_path):
    path, generator = tmp_path / "checkpoint.pt", torch.Generator().manual_seed(0)
    checkpoint.save(path, {"settings": {"steps": 3}, "optimizer": {"state": torch.rand(100, generator=generator)}})
    content = path.read_bytes()
    assert checkpoint.load(path)["settings"] == {"steps": 3}
    for at in (*range(40), *torch.randint(len(content), (40,), generator=generator).tolist()):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x11]) + content[at + 1 :])
        with pytest.raises(InputError):
            checkpoint.load(path)


def test_a_batch_must_be_divisible():
    with pytest.raises(InputError, match=r"batch \(4\) must be a multiple of the number of processes \(3\)"):
        Trainer(settings(), Team(0, 3))


# files


def test_exported_weights_are_the_average(tmp_path, tmp_path_factory):
    trainer = train(Trainer(settings()))
    images = validation_images(2, 32)
    quality = validate(trainer.averaged, images)
    first, second = (
        export(trainer, folder, "toy", quality=quality) for folder in (tmp_path, tmp_path_factory.mktemp("again"))
    )
    assert first.read_bytes() == second.read_bytes()
    D = load_pretrained("toy", tmp_path)
    x = torch.rand(20, 20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(D(x, 0.1), trainer.averaged(x, 0.1))
    card = json.loads(first.with_suffix(".json").read_text())
    words = card["command"].split()
    assert words[:3] == ["invprob", "train", "denoiser"]
    given = dict(word.split("=") for word in words if "=" in word)
    given |= {key: words[words.index(f"--{key}") + 1] for key in ("steps", "seed") if f"--{key}" in words}
    told = DenoiserSettings.checked(given | {"validate_every": trainer.settings.validate_every, "device": "cpu"})
    assert told == trainer.settings.model_copy(update={"device": "cpu"})
    assert "BSD-3" in card["licence"]
    assert DenoiserSettings.checked(card["settings"]) == trainer.settings
    assert card["quality"]["sigma 25/255"]["noisy"] == pytest.approx(float(quality["noisy"][1]), abs=1e-3)


def test_validation_measures_the_noise():
    class Nothing(torch.nn.Linear):
        def forward(self, x, sigma):
            return x

    quality = validate(Nothing(1, 1), 0.5 * torch.ones(2, 96, 96), levels=(25, 50))
    expected = -20 * torch.log10(torch.tensor([25, 50]) / 255).double()
    assert torch.allclose(quality["noisy"], expected, atol=0.1)
    assert torch.equal(quality["noisy"], quality["denoised"])


# the command


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps({**KINDS, "steps": 6}))
    return path


@pytest.fixture
def few_validation_images(monkeypatch):
    monkeypatch.setattr(
        "invprob.training.denoiser_task.validation_images", lambda colours: validation_images(2, 32, colours)
    )


def test_the_command_trains_in_colour(tmp_path, config, few_validation_images):
    run = tmp_path / "run"
    assert main(["train", "denoiser", "--out", str(run), "--config", str(config), "--set", "colours=3"]) == 0
    assert np.asarray(Image.open(run / "samples.png")).shape == (3 * 32, 2 * 32, 3)
    D = load_pretrained("denoiser", run)
    assert (D.colours, D.card["arguments"]["colours"]) == (3, 3)
    assert "colour images" in D.card["what"]
    assert "--set colours=3" in D.card["command"]
    x = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    assert D(x, 0.2).shape == x.shape


def test_the_command_trains_and_writes_everything(tmp_path, config, capsys, few_validation_images):
    assert main(["train", "denoiser", "--out", str(tmp_path / "run"), "--config", str(config), "--name", "toy"]) == 0
    said = capsys.readouterr().out
    assert "PSNR on generated validation images at sigma 15, 25, 50 of 255: 24." in said
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"checkpoint.pt", "samples.png", "toy.safetensors", "toy.json"}
    expected = train(Trainer(DenoiserSettings.checked({**KINDS, "steps": 6})))
    x = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load_pretrained("toy", tmp_path / "run")(x, 0.2), expected.averaged(x, 0.2))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--set", "stepz=3"], 3, "there is no setting 'stepz'"),
        (["--resume"], 3, "no checkpoint"),
        (["--config", "missing.toml"], 3, "does not exist"),
        (["--name", "a/b"], 2, "plain name"),
        (["--steps", "0"], 2, "steps"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, capsys, arguments, code, words):
    assert main(["train", "denoiser", "--out", str(tmp_path / "run"), *arguments]) == code
    said = capsys.readouterr().err.strip()
    assert words in said
    assert "\n" not in said


def test_a_gpu_that_is_not_there_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["train", "denoiser", "--out", str(tmp_path / "run"), "--set", "device=cuda"]) == 3
    assert "there is no GPU that torch can use; choose cpu or auto" in capsys.readouterr().err


def test_a_run_is_resumed_only_on_purpose_and_with_its_settings(tmp_path, config, capsys, few_validation_images):
    line = ["train", "denoiser", "--out", str(tmp_path / "run"), "--config", str(config)]
    assert main(line) == 0
    assert main(line) == 2
    assert "add --resume" in capsys.readouterr().err
    assert main([*line, "--resume", "--seed", "9"]) == 3
    assert "seed was 0, now 9" in capsys.readouterr().err
    assert main([*line, "--resume"]) == 0
    assert main([*line, "--resume", "--steps", "5"]) == 3
    assert "less than the 6 steps that have been done" in capsys.readouterr().err
    assert main([*line, "--resume", "--steps", "8"]) == 0
    assert json.loads((tmp_path / "run" / "denoiser.json").read_text())["steps"] == 8
    (tmp_path / "run" / "checkpoint.pt").unlink()
    assert main(line) == 2
    assert "denoiser.safetensors exists: choose another --out or --name" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main([*line[:3], str(tmp_path / "file")]) == 2
    assert "cannot be a directory" in capsys.readouterr().err


def export_card(trainer, folder):
    return json.loads(export(trainer, folder, "weights", quality={}).with_suffix(".json").read_text())


def start(out, *more, **environment):
    line = [sys.executable, "-m", "invprob.cli.main", "train", "denoiser", "--out", str(out), "--threads", "1", *more]
    line[1:3] = ["-c", "import sys; from invprob.cli.main import main; sys.exit(main())"]
    return subprocess.Popen(
        line, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_checkpoint(process, path, newer_than=0):
    for _ in range(6000):
        if path.exists() and path.stat().st_mtime_ns > newer_than:
            return
        if process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.01)
    raise AssertionError("no checkpoint came")


LONG = ("--steps", "400", "--save-every", "0.01")


def test_killed_and_interrupted_runs_resume_as_if_nothing_had_happened(tmp_path, config):
    out, path = tmp_path / "run", tmp_path / "run" / "checkpoint.pt"
    more = ("--config", str(config), *LONG)
    process = start(out, *more)
    wait_for_checkpoint(process, path)
    process.kill()
    process.communicate()
    after_kill = Trainer.resume(path).step
    assert 0 < after_kill < 400
    seen = path.stat().st_mtime_ns
    process = start(out, *more, "--resume")
    wait_for_checkpoint(process, path, seen)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130, said
    assert "go on with --resume" in said
    trainer = Trainer.resume(path)
    assert after_kill < trainer.step < 400
    assert torch.equal(weights(train(trainer)), weights(train(Trainer(trainer.settings))))


def test_two_processes_agree_with_one(tmp_path, config):
    more = ("--config", str(config), "--steps", "20", "--set", "precision=float64", "--set", "batch=6")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    team = [
        start(tmp_path / "two", *more, RANK=str(k), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        for k in (0, 1)
    ]
    for process in team:
        said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    two = Trainer.resume(tmp_path / "two" / "checkpoint.pt")
    one = train(Trainer(two.settings))
    assert (two.step, two.settings.precision) == (20, "float64")
    assert float((weights(two) - weights(one)).abs().max()) < 1e-10


def test_a_toy_learns(tmp_path):
    trainer = train(
        Trainer(settings(steps=120, batch=8, patch=32, image=32, channels=[16], learning_rate=4e-3, warmup=10, reuse=8))
    )
    clean = validation_images(4, 48)
    noisy = clean + 0.15 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        denoised = trainer.averaged(noisy, 0.15)
    before, after = (metrics.psnr(x, clean, data_range=1.0).mean() for x in (noisy, denoised))
    assert after > before + 2
