"""`invprob benchmark`: which method for which problem, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invprob.cli.errors import UsageError
from invprob.cli.plugins import Plugin, check_name, load_plugins
from invprob.cli.signatures import check_problem
from invprob.files import check_file

__all__ = ["benchmark"]

_CHOICE, _SIZE = "Choosing", "Size of the suite"


def benchmark(
    context: typer.Context,
    quick: Annotated[
        bool, typer.Option("--quick", help="Six problems, small images: three minutes, to see that all is well.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Every problem, larger images, more of them: hours.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory for the page, the tables and what is done so far.")
    ] = Path("benchmark"),
    problems: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these problems.", rich_help_panel=_CHOICE)
    ] = None,
    methods: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these methods.", rich_help_panel=_CHOICE)
    ] = None,
    peers: Annotated[
        bool,
        typer.Option("--peers", help="Methods of other packages, too, where installed.", rich_help_panel=_CHOICE),
    ] = False,
    plugin: Plugin = None,
    size: Annotated[
        int | None, typer.Option(min=32, metavar="PIXELS", help="Side of the images.", rich_help_panel=_SIZE)
    ] = None,
    tests: Annotated[int | None, typer.Option(min=1, help="Test images per problem.", rich_help_panel=_SIZE)] = None,
    validations: Annotated[
        int | None, typer.Option(min=1, help="Validation images per problem.", rich_help_panel=_SIZE)
    ] = None,
    tries: Annotated[
        int | None, typer.Option(min=1, help="Strengths tried on the validation images.", rich_help_panel=_SIZE)
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An older benchmark.json: say what got better or worse.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one per core.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what the directory knows already.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """Measure all methods on phantoms and write one page about it, with tables as CSV and JSON.

    As a rule nine problems of 128 pixels, eight images each: under an hour on two cores.
    Every method runs with the strength it chooses itself, and with one tuned on validation images with as many tries
    as all others. What is done is kept: after Ctrl-C the same command goes on. With --compare the exit code is 5 if
    something got worse by more than the tolerance.
    """
    del debug
    if quick and full:
        raise UsageError("--quick and --full: choose one of them")
    if compare is not None:
        check_file(compare)  # before torch is loaded
    plugins = load_plugins(plugin or ())
    for name in (_names(methods) or ()) if not peers else ():
        check_name(name, plugins)
    for name in (_names(problems) or ()) if not plugins else ():
        check_problem(name)
    from invprob.cli.benchmark_run import Job, run

    sizes = {"size": size, "tests": tests, "validations": validations, "tries": tries}
    return run(
        Job(
            quick=quick,
            full=full,
            output=output,
            problems=_names(problems),
            methods=_names(methods),
            peers=peers,
            plugins=plugins,
            sizes={key: value for key, value in sizes.items() if value is not None},
            compare=compare,
            workers=workers,
            fresh=fresh,
            command=context.obj or "invprob benchmark",
        )
    )


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())
