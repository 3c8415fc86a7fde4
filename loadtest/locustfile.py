"""The load test's users in Locust's own hands: its web page, its distributed mode, its CSV files.

    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000 --model lenet5 --rate 5
    locust -f loadtest/locustfile.py OipUser GrpcOipUser --grpc-target 127.0.0.1:8500 ...

Without a class's name they are PredictUsers. Each user adds `--rate` requests/s to an open loop with Poisson arrivals:
whoever is free takes the next start, and every latency, on Locust's page too, counts from when it was meant. Many users
at a low rate are better than few at a high one: somebody should be free even while the service is slow.
"""

import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from random import Random
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner
from sklearn.datasets import load_sample_image

from loadtest.generator import photos, protocols
from loadtest.generator.dispatcher import Turn, Turns
from loadtest.generator.timer import Alarm
from loadtest.generator.users import GrpcOipUser, GrpcTFServingUser, OipUser, PredictUser, TFServingUser
from service.protobuf import tensors as codec

# Imported here because that takes seconds: once a worker has a master, they would cost it its heartbeats.
assert load_sample_image and codec

__all__ = ["GrpcOipUser", "GrpcTFServingUser", "OipUser", "PredictUser", "TFServingUser"]

_USERS = (PredictUser, OipUser, TFServingUser, GrpcTFServingUser, GrpcOipUser)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # locust is untyped here
def _arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", default="lenet5", help="model to ask (default: lenet5)")
    add("--input", default="image_bytes", help="its input of encoded images (default: image_bytes)")
    add("--rate", type=float, default=1.0, help="requests/s that each user adds (default: 1)")
    add("--grpc-target", default="127.0.0.1:8500", help="host:port of gRPC (default: 127.0.0.1:8500)")
    add("--images", default="", help="folder of JPEGs to send (default: two photographs in three sizes)")


@events.init.add_listener  # type: ignore[untyped-decorator]  # locust is untyped here
def _prepare(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    if not getattr(options, "user_classes", None):
        environment.user_classes = [PredictUser]
    images = _images(options.images)
    for user in _USERS:
        user.requests = protocols.requests(user.protocol, options.model, options.input, images)
        user.turns = Turns()
    for grpc in (GrpcTFServingUser, GrpcOipUser):
        grpc.address = options.grpc_target
    gevent.sleep(0)  # gevent's clock stood still meanwhile, and --run-time is about to be counted on it


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # locust is untyped here
def _start(environment: Environment, **_: Any) -> None:
    if isinstance(environment.runner, MasterRunner):  # its workers have the users
        return
    for user in environment.user_classes:
        gevent.spawn(_pace, environment, user)


def _pace(environment: Environment, user: Any) -> None:
    """Gives starts for as long as the test runs, as many as there are users at the time."""
    turns, random, alarm = user.turns, Random(), Alarm()
    moment, number = time.monotonic(), 0
    while (runner := environment.runner) is not None and runner.state not in ("stopping", "stopped", "cleanup", "quit"):
        assert environment.parsed_options is not None
        users = runner.user_classes_count.get(user.__name__, 0)
        if not users:
            gevent.sleep(0.05)
            moment = time.monotonic()
            continue
        moment += random.expovariate(users * environment.parsed_options.rate)
        alarm.wait_until(moment)
        turns.give(Turn(number, moment))
        number += 1
    alarm.close()
    turns.forget_those_in_line()


def _images(folder: str) -> list[bytes]:
    if folder:
        return [path.read_bytes() for path in photos.found(Path(folder))]
    with tempfile.TemporaryDirectory() as made:
        return [path.read_bytes() for path in photos.write(Path(made))]
