"""One export of CLIP, from weights to a published version: the list of its steps."""

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from math import exp
from pathlib import Path
from typing import Any

import numpy as np

from export.clip import signatures, vocabulary, weights
from export.clip.network import LOGIT_BIAS, LOGIT_SCALE
from export.clip.options import ClipSpec
from export.clip.signatures import TEXT
from export.convert import freeze, litert
from export.convert.held_weights import HeldWeights
from export.convert.litert import LiteModel
from export.convert.signatures import BYTES, IMAGE, IMAGE_BYTES, TENSOR
from export.data import photographs, pixels
from export.data.dataset import Example
from export.data.names import escape
from export.errors import ExportError
from export.progress import Progress
from export.publish import facts, network, profile, publish, samples
from export.training.weights import NONE
from export.verify.parity import TOLERANCE
from export.verify.readback import Readback
from service.preprocessing.tokenizer import Tokenizer
from service.repository.manifest import (
    GOLDEN,
    IMAGE_EMBEDDING,
    MERGES,
    TEXT_EMBEDDING,
    TFLITE,
    TOKENS,
    WARMUP,
    Manifest,
    Preprocessing,
    Profile,
    ZeroShot,
)
from service.repository.vocabulary import parse_merges
from service.types import Array, strings

_TEXTS = ("a photo of a cat", "a photo of a dog", "a diagram", "Two cups of coffee & a spoon!")
_TOOLS = ("tensorflow", "keras", "ai-edge-litert", "numpy")
_RANDOM = "the weights are random: every answer is meaningless"


Examples = tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class PublishedClip:
    """One version that now stands in the repository. `parity` is the largest difference of an embedding's number, by
    engine and signature.
    """

    spec: ClipSpec
    folder: Path
    parameters: int
    parity: Mapping[str, float]
    profile: Profile
    seconds: float


def export(spec: ClipSpec, progress: Progress) -> PublishedClip:
    """Builds, converts, checks and publishes it. Raises ExportError, with nothing published."""
    import keras

    started, clip = time.monotonic(), spec.network
    with progress.stage("reading the vocabulary of texts") as stage:
        merges = vocabulary.read(spec.vocabulary, clip.vocabulary)
        tokenizer = Tokenizer(parse_merges(merges))
        tokens = np.array([tokenizer.encode(text, clip.context) for text in _TEXTS], np.int32)
        stage.result = f"{clip.vocabulary:,} tokens"
    keras.backend.clear_session()
    keras.utils.set_random_seed(spec.seed)
    with progress.stage(f"building {clip.name}, weights: {escape(spec.weights)}") as stage:
        model = clip.build(spec.head)
        if spec.weights == NONE:
            stage.warn(_RANDOM)
        else:
            weights.load(model, clip, Path(spec.weights))
        stage.result = f"{model.count_params():,} parameters"
    examples = photographs.list_examples()
    with publish.staging(spec.repository, spec.name) as folder:
        with progress.stage("freezing the SavedModel"):
            declared = signatures.describe(clip)
            kept = sorted({alias for each in declared.values() for alias in (*each.inputs, *each.outputs)})
            held: HeldWeights = {}
            frozen = freeze.freeze(signatures.chain(model, clip, held)).as_graph_def()
            freeze.write_graph(folder, freeze.folded(frozen, kept), declared, held)
            del frozen
            network.write(folder, model)
            (folder / MERGES).parent.mkdir(exist_ok=True)
            (folder / MERGES).write_text(merges, encoding="utf-8")
        with progress.stage("converting to LiteRT"):
            litert.convert(folder, folder / TFLITE, (IMAGE, TENSOR, TEXT))
        with progress.stage("checking the staged files against the network") as stage:
            agreed = check(Readback(folder), model, spec, examples, tokens)
            stage.result = f"largest difference {max(agreed.values()):.1e}"
        with progress.stage("writing samples, golden answers and warm-up requests"):
            _write_samples(folder, spec, examples, tokens)
        with progress.stage("measuring what it costs on this machine") as stage:
            cost = profile.measure(folder / TFLITE)
            stage.result = f"{cost.milliseconds[IMAGE][1]:.3g} ms an image, {cost.milliseconds[TEXT][1]:.3g} ms a text"
        manifest = Manifest(
            name=spec.name,
            version=0,
            signatures=declared,
            preprocessing=Preprocessing(height=clip.size, width=clip.size),
            architecture=clip.name,
            precision="float32",
            profile=cost,
            zero_shot=read_head(model, spec),
            facts=_gather(spec, model.count_params(), agreed, facts.sizes(folder)),
        )
        with progress.stage("publishing") as stage:
            number = publish.publish(folder, lambda number: replace(manifest, version=number).write(folder))
            stage.result = f"{spec.name} version {number}"
    place = folder.parent / str(number)
    return PublishedClip(spec, place, model.count_params(), agreed, cost, time.monotonic() - started)


def show(published: PublishedClip) -> None:
    """Prints where it is, what it costs and how to ask it."""
    spec, cost = published.spec, published.profile
    print(f"\n{spec.name}  {published.folder}")
    print(f"parameters  {published.parameters:,}")
    print("accuracy    not measured: it has no classes of its own")
    print(f"parity      differs from the network in Keras by at most {max(published.parity.values()):.1e}")
    print(f"speed       {cost.milliseconds[IMAGE][1]:.3g} ms an image, {cost.milliseconds[TEXT][1]:.3g} ms a text")
    print(f"took        {published.seconds:.0f} s")
    if spec.weights == NONE:
        print(f"warning     {_RANDOM}")
    print(
        f"\nAsk it:  curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' "
        f"'http://localhost:8000/predict/{spec.name}?labels=a%20cat,a%20dog&template=a%20photo%20of%20%7B%7D'"
    )


def check(staged: Readback, model: Any, spec: ClipSpec, examples: Examples, tokens: Array) -> dict[str, float]:
    """Every signature of every engine against the network: the largest difference of an embedding's number.

    Raises ExportError where one is above `TOLERANCE`.
    """
    files, images, texts = samples.list_files(examples), *signatures.split(model)
    rows = _decode(files, spec)
    tensor = pixels.to_tensor(rows, spec.network).numpy()
    seen, told = _normalize(images(tensor).numpy()), _normalize(texts(tokens).numpy())
    found = {
        f"SavedModel {BYTES}": _difference(staged.saved_model(BYTES, strings(files)), IMAGE_EMBEDDING, seen),
        f"SavedModel {IMAGE}": _difference(staged.saved_model(IMAGE, rows), IMAGE_EMBEDDING, seen),
        f"SavedModel {TENSOR}": _difference(staged.saved_model(TENSOR, tensor), IMAGE_EMBEDDING, seen),
        f"SavedModel {TEXT}": _difference(staged.saved_model(TEXT, tokens), TEXT_EMBEDDING, told),
        f"LiteRT {IMAGE}": _difference(staged.lite(IMAGE, rows), IMAGE_EMBEDDING, seen),
        f"LiteRT {TENSOR}": _difference(staged.lite(TENSOR, tensor), IMAGE_EMBEDDING, seen),
        f"LiteRT {TEXT}": _difference(staged.lite(TEXT, tokens), TEXT_EMBEDDING, told),
    }
    for where, value in found.items():
        if not value <= TOLERANCE:
            raise ExportError(
                f"refused to publish: {where} differs from the network by {value:.1e} (at most {TOLERANCE:.0e})"
            )
    return found


def _write_samples(folder: Path, spec: ClipSpec, examples: Examples, tokens: Array) -> None:
    samples.write_samples(folder, examples)
    files = samples.list_files(examples)
    images = _decode(files, spec)
    lite = LiteModel((folder / TFLITE).read_bytes(), os.cpu_count() or 1)
    embeddings = {IMAGE_EMBEDDING: lite.run(IMAGE, images)[IMAGE_EMBEDDING]}
    np.savez_compressed(folder / GOLDEN, images=images, **embeddings)
    rows = {
        BYTES: (IMAGE_BYTES, np.array(files, object)),
        IMAGE: (IMAGE, images),
        TENSOR: (TENSOR, pixels.to_tensor(images, spec.network).numpy()),
        TEXT: (TOKENS, tokens),
    }
    samples.write_warmup(folder / WARMUP, spec.name, rows)


def read_head(model: Any, spec: ClipSpec) -> ZeroShot:
    """How logits are made of cosines. Raises ExportError where the network's numbers make none."""
    learnt = {name: float(model.get_layer(name).embeddings.numpy()[0, 0]) for name in _list_head(model)}
    try:
        scale = exp(learnt[LOGIT_SCALE])
        return ZeroShot(scale, learnt.get(LOGIT_BIAS, 0.0), spec.head, spec.network.context, TEXT)
    except (OverflowError, ValueError) as error:
        raise ExportError(f"refused to publish: the head of {spec.network.name} is broken: {error}") from error


def _list_head(model: Any) -> list[str]:
    return [name for name in (LOGIT_SCALE, LOGIT_BIAS) if name in model.output]


def _gather(spec: ClipSpec, parameters: int, agreed: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, Any]:
    """How it was made, in the words of a classifier's facts; what was not done is null."""
    clip = spec.network
    return {
        "parameters": parameters,
        "published_parameters": {"count": clip.parameters, "source": clip.source},
        "dataset": None,
        "accuracy": None,
        "accuracy_by_class": {},
        "worst_class": None,
        "why_no_accuracy": "it has no classes of its own: each request brings labels",
        "head": spec.head,
        "training": {"weights": escape(spec.weights), "seed": spec.seed, "strategy": NONE},
        "warnings": [_RANDOM] if spec.weights == NONE else [],
        "parity": {"embeddings": dict(agreed)},
        "quantization": None,
        "file_bytes": dict(sizes),
        "vocabulary": {"tokens": clip.vocabulary, "licence": "MIT", "by": "OpenAI"},
        "tools": {"python": platform.python_version(), **{name: version(name) for name in _TOOLS}},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _decode(files: list[bytes], spec: ClipSpec) -> Array:
    return np.stack([pixels.decode(file, spec.network.size).numpy() for file in files])


def _difference(outputs: Mapping[str, Array], alias: str, wanted: Array) -> float:
    largest = float(np.abs(outputs[alias] - wanted).max())
    return largest if np.isfinite(largest) else float("inf")


def _normalize(rows: Array) -> Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))
