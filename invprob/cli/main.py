"""`invprob`: the commands, and how each of them ends.

Nothing heavy is imported here, so that `invprob --help` answers at once.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from invprob.cli import console
from invprob.cli.benchmark_command import benchmark
from invprob.cli.check_command import check
from invprob.cli.environment import check_environment
from invprob.cli.errors import ExitCode, exit_code, one_line
from invprob.cli.import_command import import_scan
from invprob.cli.inspect_command import inspect
from invprob.cli.listing import list_names
from invprob.cli.reconstruct_command import reconstruct
from invprob.cli.show_command import show_result
from invprob.cli.signals import Signals
from invprob.cli.simulate_command import simulate
from invprob.cli.streams import steady
from invprob.cli.train_command import app as train
from invprob.errors import printable

__all__ = ["app", "main"]

app = typer.Typer(
    name="invprob",
    help="Reconstruct images from indirect measurements, with the numbers that say whether to trust them.",
    epilog="Exit codes: 0 ok, 2 usage, 3 bad input, 4 too little memory or disk, 5 numerical failure, "
    "6 part of the rows is missing, 130 interrupted.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (reconstruct, inspect, check, simulate, benchmark):
    app.command()(command)
app.command(name="import")(import_scan)
app.command(name="show")(show_result)
app.add_typer(train, name="train")
app.command(name="list")(list_names)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        console.say(f"invprob {version('invprob')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; an error is one line on stderr, a traceback only with --debug."""
    # before torch is loaded: its idle threads would spin for long, and take the cores from the projectors' threads;
    # to wake them every time costs as much as a small operation, so let them spin for some ten microseconds
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments:
        main(["--help"])
        return ExitCode.USAGE
    with Signals() as signals, steady():
        try:
            check_environment()
            with console.warnings_as_lines():
                command = printable(shlex.join(["invprob", *arguments]), 10_000)
                code = int(app(arguments, prog_name="invprob", standalone_mode=False, obj=command) or ExitCode.OK)
            if code == ExitCode.INTERRUPTED and signals.received is not None:  # typer makes a number of it
                raise KeyboardInterrupt
            return code
        except (Exception, KeyboardInterrupt) as error:
            if signals.received is not None or isinstance(error, KeyboardInterrupt):  # whatever has become of it
                console.fail("interrupted")
                return signals.exit_code
            if "--debug" in arguments:
                traceback.print_exc()
            console.fail(one_line(error, arguments[0]))
            return exit_code(error)
