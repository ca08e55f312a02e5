"""The command line's entry: from arguments to an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from .errors import RunError, UsageError
from .logs import set_up_logging

BROKEN, UNUSABLE, INTERRUPTED, UNREAD = 1, 2, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      argv: the arguments after the program's name; None for the process's own.

    Returns:
      The exit code: 0 done, 1 done with something broken, 2 unusable arguments, 130 interrupted,
      141 where nobody reads on what it prints.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _print_anything_anywhere()
    set_up_logging(verbose="--verbose" in arguments)
    try:
        code = _run_command(arguments)
        sys.stdout.flush()
        return code
    except UsageError as error:
        print(f"alphabeam: {error}", file=sys.stderr)
        return UNUSABLE
    except RunError as error:
        print(f"alphabeam: {error}", file=sys.stderr)
        return BROKEN
    except KeyboardInterrupt as stop:
        told = str(stop) or "stopped; the same command goes on from here"
        print(f"alphabeam: {told}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # as behind `| head`
        os.dup2(_nowhere(), sys.stdout.fileno())  # for the flush at the exit
        return UNREAD


def _print_anything_anywhere() -> None:
    """Lets signs be printed that the terminal's encoding lacks, and streams be closed."""
    sys.stdout = sys.stdout or os.fdopen(_nowhere(), "w")
    sys.stderr = sys.stderr or os.fdopen(_nowhere(), "w")
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _nowhere() -> int:
    return os.open(os.devnull, os.O_WRONLY)


def _run_command(arguments: list[str]) -> int:
    from .commands import parser  # Beam, which this imports, already logs while it is imported

    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # so that --engine module:Class finds the user's own
    whole = parser()
    given, rest = whole.parse_known_args(arguments)
    if given.command is None:
        whole.print_help()
        return UNUSABLE
    if rest and given.command != "run":
        raise UsageError(f"unknown argument {rest[0]!r}: see alphabeam {given.command} --help")
    return given.function(given, rest)


if __name__ == "__main__":
    sys.exit(main())
