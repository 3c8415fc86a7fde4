"""What happens to a service in a long life, again and again: swaps, reloads, signals, dead workers, bad clients."""

import itertools
import os
import random
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self

from service.security import api_keys as keys
from tests.soak import mischief
from tests.support import procfs
from tests.support.service_process import Service

_BAD_CLIENTS = 3  # at once, on each port
_ROUTES = "routes:\n  digits: {target: lenet5}\n  route-{number}: {target: lenet5}\n"


class Files:
    """The files that a service under test reads: models, routes, keys. Each step changes one as its owners would."""

    def __init__(self, folder: Path, lenet5: Path) -> None:
        """`lenet5` is a folder of one version."""
        self.models, self.routes, self.keys = folder / "models", folder / "routes.yaml", folder / "keys.yaml"
        self.version = 1
        self._staging, self._source = folder / "staging", lenet5
        self._numbers = itertools.count(1)
        secret, entry = keys.make("soak")
        self.secret, self._entry = secret, entry
        (self.models / "lenet5").mkdir(parents=True)
        shutil.copytree(lenet5, self.models / "lenet5" / "1")
        self.reload_routes()
        self.reload_keys()

    def publish(self) -> None:
        """A new version appears at once; the oldest but one goes."""
        shutil.copytree(self._source, self._staging)
        self.version += 1
        self._staging.rename(self.models / "lenet5" / str(self.version))
        for old in sorted(int(path.name) for path in (self.models / "lenet5").iterdir())[:-2]:
            gone = self.models.parent / f"gone-{old}"
            (self.models / "lenet5" / str(old)).rename(gone)
            shutil.rmtree(gone)

    def reload_routes(self) -> None:
        self._replace(self.routes, _ROUTES.replace("{number}", str(next(self._numbers))))

    def reload_keys(self) -> None:
        _, another = keys.make(f"passing-{next(self._numbers)}")
        self._replace(self.keys, self._entry + another)

    def _replace(self, path: Path, text: str) -> None:
        staged = path.with_suffix(".new")
        staged.write_text(text, encoding="utf-8")
        staged.replace(path)


class Disturbances:
    """Threads that disturb `service` from entering until leaving; `counts` says how often each thing was done."""

    def __init__(self, service: Service, files: Files, image: bytes, survivor: int) -> None:
        """`survivor` is the worker that is not killed: what it holds is looked at."""
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self._service, self._image, self._survivor = service, image, survivor
        self._stop = threading.Event()
        every: list[tuple[str, float, Callable[[], None]]] = [
            ("versions published", 4.0, files.publish),
            ("routes changed", 3.0, files.reload_routes),
            ("keys changed", 5.0, files.reload_keys),
            ("workers killed", 20.0, self._kill_a_worker),
            ("SIGHUP", 7.0, lambda: service.process.send_signal(signal.SIGHUP)),
            *[("bad HTTP clients", 0.05, lambda: self._misbehave(service.http_port))] * _BAD_CLIENTS,
            *[("bad gRPC clients", 0.05, lambda: self._misbehave(service.grpc_port))] * _BAD_CLIENTS,
        ]
        self._threads = [threading.Thread(target=self._repeat, args=one, daemon=True) for one in every]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _repeat(self, what: str, seconds: float, act: Callable[[], None]) -> None:
        while not self._stop.wait(seconds):
            try:
                act()
                self.counts[what] += 1
            except Exception as error:
                self.errors.append(f"{what}: {error!r}")

    def _kill_a_worker(self) -> None:
        for worker in procfs.children(self._service.process.pid):
            if worker != self._survivor:
                os.kill(worker, signal.SIGKILL)

    def _misbehave(self, port: int) -> None:
        mischief.play(random.choice(mischief.TRICKS), port, self._image)
