"""Many images over few threads: outcomes in the order of their sources."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future

from tqdm import tqdm

from image_model_client.errors import ClientError
from image_model_client.images import Source
from image_model_client.results import Outcome, Prediction

AHEAD = 2
"""Images in hand, for each one under way: those that are answered wait for one that is slow."""

Ask = Callable[[Source, threading.Event], Prediction]


def ask_many(ask: Ask, sources: Iterable[Source], workers: int, progress: bool) -> Iterator[Outcome]:
    """`ask` is called in `workers` threads; its event is set once nobody waits for answers any more."""
    pool = _Workers(ask, workers)
    waiting: deque[Future[Outcome]] = deque()
    orderly = True
    with make_bar(sources, progress) as bar:
        try:
            for source in sources:
                waiting.append(pool.submit(source))
                if len(waiting) >= AHEAD * workers:
                    outcome = waiting.popleft().result()
                    bar.update()
                    yield outcome
            while waiting:
                outcome = waiting.popleft().result()
                bar.update()
                yield outcome
        except KeyboardInterrupt:  # who presses Ctrl-C does not wait for a service that hangs
            orderly = False
            raise
        finally:
            pool.close(wait=orderly)


class _Workers:
    """Threads that end with the process. concurrent.futures' hold it until the last is answered: with a service that
    hangs, Ctrl-C would seem to do nothing for a minute.
    """

    def __init__(self, ask: Ask, count: int) -> None:
        self._ask, self._stopped = ask, threading.Event()
        self._tasks: queue.SimpleQueue[tuple[Source, Future[Outcome]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name="predict", daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, source: Source) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        self._tasks.put((source, future))
        return future

    def close(self, wait: bool) -> None:
        """What has not begun is never asked; `wait` is for what has."""
        self._stopped.set()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            source, future = task
            if self._stopped.is_set():
                continue
            try:
                future.set_result(Outcome(source, self._ask(source, self._stopped)))
            except ClientError as error:
                future.set_result(Outcome(source, error=error))
            except BaseException as error:  # a fault of the client's, or of a source's: it is raised in the loop
                future.set_exception(error)


def make_bar(sources: Iterable[Source], shown: bool) -> "tqdm[None]":
    """On stderr; nothing where it is not `shown`."""
    return tqdm(total=len(sources) if isinstance(sources, Sized) else None, unit=" images", disable=not shown)
