"""How a command ends: a named failure in one line on stderr, and an exit code."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

import click

from speakerd_server.errors import SpeakerdError

NOT_DONE = 2
INTERRUPTED = 130

P = ParamSpec("P")


def ends_plainly(command: Callable[P, int | None]) -> Callable[P, None]:
    """Make a command end with the exit code that it returns (None: 0), 2 for a SpeakerdError."""

    @functools.wraps(command)
    def ending(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            code = command(*arguments, **options)
        except SpeakerdError as error:
            click.echo(f"speakerd: {error} [{error.reason}]", err=True)
            code = NOT_DONE
        except BrokenPipeError:
            raise
        except OSError as error:
            # Files have named errors of their own; this is the answer that finds no place.
            click.echo(f"speakerd: the answer cannot be written: {error.strerror}", err=True)
            code = NOT_DONE
        except KeyboardInterrupt:
            click.echo("speakerd: interrupted", err=True)
            code = INTERRUPTED
        sys.exit(code or 0)

    return ending
