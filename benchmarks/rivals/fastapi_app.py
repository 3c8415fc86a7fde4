"""FastAPI by hand, without any model server: one process a core, run by `uvicorn --workers`."""

from fastapi import FastAPI, Request

from benchmarks.rivals.classifier import Answer, Classifier

app = FastAPI()
classifier = Classifier()


@app.post("/predict")
async def predict(request: Request) -> Answer:
    return classifier.classify(await request.body())
