"""mosec, as https://mosecorg.github.io/mosec has it: one stage of worker processes behind its web layer in Rust.

Photo bytes come as the body. Its documentation puts preprocessing into a stage of its own where that feeds a GPU; on a
CPU that would only send every photo's pixels from one process to another.
"""

from typing import Any

from mosec import Server, Worker

from benchmarks.rivals.classifier import WORKERS, Answer, Classifier


class Classify(Worker):  # type: ignore[misc]  # mosec is not installed where types are checked
    def __init__(self) -> None:
        super().__init__()
        self._classifier = Classifier()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> Answer:
        return self._classifier.classify(data)


def main() -> None:
    server: Any = Server()
    server.append_worker(Classify, num=WORKERS)
    server.run()


if __name__ == "__main__":
    main()
