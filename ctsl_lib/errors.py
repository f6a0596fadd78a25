"""The errors that a user can put right, and how they are told: in one line each."""

from pydantic import ValidationError


class DataError(ValueError):
    """Data is missing, damaged, or not laid out as it must be."""


class PlanError(ValueError):
    """A plan has a run that cannot be trained or judged; the message names the pair and what to change."""


class NotebookError(RuntimeError):
    """A notebook could not be run to its end; the message shows the cell."""


class NonFiniteInputError(ValueError):
    """What a loss was given holds NaN or infinity."""


class NonFiniteLossError(RuntimeError):
    """A term of the loss, or a weight, became NaN or infinite, so training cannot go on."""


class StateError(ValueError):
    """A file with the state of a run, or with trained weights, cannot be used."""


class WorkerDiedError(RuntimeError):
    """A worker process ended in the middle of its task."""


class ClusterError(RuntimeError):
    """A scheduler is missing, or one of its workers cannot do its part; the message says what to do."""


class RunStoppedError(RuntimeError):
    """A run was told to stop; its state is saved, and it can go on."""


class RunClaimedError(RuntimeError):
    """Another process, or another thread, works on the run."""


class GridError(RuntimeError):
    """Some runs of a grid failed and the others finished; the message names each failed run in a line."""


def shown(value: object, longest: int = 60) -> str:
    """A value as messages show it.

    Args:
        value: anything.
        longest: the number of characters after which it is cut off.
    """
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}..."


def plain(name: str, longest: int = 500) -> str:
    r"""A file's name as messages show it: one line that no terminal takes for a command.

    Args:
        name: a name or path; somebody else may have chosen it.
        longest: the number of characters after which it is cut off.

    >>> plain("train/cat/0.png"), plain("two\nlines.png")
    ('train/cat/0.png', 'two\\nlines.png')
    """
    text = name if name.isprintable() else repr(name)[1:-1]
    return text if len(text) <= longest else f"{text[:longest]}..."


def explained(error: Exception) -> str:
    """What is wrong with a file's content, in one line: of several errors the first, with its place and its value."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        place = "".join(f"{part}: " for part in first["loc"])
        told = first["type"] in ("value_error", "missing", "json_invalid")  # ours say the value themselves
        got = "" if told else f", got {shown(first['input'])}"
        return plain(f"{place}{first['msg'].removeprefix('Value error, ')}{got}")
    if isinstance(error, OSError):
        return f"it cannot be read ({error.strerror or error})"
    if isinstance(error, ValueError) and str(error):
        return plain(str(error).splitlines()[0])
    return f"its content is not of the right kind ({type(error).__name__}: {shown(str(error))})"
