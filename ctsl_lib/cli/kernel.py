"""The kernel that the notebook runner starts: an ordinary one that cannot outlive the runner.

ipykernel looks for its parent itself, but only once it is up; a kernel whose parent is gone by then would stay.
"""

import os
import sys
import threading
import time
from pathlib import Path

from tqdm import tqdm

EVERY = 0.5
"""Seconds between two looks at the parent."""


def end_with(parent: int) -> None:
    """End this process once `parent`, the number of a process, is no longer its parent."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(EVERY)
        os._exit(1)

    threading.Thread(target=watch, name="watch the parent", daemon=True).start()


if __name__ == "__main__":
    if sys.platform != "win32" and "JPY_PARENT_PID" in os.environ:
        end_with(int(os.environ["JPY_PARENT_PID"]))
    tqdm.set_lock(threading.RLock())  # see `experiments.workers`
    if sys.path[0] == "" or Path(sys.path[0]) == Path.cwd():
        del sys.path[0]  # as ipykernel_launcher does; IPython adds it again

    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()
