"""The errors that a user can put right; the command reports each in one line."""


class DataError(ValueError):
    """Data is missing, damaged, or not laid out as it must be."""


class PlanError(ValueError):
    """A plan has a run that cannot be trained or judged; the message names the pair and what to change."""


class NotebookError(RuntimeError):
    """A notebook could not be run to its end; the message shows the cell."""


class NonFiniteLossError(RuntimeError):
    """A term of the loss became NaN or infinite, so training cannot go on."""


class StateError(ValueError):
    """A file with the state of a run, or with trained weights, cannot be used."""


class WorkerDiedError(RuntimeError):
    """A worker process ended in the middle of its task."""


class RunClaimedError(RuntimeError):
    """Another process, or another thread, works on the run."""


class GridError(RuntimeError):
    """Some runs of a grid failed and the others finished; the message names each failed run in a line."""
