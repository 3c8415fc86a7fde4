"""MLServer, as https://docs.seldon.ai/mlserver has it: a model class, asked by the Open Inference Protocol's JSON.

Its pool of processes (`parallel_workers`) computes. Its settings are variables of the environment (`servers`).
"""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.rivals.classifier import Classifier


class Classify(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        self._classifier = Classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (photo,) = Base64Codec.decode_input(payload.inputs[0])
        best = self._classifier.classify(photo)["predictions"]
        labels = StringCodec.encode_output("labels", [str(one["label"]) for one in best])
        probabilities = NumpyCodec.encode_output("probabilities", np.array([one["probability"] for one in best]))
        return InferenceResponse(model_name=self.name, outputs=[labels, probabilities])
