"""Ray Serve, as https://docs.ray.io/en/latest/serve has it: a deployment of one replica a core behind its proxy."""

import sys

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.rivals.classifier import WORKERS, Answer, Classifier

_WAITING = 100
"""Requests that may wait at a replica. With the default, 5, the proxy polls for a free replica under load."""


class Classify:
    def __init__(self) -> None:
        self._classifier = Classifier()

    async def __call__(self, request: Request) -> Answer:
        return self._classifier.classify(await request.body())


def main(port: int) -> None:
    ray.init(include_dashboard=False, num_cpus=WORKERS, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    deployment = serve.deployment(num_replicas=WORKERS, max_ongoing_requests=_WAITING)(Classify)
    serve.run(deployment.bind(), route_prefix="/predict", blocking=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
