"""How a command ends: a named failure in one line on stderr, and an exit code."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec

import click

from speakerd_server.errors import SpeakerdError

NOT_DONE = 2
INTERRUPTED = 130

P = ParamSpec("P")


def one_line(text: str) -> str:
    """Make one line of text, in which what a terminal would obey is seen as an escape."""
    shown = " ".join(text.splitlines())
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in shown)


def ends_plainly(command: Callable[P, int | None]) -> Callable[P, None]:
    """Make a command end with the exit code that it returns (None: 0), 2 for any failure."""

    @functools.wraps(command)
    def ending(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            code = command(*arguments, **options)
        except SpeakerdError as error:
            click.echo(f"speakerd: {one_line(str(error))} [{error.reason}]", err=True)
            code = NOT_DONE
        except BrokenPipeError:
            # Nobody reads the answer; Python would complain once more when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = NOT_DONE
        except OSError as error:
            # Files have named errors of their own; this is the answer that finds no place.
            click.echo(f"speakerd: the answer cannot be written: {error.strerror}", err=True)
            code = NOT_DONE
        except KeyboardInterrupt:
            click.echo("speakerd: interrupted", err=True)
            code = INTERRUPTED
        # The edge of the program: Python's own exit code, 1, would read as an answer.
        except Exception:  # noqa: BLE001
            traceback.print_exc()
            click.echo("speakerd: this is a defect of speakerd; please report it", err=True)
            code = NOT_DONE
        sys.exit(code or 0)

    return ending
