"""`invprob train`: make the weights that ship with the package, or your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invprob.cli import parse

__all__ = ["app"]

app = typer.Typer(
    name="train",
    help="Train networks on generated images; nothing is downloaded, and a killed run resumes where it was.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _only_commands() -> None:
    """Keep `train denoiser` two words while there is only one of them."""


@app.command()
def denoiser(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Directory for checkpoint, samples, weights and card.")],
    config: Annotated[
        Path | None, typer.Option(help="Settings as .toml, .json or .yaml; `--set` goes before them.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates of the weights.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the images, the noise and the first weights.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other setting; may be repeated.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the weights: NAME.safetensors and the card NAME.json.")] = "denoiser",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    save_every: Annotated[
        float, typer.Option(parser=parse.positive, metavar="SECONDS", help="Time between two checkpoints.")
    ] = 180.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads of each process.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """Train a denoiser on generated images, in as many processes as torchrun starts.

    The images and the noise of a step depend on the seed and the step alone: a run that was killed and resumed gives
    the same weights as one that was not. Ctrl-C saves a checkpoint and ends.
    """
    del debug
    from invprob.cli.training_run import Run, run

    given = parse.settings(set_ or [])
    given |= {key: value for key, value in (("steps", steps), ("seed", seed)) if value is not None}
    return run(Run(out, name, config, given, resume, save_every, threads, command=context.obj))
