"""LitServe, as https://lightning.ai/docs/litserve has it: JSON with the photo in base64; it takes no bytes as the body.

Photos are decoded in the worker, which is where its documentation puts them.
"""

import base64
import sys
from typing import Any

import litserve

from benchmarks.rivals.classifier import WORKERS, Answer, Classifier


class Classify(litserve.LitAPI):  # type: ignore[misc]  # not installed where types are checked, as all rivals
    def setup(self, device: str) -> None:
        self._classifier = Classifier()

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["image"])

    def predict(self, photo: bytes) -> Answer:
        return self._classifier.classify(photo)

    def encode_response(self, answer: Answer) -> Answer:
        return answer


def main(port: int) -> None:
    server: Any = litserve.LitServer(Classify(), accelerator="cpu", workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]))
