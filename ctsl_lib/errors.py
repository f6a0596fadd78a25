"""The errors that a user can mend: each is reported in one line."""


class DataError(ValueError):
    """Data that is missing, damaged or not laid out as it must be."""


class NotebookError(RuntimeError):
    """A notebook could not be run to its end; the message shows the cell."""


class NonFiniteLossError(RuntimeError):
    """Training has left the numbers: a term became NaN or infinite."""


class StateError(ValueError):
    """A file of states cannot be used."""
