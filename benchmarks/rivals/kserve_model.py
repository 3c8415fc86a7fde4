"""KServe's Python server, as https://kserve.github.io/website has it: a model class, asked by the JSON of its v1.

Outside a cluster it is what KServe runs in a container. Its gRPC port is left out: with it, one process serves.
"""

import base64
import sys
from functools import cached_property
from typing import Any

from kserve import Model, ModelServer

from benchmarks.rivals.classifier import WORKERS, Answer, Classifier


class Classify(Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__("classify")
        self.ready = True

    @cached_property
    def _classifier(self) -> Classifier:
        """Made in each process: the server sends the model to its processes, and no interpreter can be sent."""
        return Classifier()

    def predict(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
        return self._classifier.classify(base64.b64decode(payload["instances"][0]["b64"]))


def main(port: int) -> None:
    ModelServer(http_port=port, workers=WORKERS, enable_grpc=False).start([Classify()])


if __name__ == "__main__":
    main(int(sys.argv.pop()))  # kserve parses what is left
