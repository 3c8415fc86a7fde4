"""Many images over few threads: outcomes in the order of their sources."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor

from tqdm import tqdm

from image_model_client.errors import ClientError
from image_model_client.images import Source
from image_model_client.results import Outcome, Prediction

AHEAD = 2
"""Images in hand, for each one under way: those that are answered wait for one that is slow."""

Ask = Callable[[Source, threading.Event], Prediction]


def ask_many(ask: Ask, sources: Iterable[Source], workers: int, progress: bool) -> Iterator[Outcome]:
    """`ask` is called in `workers` threads; its event is set once nobody waits for answers any more."""
    stopped = threading.Event()

    def find_outcome(source: Source) -> Outcome:
        try:
            return Outcome(source, ask(source, stopped))
        except ClientError as error:
            return Outcome(source, error=error)

    waiting: deque[Future[Outcome]] = deque()
    pool = ThreadPoolExecutor(workers, "predict")
    orderly = True
    with make_bar(sources, progress) as bar:
        try:
            for source in sources:
                waiting.append(pool.submit(find_outcome, source))
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
            stopped.set()
            pool.shutdown(wait=orderly, cancel_futures=True)


def make_bar(sources: Iterable[Source], shown: bool) -> "tqdm[None]":
    """On stderr; nothing where it is not `shown`."""
    return tqdm(total=len(sources) if isinstance(sources, Sized) else None, unit=" images", disable=not shown)
