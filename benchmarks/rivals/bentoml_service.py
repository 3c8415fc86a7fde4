"""BentoML, as https://docs.bentoml.com has it: a service of several workers whose API takes a file as the body."""

from pathlib import Path
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.rivals.classifier import WORKERS, Answer, Classifier


@bentoml.service(workers=WORKERS, traffic={"timeout": 60})
class Classify:
    def __init__(self) -> None:
        self._classifier = Classifier()

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(self, photo: Annotated[Path, ContentType("image/jpeg")], /) -> Answer:
        return self._classifier.classify(photo.read_bytes())
