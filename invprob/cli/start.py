"""Where the program `invprob` begins: before anything is loaded, Ctrl-C ends it without a word."""

from __future__ import annotations

import signal

__all__ = ["main"]


def main() -> int:
    """Run the command line and return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from invprob.cli.main import main as commands

    return commands()
