"""`invprob reconstruct`: from a scan to an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invprob.cli import parse
from invprob.cli.errors import UsageError
from invprob.cli.options import (
    Angles,
    AnglesUnit,
    Axis,
    Blur,
    Darks,
    Factor,
    Flats,
    ImageShape,
    Mask,
    MaxMemory,
    Noise,
    Phase,
    PixelSize,
    Read,
    Rings,
    Rows,
    Views,
    check_kinds,
    named_after,
)
from invprob.cli.plugins import Plugin, check_name, completed, load_plugins
from invprob.cli.reading import reading_options
from invprob.cli.signatures import check_written
from invprob.cli.trials import trials_of
from invprob.files import check_source

__all__ = ["reconstruct"]

_WRITING = "Writing the result"


def reconstruct(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="A scan, a picture, or a folder of projections; `invprob list` has the layouts.")
    ],
    method: Annotated[
        str,
        typer.Option(help="One of `invprob list`; several, as in tv,pnp,lpn, side by side.", autocompletion=completed),
    ] = "tv",
    try_: Annotated[
        str | None,
        typer.Option(
            "--try", metavar="NAME=FIRST:LAST:COUNT", help="A page of images to choose from, over strength, axis, ..."
        ),
    ] = None,
    strength: Annotated[
        str | None,
        typer.Option(metavar="auto|NUMBER", help="How strong the prior is, >= 0; no unit, same for scaled data."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; repeatable.")
    ] = None,
    plugin: Plugin = None,
    read: Read = None,
    views: Views = None,
    rows: Rows = None,
    angles: Angles = None,
    angles_unit: AnglesUnit = None,
    pixel_size: PixelSize = None,
    axis: Axis = None,
    image_shape: ImageShape = None,
    flats: Flats = None,
    darks: Darks = None,
    phase_retrieval: Phase = None,
    blur: Blur = None,
    mask: Mask = None,
    factor: Factor = None,
    noise: Noise = None,
    rings: Rings = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HDF5 file; default FILE_METHOD.h5 here.", rich_help_panel=_WRITING),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing outputs.", rich_help_panel=_WRITING)
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with what an interrupted run has left, if any.", rich_help_panel=_WRITING),
    ] = False,
    png: Annotated[
        Path | None,
        typer.Option(
            help="A picture; of a stack the middle row, of a volume the middle slice.", rich_help_panel=_WRITING
        ),
    ] = None,
    tiff: Annotated[Path | None, typer.Option(help="All rows as 32-bit TIFF.", rich_help_panel=_WRITING)] = None,
    npy: Annotated[Path | None, typer.Option(help="All rows as a NumPy array.", rich_help_panel=_WRITING)] = None,
    segment: Annotated[
        int | None,
        typer.Option(
            metavar="K", min=2, max=5, help="Label K grey values, in OUTPUT_labels.npy.", rich_help_panel=_WRITING
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="One HTML page with everything.", rich_help_panel=_WRITING)
    ] = None,
    max_memory: MaxMemory = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Let the workers of a Dask scheduler compute; 'local': of this machine."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """Reconstruct the image from a scan and say whether it can be trusted.

    A stack of detector rows is done in parts that fit into memory; each is safe on disk when it is done, and
    --resume goes on after a fall. Ctrl-C keeps the best image so far.
    """
    del debug
    settings = parse.settings(set_ or [])
    if strength is not None:
        if "strength" in settings:
            raise UsageError("the strength is given twice: by --strength and by --set")
        settings["strength"] = parse.strength(strength)
    check_kinds({"--output": output, "--png": png, "--tiff": tiff, "--npy": npy, "--report": report})
    check_source(file)  # before torch is loaded

    methods = [name.strip() for name in method.split(",")]
    plugins = load_plugins(plugin or ())
    for name in methods:
        check_name(name, plugins)
    beside = len(methods) > 1 or try_ is not None
    if beside and (resume or any(given is not None for given in (output, tiff, npy, segment, dask))):
        raise UsageError(
            "side by side there is a page and a strip alone: leave out --output, --tiff, --npy, --segment, --resume "
            "and --dask"
        )

    if len(methods) == 1:
        check_written(method, settings)
    main = output or Path(f"{named_after(file)}_{method.rpartition(':')[2]}.h5")
    labels = None if segment is None else main.with_name(f"{main.stem}_labels.npy")
    options = reading_options(
        read,
        views=views,
        rows=rows,
        angles=angles,
        angles_unit=angles_unit,
        pixel_size=pixel_size,
        axis=axis,
        image_shape=image_shape,
        flats=flats,
        darks=darks,
        phase_retrieval=phase_retrieval,
        blur=blur,
        mask=mask,
        factor=factor,
        noise=noise,
        rings="true" if rings else None,
    )
    trials = trials_of(methods, settings, options, try_) if beside else []

    from invprob.cli.exports import Exports  # and torch, once nothing is wrong that can be told without it
    from invprob.cli.methods import check_method
    from invprob.cli.reconstruct_run import Job, run

    if beside:
        from invprob.cli.side_by_side import compare

        for trial in trials:
            check_method(trial.method, trial.settings, plugins)
        page = report or Path(f"{named_after(file)}_compared.html")
        return compare(file, trials, page, png, overwrite=overwrite, command=context.obj)
    check_method(method, settings, plugins)
    return run(
        Job(
            path=file,
            options=options,
            method=method,
            settings=settings,
            output=main,
            exports=Exports(png, tiff, npy, report, labels, segment or 0),
            overwrite=overwrite,
            resume=resume,
            max_memory=max_memory,
            dask=dask,
            command=context.obj,
        )
    )
