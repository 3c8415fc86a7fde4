"""What most people write: FastAPI around the SavedModel of `model.export()`, one call a request.

The bench's yardstick, run with uvicorn and two workers; MODEL names the SavedModel's folder.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from fastapi import FastAPI, Request

app = FastAPI()
model = tf.saved_model.load(os.environ["MODEL"])
infer = model.signatures["serving_default"]
((alias, spec),) = infer.structured_input_signature[1].items()
height, width = spec.shape[1:3]


@app.post("/predict")
async def predict(request: Request) -> dict[str, list[dict[str, float]]]:
    body = await request.body()
    image = tf.image.resize(tf.io.decode_jpeg(body, channels=3), (height, width)) / 127.5 - 1
    (probabilities,) = next(iter(infer(**{alias: image[tf.newaxis]}).values())).numpy()
    best = probabilities.argsort()[::-1][:5]
    return {"predictions": [{"class": int(index), "probability": float(probabilities[index])} for index in best]}
