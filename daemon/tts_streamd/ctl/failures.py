"""Every failure becomes one line on standard error and an exit status; nobody sees a traceback.

0 done, 1 the stream or the daemon failed, 2 usage, 130 interrupted, 141 the reader of our output went away.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Generator

FAILED = 1
USAGE = 2
INTERRUPTED = 130
PIPE_CLOSED = 141
"""128 + SIGPIPE, as the shell reports programs that the signal ended."""


class CommandError(Exception):
    """The command cannot go on; the text is for its user, ``status`` for the shell."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def told() -> Generator[None]:
    """Run a command; leave with the status that fits how it ended."""
    from tts_streamd_client.errors import ClientError  # noqa: PLC0415 - `--help` needs no client

    try:
        yield
        sys.stdout.flush()
    except (CommandError, ClientError) as error:
        _leave(str(error), error.status if isinstance(error, CommandError) else FAILED)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _abandon_stdout()
        raise typer.Exit(PIPE_CLOSED) from None
    except OSError as error:
        _leave(f"{error.filename or 'output'}: {error.strerror or error}", FAILED)


def _leave(message: str, status: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:
        _abandon_stdout()
    typer.echo(f"tts-streamctl: {message}", err=True)
    raise typer.Exit(status) from None


def _abandon_stdout() -> None:
    """What is still buffered cannot be written: Python shall not complain of that on the way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
