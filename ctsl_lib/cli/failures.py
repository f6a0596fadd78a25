"""How a command tells what went wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError

from ctsl_lib.errors import ClusterError, GridError, NonFiniteLossError, NotebookError, WorkerDiedError, explained

MENDABLE = (ValueError, OSError, NotebookError, NonFiniteLossError, GridError, ClusterError, WorkerDiedError)
"""Errors that a user can put right; any other one is a fault of the kit, and its traceback is needed."""


@contextmanager
def failures_in_one_line() -> Iterator[None]:
    """Inside the block, an error that a user can mend ends the process with one line and a status that is not zero."""
    try:
        yield
    except ValidationError as error:
        typer.echo(f"error: {explained(error)}", err=True)
        raise SystemExit(2) from None
    except MENDABLE as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
