"""The methods of the literature as rows of a table: a data step, and how the image moves to the next noise level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from invprob.sampling.data_steps import (
    Ball,
    DataStep,
    DualProx,
    Guide,
    Krylov,
    Nothing,
    PosteriorGuide,
    Project,
    Prox,
    Restart,
    Variational,
)
from invprob.sampling.schedules import Schedule
from invprob.sampling.spectral import Spectral

__all__ = ["PRESETS", "Preset"]

Before = Literal["merge", "langevin"]


@dataclass(frozen=True)
class Preset:
    """How to sample; `sample(..., eta=0.5)` changes any of it.

    Arguments:
        step: the data step.
        eta: the share of new noise in the next image, x' = x0 + sigma' (sqrt(1 - eta^2) e + eta z); "ddpm" is
            eta^2 = 1 - (sigma' / sigma)^2, and "reverse" x' = x + (sigma^2 - sigma'^2) score + new noise of the same
            variance, which is more than the chain loses.
        direction: e = (x - x0) / sigma with x0 as the prior says ("prior") or as corrected ("data").
        before: what is done to x at its noise level, in order: "merge" with the data at that level (Song, Shen, Xing &
            Ermon 2022), a "langevin" step of the prior.
        projected: by how much the next image is moved towards the data, x + projected A^+ (y - A x); 0 for not at all.
        snr: of the Langevin step.
        ode_steps: by how many steps of the probability flow the estimate is found; 1 is Tweedie's formula.
        steps: noise levels.
        schedule: how they are spaced: "karras", "geometric", "vp" or "flow".
        low, high: the last and the first, relative to the spread of the images.
        falls: the noise levels that split Gibbs sampling falls from, relative to the spread, in place of high.
        about: where it comes from.
    """

    step: DataStep
    eta: float | Literal["ddpm", "reverse"] = 1.0
    direction: Literal["prior", "data"] = "data"
    before: tuple[Before, ...] = ()
    projected: float = 0.0
    snr: float = 0.16
    ode_steps: int = 1
    steps: int = 100
    schedule: Schedule = "karras"
    low: float = 0.02
    high: float = 100.0
    falls: tuple[float, ...] = ()
    about: str = ""


_FALLS = tuple(max(2.0 * 0.85**k, 0.3) for k in range(12))

PRESETS: Mapping[str, Preset] = {
    "song": Preset(
        Nothing(),
        "reverse",
        before=("merge", "langevin", "merge"),
        projected=0.0,
        steps=250,
        schedule="geometric",
        about="Song, Shen, Xing & Ermon 2022: x merged with noisy data before every step",
    ),
    "score_pocs": Preset(
        Nothing(),
        "reverse",
        before=("langevin",),
        projected=1.0,
        steps=250,
        schedule="geometric",
        about="score-based sampling with projections onto the data (Chung, Sim, Ryu & Ye 2022)",
    ),
    "mcg": Preset(
        Guide(0.1, null_space=True),
        "reverse",
        before=("langevin",),
        projected=1.0,
        steps=250,
        schedule="geometric",
        about="manifold constrained gradients (Chung, Sim, Ryu & Ye 2022)",
    ),
    "dps": Preset(
        Guide(1.0),
        "ddpm",
        "prior",
        steps=250,
        schedule="vp",
        about="diffusion posterior sampling (Chung, Kim, McCann, Klasky & Ye 2023)",
    ),
    "adam_dps": Preset(
        Guide(1.0, adam=True), "ddpm", "prior", steps=250, schedule="vp", about="the same with the moments of Adam"
    ),
    "pigdm": Preset(
        PosteriorGuide(), "ddpm", about="pseudo-inverse guidance (Song, Vahdat, Mardani & Kautz 2023)", steps=200
    ),
    "ddrm": Preset(Spectral(), 0.85, "prior", schedule="vp", about="Kawar, Elad, Ermon & Song 2022"),
    "ddnm": Preset(Project(), 0.85, "prior", schedule="vp", about="null-space model (Wang, Yu & Zhang 2023)"),
    "dds": Preset(Krylov(), 0.85, "prior", schedule="vp", steps=50, about="Chung, Lee & Ye 2024"),
    "diffpir": Preset(
        Prox("flat", weight=1.0), 0.1**0.5, schedule="vp", about="Zhu, Zhang, Liang, Cao, Wen, Timofte & Van Gool 2023"
    ),
    "ddiff": Preset(DualProx(), 0.1**0.5, schedule="vp", about="diffpir with a dual variable"),
    "red_diff": Preset(
        Variational(), 1.0, schedule="vp", steps=250, about="variational (Mardani, Song, Kautz & Vahdat 2024)"
    ),
    "daps": Preset(
        Prox("posterior", noise=1.0),
        1.0,
        ode_steps=4,
        steps=50,
        low=0.1,
        about="decoupled annealing (Zhang, Chu, Berner, Meng, Anandkumar & Song 2025), data drawn exactly",
    ),
    "flower": Preset(Prox("posterior", noise=1.0), 1.0, about="Gaussian posteriors of the clean image (flow solvers)"),
    "flower_mean": Preset(
        Prox("posterior", noise=0.0), 1.0, about="flower without the noise of the posterior: an estimate, no sample"
    ),
    "fast_dips": Preset(Ball(), 1.0, steps=50, about="projection onto what noise explains, then noise anew"),
    "pnp_dm": Preset(
        Restart(_FALLS[1:]),
        "ddpm",
        "prior",
        steps=20,
        falls=_FALLS,
        about="split Gibbs sampling (Wu, Sun, Chen, Zhang, Yue & Bouman 2024)",
    ),
    "prior": Preset(Nothing(), "ddpm", "prior", about="draws from the prior, whatever the data"),
}
