"""`invprob train`: make the weights that ship with the package, or your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from invprob.cli import parse
from invprob.cli.options import SEEDS
from invprob.files import check_file

__all__ = ["app"]

app = typer.Typer(
    name="train",
    help="Train networks on generated images; nothing is downloaded, and a killed run resumes where it was.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_THREADS = 1024  # more than any machine has processors
_Out = Annotated[Path, typer.Option("--out", help="Directory for checkpoint, samples, weights and card.")]
_Config = Annotated[Path | None, typer.Option(help="Settings as .toml, .json or .yaml; `--set` goes before them.")]
_Steps = Annotated[int | None, typer.Option(min=1, help="Updates of the weights.")]
_Seed = Annotated[int | None, typer.Option(min=0, max=SEEDS, help="Of the images, the noise and the first weights.")]
_Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other setting; may be repeated.")
]
_Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")]
_SaveEvery = Annotated[
    float, typer.Option(parser=parse.positive, metavar="SECONDS", help="Time between two checkpoints.")
]
_Threads = Annotated[int | None, typer.Option(min=1, max=_THREADS, help="Processor threads of each process.")]
_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
_Name = Annotated[str, typer.Option(help="Of the weights: NAME.safetensors and the card NAME.json.")]


@app.command()
def denoiser(
    out: _Out,
    config: _Config = None,
    steps: _Steps = None,
    seed: _Seed = None,
    set_: _Set = None,
    name: _Name = "denoiser",
    resume: _Resume = False,
    save_every: _SaveEvery = 180.0,
    threads: _Threads = None,
    debug: _Debug = False,
) -> int:
    """Train a denoiser on generated images, in as many processes as torchrun starts.

    The images and the noise of a step depend on the seed and the step alone: a run that was killed and resumed gives
    the same weights as one that was not. Ctrl-C saves a checkpoint and ends.
    """
    del debug
    return _train("denoiser", out, name, config, set_, resume, save_every, threads, steps=steps, seed=seed)


@app.command()
def diffusion(
    out: _Out,
    config: _Config = None,
    steps: _Steps = None,
    seed: _Seed = None,
    set_: _Set = None,
    name: _Name = "diffusion",
    resume: _Resume = False,
    save_every: _SaveEvery = 180.0,
    threads: _Threads = None,
    debug: _Debug = False,
) -> int:
    """Train a diffusion prior: a denoiser for every noise level, on generated bodies as CT and MR show them.

    Resumes like `train denoiser`.
    """
    del debug
    return _train("diffusion", out, name, config, set_, resume, save_every, threads, steps=steps, seed=seed)


@app.command()
def lpn(
    out: _Out,
    data: Annotated[
        str | None, typer.Option(help="What to learn from: images, phantoms, laplace, or an .npz file of images.")
    ] = None,
    config: _Config = None,
    steps: _Steps = None,
    seed: _Seed = None,
    set_: _Set = None,
    name: _Name = "lpn",
    resume: _Resume = False,
    save_every: _SaveEvery = 180.0,
    threads: _Threads = None,
    debug: _Debug = False,
) -> int:
    """Train a learned proximal network: a denoiser that is the prox of a regulariser which can be evaluated.

    Pre-training by L1, L2 or PSNR, then proximal matching with falling widths. Resumes like `train denoiser`.
    """
    del debug
    return _train("lpn", out, name, config, set_, resume, save_every, threads, steps=steps, seed=seed, data=data)


@app.command(name="radar-denoiser")
def radar_denoiser(
    out: _Out,
    config: _Config = None,
    steps: _Steps = None,
    seed: _Seed = None,
    set_: _Set = None,
    name: _Name = "radar-denoiser",
    resume: _Resume = False,
    save_every: _SaveEvery = 180.0,
    threads: _Threads = None,
    debug: _Debug = False,
) -> int:
    """Train a denoiser of the magnitudes of three-dimensional radar images on generated targets.

    Resumes like `train denoiser`.
    """
    del debug
    return _train("radar-denoiser", out, name, config, set_, resume, save_every, threads, steps=steps, seed=seed)


def _train(
    kind: str,
    out: Path,
    name: str,
    config: Path | None,
    set_: list[str] | None,
    resume: bool,
    save_every: float,
    threads: int | None,
    **options: Any,
) -> int:
    """Run a training; what options ask for goes before what `--set` says."""
    if config is not None:
        check_file(config)  # before torch is loaded
    from invprob.cli.training_run import Run, run

    given = parse.settings(set_ or []) | {key: value for key, value in options.items() if value is not None}
    return run(Run(out, name, config, given, resume, save_every, threads, kind=kind))
