"""Training a diffusion prior: batches that depend on the step alone, a run that resumes, weights that are a prior."""

import pytest
import torch
from skimage.restoration import denoise_tv_chambolle

from invprob import metrics
from invprob.phantoms import as_mr, bodies
from invprob.priors import DiffusionPrior, load_pretrained
from invprob.training import DiffusionSettings, Trainer
from invprob.training.diffusion_task import DiffusionTask, held_out_bodies

SMALL = {"steps": 6, "batch": 4, "size": 16, "images": 6, "channels": "8-8", "blocks": 1, "precision": "float32"}


def settings(**changes):
    return DiffusionSettings.checked({**SMALL, **changes})


def test_a_share_of_a_batch_is_what_the_whole_has_there():
    task = DiffusionTask(settings(mr_share=0.5))
    whole, part = task.batches(0, 4)(3), task.batches(2, 4)(3)
    for name in ("clean", "noisy", "sigma"):
        assert torch.equal(getattr(whole, name)[2:], getattr(part, name))
    assert not torch.equal(task.batches(0, 4)(4).clean, whole.clean)
    n = (whole.noisy - whole.clean) / whole.sigma[:, None, None]
    assert float(n.std()) == pytest.approx(1, abs=0.1)
    louder = DiffusionTask(settings(mr_share=0.5, perturbation=3**0.5)).batches(0, 4)(3)
    torch.testing.assert_close(louder.noisy - louder.clean, 2 * (whole.noisy - whole.clean))


def test_the_loss_of_knowing_nothing_is_one():
    """E|x0 - c_skip x|^2 / c_out^2 = 1 for images of the assumed spread, at every noise level."""
    task = DiffusionTask(settings(batch=400, mean=0.0))
    batch = task.batches(0, 1)(0)
    generator = torch.Generator().manual_seed(0)
    clean = 0.25 * torch.randn(400, 16, 16, generator=generator)
    sigma = torch.logspace(-2, 1, 400)
    noisy = clean + sigma[:, None, None] * torch.randn(400, 16, 16, generator=generator)
    batch = type(batch)(clean, noisy, sigma)
    network = task.build()
    with torch.no_grad():
        assert float(task.loss(task.predict(network, batch), batch, 0)) == pytest.approx(1, abs=0.03)
        bounded = DiffusionTask(settings(weighting="min-snr"))
        assert float(bounded.loss(network(noisy, sigma), batch, 0)) < 1


def test_a_resumed_run_is_the_same(tmp_path):
    whole = Trainer(settings())
    part = Trainer(settings())
    for k in range(6):
        whole.advance()
        if k < 3:
            part.advance()
    part.save(tmp_path / "checkpoint.pt")
    part = Trainer.resume(tmp_path / "checkpoint.pt")
    while not part.done:
        part.advance()
    assert part.kind == "diffusion"
    for a, b in zip(whole.averaged.parameters(), part.averaged.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_command_leaves_a_prior(invprob, tmp_path):
    sets = [f"--set={key}={value}" for key, value in SMALL.items() if key != "steps"]
    done = invprob("train", "diffusion", "--out", "run", "--steps", "3", *sets)
    assert done.code == 0, done.err
    found = load_pretrained("diffusion", tmp_path / "run")
    assert found.card["architecture"] == "diffusion-unet"
    assert "held out" in found.card["quality"]["measure"]
    assert (tmp_path / "run" / "diffusion.safetensors").stat().st_size < 2.5 * found.card["parameters"] + 9000
    prior = DiffusionPrior(found)
    assert prior.spread == 0.25
    assert prior.sigma_range[0] < 0.01 < 5 < prior.sigma_range[1]
    assert prior.denoise(torch.rand(2, 16, 16), torch.tensor([0.1, 3.0])).shape == (2, 16, 16)


def test_the_shipped_prior_passes_its_gate():
    """2 dB beyond total variation tuned on these very images."""
    found, clean = load_pretrained("diffusion"), held_out_bodies(4, 64)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    for sigma, weights in ((0.1, (0.06, 0.075, 0.09)), (0.3, (0.3, 0.38, 0.45))):
        noisy = clean + sigma * noise
        tv = [
            torch.stack([torch.from_numpy(denoise_tv_chambolle(image.numpy(), w, max_num_iter=100)) for image in noisy])
            for w in weights
        ]
        best = max(float(metrics.psnr(x, clean, data_range=1.0).mean()) for x in tv)
        own = float(metrics.psnr(found.denoise(noisy, sigma), clean, data_range=1.0).mean())
        assert own > best + 2
    assert "history" in found.card  # as its command alone does not tell how it was made


def test_bodies_are_the_same_at_every_size():
    fine, coarse = bodies(2, 64, 1), bodies(2, 32, 1)
    assert float((fine.unflatten(-1, (32, 2)).unflatten(-3, (32, 2)).mean((-1, -3)) - coarse).abs().mean()) < 0.02
    mr = as_mr(fine, 2)
    assert mr.shape == fine.shape
    assert float(mr[fine == 0].abs().max()) == 0  # air has no signal
    assert torch.equal(as_mr(fine, 2), mr)
