"""Which run of a model gives features: one of their own, or one that /predict shares."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from service.errors import InvalidInput, UnknownSignature
from service.preprocessing.preprocessor import Limits, Preparation, complete
from service.repository.manifest import Manifest, Preprocessing, Signature, TensorSpec
from service.types import PredictRequest, strings
from tests.support.images import encode, photo

BYTES, PIXELS = {"image_bytes": TensorSpec("string", (None,))}, TensorSpec("uint8", (None, 8, 8, 3))
SCORES, ROWS = {"probabilities": TensorSpec("float32", (None, 2))}, {"features": TensorSpec("float32", (None, 5))}
PLAIN = Manifest(
    "m",
    1,
    {
        "serving_default": Signature(BYTES, {**SCORES, "classes": TensorSpec("string", (None, 2))}),
        "image": Signature({"image": PIXELS}, SCORES),
        "tensor": Signature({"tensor": TensorSpec("float32", (None, 8, 8, 3))}, SCORES),
    },
    labels=("a", "b"),
    preprocessing=Preprocessing(8, 8),
    checked=True,
)
UPSTREAM = replace(
    PLAIN,
    signatures={
        **PLAIN.signatures,
        "features": Signature(BYTES, ROWS),
        "image_features": Signature({"pixels": PIXELS}, {**ROWS, **SCORES}),
    },
)
EMBEDDED = replace(UPSTREAM, twins={"image_features": "image"})

IMAGE = {"": strings([encode(photo(), "JPEG")])}
NUMBERS = {"image": np.zeros((2, 8, 8, 3), np.uint8)}
PREDICT, EMBED = PredictRequest(IMAGE), PredictRequest(IMAGE, "features")
BOTH = replace(PREDICT, features=True)


@pytest.fixture
def preparation() -> Iterator[Preparation]:
    preparation = Preparation(Limits(1000, 10**6), threads=1)
    yield preparation
    preparation.close()


@pytest.mark.parametrize(
    ("manifest", "request_", "run"),
    [
        (UPSTREAM, PREDICT, ("image", "image", ())),
        (UPSTREAM, EMBED, ("image_features", "pixels", ("features",))),
        (UPSTREAM, BOTH, ("image_features", "pixels", ())),
        (
            UPSTREAM,
            replace(BOTH, outputs=("probabilities",)),
            ("image_features", "pixels", ("features", "probabilities")),
        ),
        (UPSTREAM, PredictRequest(NUMBERS, "image", features=True), ("image_features", "pixels", ())),
        (EMBEDDED, PREDICT, ("image", "image", ())),
        (EMBEDDED, EMBED, ("image", "image", ())),
        (EMBEDDED, BOTH, ("image", "image", ())),
        (EMBEDDED, PredictRequest({"pixels": NUMBERS["image"]}, "image_features"), ("image", "image", ())),
        (EMBEDDED, PredictRequest(NUMBERS, "image", features=True), ("image", "image", ())),
    ],
)
async def test_which_run_gives_them(
    preparation: Preparation, manifest: Manifest, request_: PredictRequest, run: tuple[str, str, tuple[str, ...]]
) -> None:
    """Embedded, all are one run, so that they share batches."""
    prepared = await preparation.prepare(manifest, request_)
    (alias,) = prepared.inputs
    assert (prepared.signature, alias, prepared.outputs) == run
    assert prepared.shared


async def test_what_has_none_says_so(preparation: Preparation) -> None:
    with pytest.raises(UnknownSignature, match="export the model again"):
        await preparation.prepare(PLAIN, BOTH)
    with pytest.raises(UnknownSignature, match='signature "features" not found'):
        await preparation.prepare(PLAIN, EMBED)
    numbers = PredictRequest({"tensor": np.zeros((1, 8, 8, 3), np.float32)}, "tensor", features=True)
    with pytest.raises(InvalidInput, match="signature 'tensor' gives no features beside its outputs"):
        await preparation.prepare(UPSTREAM, numbers)


def test_who_did_not_ask_for_them_does_not_get_them() -> None:
    given = {"features": np.ones((1, 5), np.float32), "probabilities": np.ones((1, 2), np.float32)}
    assert set(complete(EMBEDDED, PREDICT, given)) == {"probabilities", "classes"}
    assert set(complete(EMBEDDED, EMBED, given)) == {"features"}
    assert set(complete(EMBEDDED, BOTH, given)) == {"probabilities", "classes", "features"}
