"""Worker processes: each does one task at a time, ends with its parent, and takes no other task along if it dies."""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, TypeVar

from tqdm import tqdm

from ctsl_lib.environment import load_plugins
from ctsl_lib.errors import WorkerDiedError
from ctsl_lib.experiments.sharing import has_runs

GRACE = 3.0
"""Seconds that a worker has to end by itself when it is told to."""
T = TypeVar("T")


class Here(Executor):
    """Does at once, in this process, what is submitted."""

    processes = 1

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call a function.

        Args:
            fn: the function.
            args, kwargs: what it is called with.

        Returns: a future that has its result already, or its error.
        """
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Workers(Executor):
    """Processes for tasks that are submitted; a worker that died is replaced when the next task comes.

    A pool of the standard library fails all its tasks when one worker dies. Here only the task of that worker fails,
    with a `WorkerDiedError`. Workers whose parent is gone end at once, whatever ended it.
    """

    def __init__(self, processes: int) -> None:
        """Start no process yet; `processes` is the most that there will be."""
        self.processes = processes
        # A thread for each worker: it hands over a task and waits for the answer.
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="worker")
        self._own = threading.local()
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()
        self._ended = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call a function in one of the workers, as soon as one is free.

        Args:
            fn: the function; it and all else must be picklable.
            args, kwargs: what it is called with.
        """
        return self._threads.submit(self._work, fn, args, kwargs)

    def _work(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        with self._lock:
            worker: _Worker | None = getattr(self._own, "worker", None)
            if self._ended:
                raise WorkerDiedError("the workers were ended")
            if worker is None or not worker.process.is_alive():
                self._workers.discard(worker)
                worker = self._own.worker = _Worker()
                self._workers.add(worker)
        result: T = worker.do(fn, args, kwargs)
        return result

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers finish, then end them.

        Args:
            wait: whether to wait for that; without it the workers stay until this process ends.
            cancel_futures: whether to drop what has not begun.
        """
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            self.end()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Let the workers finish; after an error or a signal end them instead, whatever they work on.

        Args:
            kind, error, trace: what the block ended with, if not by itself.
        """
        if error is None:
            self.shutdown(wait=True)
        else:
            self.end()

    def end(self) -> None:
        """End all workers within seconds; what they work on fails, and nothing is taken on any more."""
        with self._lock:
            self._ended = True
            workers = list(self._workers)
        for worker in workers:
            worker.process.terminate()
        latest = time.monotonic() + GRACE
        for worker in workers:
            worker.process.join(max(0.0, latest - time.monotonic()))
            worker.process.kill()
            worker.process.join()
        self._threads.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """A process, and the connection by which it gets tasks."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,))
        self.process.start()
        theirs.close()  # or else the end of the process would not be seen

    def do(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have the task done; returns its result or raises its error."""
        try:
            self.connection.send((fn, args, kwargs))
            error, result = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            latest = time.monotonic() + GRACE
            # If another thread joins it at the same moment, the status is known a moment later.
            while self.process.exitcode is None and time.monotonic() < latest:
                time.sleep(0.01)
            raise WorkerDiedError(f"its worker process died ({_in_words(self.process.exitcode)})") from None
        if error is not None:
            raise error
        return result


def _in_words(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit status {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"{name}; often the system's answer when memory runs out" if name == "SIGKILL" else name


def _serve(connection: Connection) -> None:
    """What a worker does: tasks, until its parent has no more."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    signal.signal(signal.SIGTERM, _end)
    tqdm.set_lock(threading.RLock())  # its own is shared by processes, and is said to leak when one is killed
    load_plugins()
    while True:
        answer: tuple[BaseException | None, Any]
        try:
            fn, args, kwargs = connection.recv()
            answer = None, fn(*args, **kwargs)
        except EOFError:
            return
        except Exception as error:
            error.add_note("".join(traceback.format_exception(error)))
            answer = error.with_traceback(None), None  # its frames would keep what the task had in memory
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nbclient sets it back
        try:
            connection.send(answer)
        except (ConnectionError, EOFError):
            return
        except Exception as error:  # a result or an error that cannot be pickled
            connection.send((RuntimeError(f"{answer[0] or error!r}"), None))


def _end(number: int, frame: FrameType | None) -> None:
    """Let a run save its state first; anything else, such as a notebook and its kernel, ends at once."""
    if has_runs():
        raise SystemExit(128 + number)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def end_with_parent() -> None:
    """End this process as soon as the one that started it by `multiprocessing` is gone, whatever ended that.

    The parent holds one end of a pipe. The system closes it when the parent ends, even by kill -9. (Linux could also
    send a signal, PR_SET_PDEATHSIG, but it does so already when the *thread* ends that started the process.)
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="watch the parent", daemon=True).start()
