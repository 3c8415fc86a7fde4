"""One export, from specification to published version: the list of its steps."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from export.architectures.applications import RAW
from export.architectures.cost import count_cost
from export.convert import freeze, litert, signatures
from export.convert.litert import LiteModel
from export.convert.signatures import IMAGE
from export.data import dataset as data
from export.data import image_size, photographs, sources
from export.data.dataset import Dataset, Split
from export.data.names import escape
from export.data.sources import Source
from export.foreign import classes
from export.foreign import network as foreign
from export.foreign.lite import LiteNetwork, add_entries
from export.foreign.options import KERAS, Foreign
from export.foreign.options import TFLITE as TFLITE_SUFFIX
from export.memory import release_memory
from export.pretrained import check, names
from export.pretrained.options import AsIs
from export.progress import Progress, Stage
from export.publish import facts, image_index, network, openvino, profile, publish, samples
from export.quantize import evaluate, schemes, select_openvino
from export.quantize import select_litert as lite
from export.quantize import select_saved_model as saved_model
from export.quantize.candidates import Candidate, Choice
from export.quantize.evaluate import Judge
from export.quantize.schemes import FLOAT32
from export.report import report
from export.spec import GPU, ExportSpec
from export.training import adapt, batch_norms, checkpoints, train, weights
from export.training.adapt import Training
from export.training.checkpoints import Checkpoints
from export.training.labels import check_labels
from export.training.options import AUTO, FULL, NONE
from export.training.train import Score
from export.training.weights import Start
from export.verify import answers, chance, parity
from export.verify.answers import Answers
from export.verify.parity import Parity
from export.verify.readback import Readback
from service.plurals import format_items
from service.repository.manifest import FEATURES, SAVED_MODEL, TFLITE, Manifest, Preprocessing, Profile


@dataclass(frozen=True, slots=True)
class Published:
    """One version that now stands in the repository."""

    spec: ExportSpec
    folder: Path
    version: int
    parameters: int
    score: Score | None
    """None of a network that is published as it is: nobody measured it."""
    held_out: int
    parity: Parity
    sizes: Mapping[str, int]
    """Bytes by file, relative to `folder`."""
    choice: Choice | None
    """Of precision, where one was asked for."""
    profile: Profile
    training: Training
    seconds: float
    warnings: tuple[str, ...] = ()
    """What a person should know before it is used."""


def export(spec: ExportSpec, progress: Progress) -> Published:
    """Trains, converts, checks and publishes one model. Raises ExportError, with nothing published."""
    started = time.monotonic()
    if spec.target == GPU:
        saved_model.check_measurable(spec.quantize)
    if spec.as_is is not None:
        return _export_as_is(spec, spec.as_is, progress, started)
    home = spec.repository / spec.name
    if not spec.training.resume and (found := checkpoints.describe_interrupted(home)):
        progress.note(found)
    with checkpoints.keep(home, checkpoints.describe_request(spec), spec.training.resume) as kept:
        return _train(spec, kept, progress, started)


def _train(spec: ExportSpec, kept: Checkpoints, progress: Progress, started: float) -> Published:
    row = spec.architecture
    source = sources.find(spec.data)
    if "image_size" not in spec.training.explicit and (told := image_size.describe(row, spec.image_size)):
        progress.note(told)
    start = _build(spec, source.labels, progress)
    model = start.model
    dataset = _read(spec, source, progress)
    warnings = (*start.warnings, *dataset.warnings)
    warnings += _check_statistics(spec, start, dataset.train, progress)
    before = report.look(spec, model, dataset, progress)
    training = adapt.adapt(spec, start, dataset, kept, progress)
    held = [model]
    del model, start
    return _publish(spec, held, dataset, training, before, warnings, progress, started)


def _export_as_is(spec: ExportSpec, as_is: AsIs, progress: Progress, started: float) -> Published:
    """Publishes a pretrained network with its own classes; photographs calibrate it and check it."""
    if spec.foreign is None:
        model, labels, warnings = _build_pretrained(spec, as_is, progress)
    else:
        source = sources.find(spec.data) if as_is.measured else None
        spec, model = _open(spec, spec.foreign, progress)
        given = () if source is None else source.labels
        labels, warnings = names.find(spec.architecture, spec.weights, spec.architecture.classes, as_is.labels, given)
        if source is not None:
            held = [model]
            del model
            return _export_measured(spec, held, labels, warnings, source, progress, started)
    row = spec.architecture
    with progress.stage(f"reading {escape(as_is.calibration) or 'packaged photographs'}") as stage:
        dataset = photographs.load(as_is.calibration, labels, spec.image_size, stage, spec.data_options.max_bad_files)
        _warn(stage, dataset.warnings)
        stage.result = f"{len(dataset.train.classes)} to calibrate, {len(dataset.held_out.classes)} to check"
    with progress.stage("checking that answers depend on the image") as stage:
        judged = check.judge(model, row, dataset, spec.force)
        if spec.foreign is not None:
            model, added = foreign.settle_answers(model, row, dataset)
            judged += (added,) if added else ()
        _warn(stage, judged)
    training = Training(NONE, "the weights are published as they are", 0.0)
    warnings += (*dataset.warnings, *judged)
    held = [model]
    del model
    return _publish(spec, held, dataset, training, None, warnings, progress, started)


def _export_measured(
    spec: ExportSpec,
    held: list[Any],
    labels: tuple[str, ...],
    warnings: tuple[str, ...],
    source: Source,
    progress: Progress,
    started: float,
) -> Published:
    """Publishes a network of somebody's own; labelled images measure it, and nothing learns from them."""
    row, model = spec.architecture, held.pop()
    dataset = classes.renumber(_read(spec, source, progress), labels)
    warnings += dataset.warnings
    with progress.stage("checking that answers are probabilities") as stage:
        model, added = foreign.settle_answers(model, row, dataset)
        _warn(stage, (added,) if added else ())
    warnings += (added,) if added else ()
    training = Training(NONE, "the weights are published as they are", 0.0)
    held.append(model)
    del model
    return _publish(spec, held, dataset, training, None, warnings, progress, started)


def _build_pretrained(
    spec: ExportSpec, as_is: AsIs, progress: Progress
) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
    """The network of a row with all of its weights, what its classes are called, and what to warn of."""
    row = spec.architecture
    with progress.stage(f"reading what the classes of {escape(spec.weights)} are called") as stage:
        count = weights.count_classes(row, spec.image_size, spec.weights)
        labels, warnings = names.find(row, spec.weights, count, as_is.labels)
        _warn(stage, warnings)
        stage.result = format_items(count, "class")
    release_memory()  # of a network that was read to count them
    start = _build(spec, labels, progress)
    check.check_complete(start, spec.weights)
    return start.model, labels, (*warnings, *start.warnings)


def _open(spec: ExportSpec, own: Foreign, progress: Progress) -> tuple[ExportSpec, Any]:
    """A network of somebody's own, and `spec` with a row that describes it."""
    import keras

    keras.backend.clear_session()
    with progress.stage(f"opening {escape(own.path)}") as stage:
        open_file = foreign.open_lite if own.path.suffix == TFLITE_SUFFIX else foreign.open_network
        opened = open_file(own, spec.image_size if "image_size" in spec.training.explicit else None)
        scaled = "--preprocessing" if own.scaling is not None else repr(opened.scaled_by)
        stage.result = f"{opened.row.parameters:,} parameters, {opened.row.classes} classes, pixels scaled by {scaled}"
        if opened.scaled_by and own.scaling not in (None, RAW):
            stage.warn(f"{opened.scaled_by!r} in the network scales pixels too: they are scaled twice")
    return replace(spec, architecture=opened.row, image_size=opened.size), opened.model


def _publish(
    spec: ExportSpec,
    held: list[Any],
    dataset: Dataset,
    training: Training,
    before: Any | None,
    warnings: tuple[str, ...],
    progress: Progress,
    started: float,
) -> Published:
    """Freezes, converts, checks, measures, quantizes and publishes a network that is ready. Raises ExportError.

    `held` has the network and loses it. No caller keeps it beside: its memory is free once nothing asks it any more.
    `before` is what the report saw ahead of training.
    """
    row, size, model = spec.architecture, spec.image_size, held.pop()
    parameters = model.count_params()
    precision = model.entry.precision if isinstance(model, LiteNetwork) else FLOAT32
    macs = count_cost(model).macs if spec.foreign is None else None  # foreign layers cannot be counted
    with publish.staging(spec.repository, spec.name) as folder:
        if isinstance(model, LiteNetwork):
            agreed = _write_lite(spec, folder, model, dataset, progress)
        else:
            agreed, unfeatured = _write_network(spec, folder, model, dataset, progress)
            warnings += unfeatured
        reference = published = None
        score: Score | None = None
        judged: tuple[str, ...] = ()
        if spec.labelled:
            reference, score, judged = _evaluate(spec, folder, dataset, progress)
            published, training = reference, training.add_accuracy(score.accuracy)
        choice = _quantize(spec, folder, dataset, reference, progress)
        quality = None if choice is None else choice.chosen.quality
        if quality is not None and quality.answers is not None:
            published = quality.answers
            score = train.count_right(published.classes, dataset.held_out, dataset.labels)
            judged = chance.judge(
                score.accuracy, dataset.held_out.classes, dataset.labels, "lower --max-accuracy-drop", spec.force
            )
        warnings += judged
        keras_model = None if isinstance(model, LiteNetwork) else model
        measured = report.measure(spec, folder, keras_model, dataset, before, reference, published, progress)
        del model, keras_model
        release_memory()
        lite_model = LiteModel(folder / TFLITE, threads=os.cpu_count() or 1)
        width = lite_model.find_width()
        known_threshold = None
        index_images = spec.data_options.index_images
        if width is not None and spec.labelled and index_images:
            with progress.stage("computing the features of training images") as stage:
                known_threshold = image_index.write(folder, dataset, lite_model, width, index_images, stage)
        del lite_model  # with the maps of a batch
        with progress.stage("writing samples, golden answers and warm-up requests"):
            samples.write(folder, spec.name, dataset, row, LiteModel(folder / TFLITE, threads=1))
        release_memory()  # ahead of another process
        with progress.stage("measuring what it costs on this machine") as stage:
            cost = profile.measure(folder / TFLITE)
            stage.result = f"{cost.milliseconds[IMAGE][1]:.3g} ms an image, {cost.peak_mb:.0f} MB"
        sizes = facts.sizes(folder)
        manifest = Manifest(
            name=spec.name,
            version=0,
            signatures=signatures.describe(row, size, len(dataset.labels), width),
            labels=dataset.labels,
            preprocessing=Preprocessing(height=size, width=size),
            architecture=row.name,
            precision=precision if choice is None else choice.chosen.precision,
            profile=cost,
            temperature=None if measured is None else measured.temperature.value,
            known_threshold=known_threshold,
            facts=facts.gather(spec, dataset, parameters, macs, score, agreed, sizes, training, choice, warnings),
        )
        report.write(spec, folder, manifest, measured)
        with progress.stage("publishing") as stage:
            version = publish.publish(folder, lambda number: replace(manifest, version=number).write(folder))
            stage.result = f"{spec.name} version {version}"
    return Published(
        spec=spec,
        folder=folder.parent / str(version),
        version=version,
        parameters=parameters,
        score=score,
        held_out=len(dataset.held_out.classes),
        parity=agreed,
        sizes=sizes,
        choice=choice,
        profile=cost,
        training=training,
        seconds=time.monotonic() - started,
        warnings=warnings,
    )


def _write_network(
    spec: ExportSpec, folder: Path, model: Any, dataset: Dataset, progress: Progress
) -> tuple[Parity, tuple[str, ...]]:
    """Its SavedModel and `model.tflite`, checked against the network, and what to warn of."""
    warnings: tuple[str, ...] = ()
    release_memory()  # of what the network was asked
    with progress.stage("freezing the SavedModel") as stage:
        missing = freeze.write_saved_model(folder, model, spec.architecture, spec.image_size, dataset.labels)
        if spec.foreign is None or spec.foreign.path.suffix == KERAS:
            network.write(folder, model)
        if missing:
            warnings = (f"no signature {FEATURES!r}, so no /embed: {missing}",)
            _warn(stage, warnings)
    with progress.stage("converting to LiteRT"):
        litert.convert(folder, folder / TFLITE)
    with progress.stage("checking the staged files against the trained network") as stage:
        agreed = parity.check(Readback(folder), model, spec.architecture, dataset)
        stage.result = f"largest difference {agreed.worst:.1e}"
    release_memory()
    return agreed, warnings


def _write_lite(spec: ExportSpec, folder: Path, model: LiteNetwork, dataset: Dataset, progress: Progress) -> Parity:
    """`model.tflite` alone, with the entries that the service knows, checked against the file as it came."""
    row, name = spec.architecture, escape(spec.weights)
    with progress.stage("adding the entries image and tensor"):
        made = add_entries(model.data, row, spec.image_size, name, softmax=model.softmax)
        (folder / TFLITE).write_bytes(made)
    with progress.stage("checking the staged file against the one that was given") as stage:
        agreed = parity.check_lite(made, model, row, dataset, exact=model.entry.precision == FLOAT32)
        stage.result = f"largest difference {agreed.worst:.1e}"
        stage.tell(f"no signature {FEATURES!r}, so no /embed: the operations of a given file stay as they are")
    return agreed


def _evaluate(
    spec: ExportSpec, folder: Path, dataset: Dataset, progress: Progress
) -> tuple[Answers, Score, tuple[str, ...]]:
    """What the staged float32 form answers to the held-out images, how good that is, and what to warn of.

    It was held against the network already, and its answers do for the report as well. Raises ExportError where it is
    no better than guessing.
    """
    with progress.stage("evaluating on held-out images") as stage:
        given = answers.compute(answers.open_file(folder, _prefers_lite(folder)), dataset.held_out, stage)
        score = train.count_right(given.classes, dataset.held_out, dataset.labels)
        stage.result = f"accuracy {score.accuracy:.4f}"
        judged = chance.judge(score.accuracy, dataset.held_out.classes, dataset.labels, _advise(spec), spec.force)
        _warn(stage, judged)
    return given, score, judged


def _prefers_lite(folder: Path) -> bool:
    """Whether `model.tflite` answers sooner than the SavedModel: where TensorFlow sees no GPU."""
    import tensorflow as tf

    return not (folder / SAVED_MODEL).exists() or not tf.config.list_physical_devices("GPU")


def _quantize(
    spec: ExportSpec, folder: Path, dataset: Dataset, reference: Answers | None, progress: Progress
) -> Choice | None:
    """Puts the form that `spec` asks for in the place of float32's: of `model.tflite`, for a GPU of the SavedModel.

    `reference` has float32's answers to the held-out images; None where these have no labels.
    """
    if spec.quantize is None:
        return None
    most_drop = spec.max_accuracy_drop
    if spec.as_is is not None and not spec.as_is.measured:
        most_drop = 1 - spec.as_is.min_agreement
    if spec.target != GPU:
        with progress.stage("converting to OpenVINO") as stage:  # while model.tflite is in float32
            openvino.write(folder, dataset.held_out.images[: len(dataset.examples)], stage)
        judge = Judge(dataset, most_drop, evaluate.open_model(folder / TFLITE), reference)
        beside, unbuilt = _quantize_for_openvino(spec, folder, dataset, judge, progress)
    with progress.stage(f"quantizing for a {spec.target.upper()}: {spec.quantize}") as stage:
        if spec.target == GPU:
            choice = saved_model.choose(folder, dataset, spec.quantize, most_drop, stage, reference)
        else:
            choice = lite.choose(
                folder / TFLITE,
                spec.architecture,
                schemes.of(spec.quantize),
                dataset,
                judge,
                or_float=spec.quantize == schemes.AUTO,
                stage=stage,
            )
            parity.check_entries(LiteModel(folder / TFLITE, threads=1), spec.architecture, dataset)
            choice = replace(choice, beside=beside, failed={**choice.failed, **unbuilt})
        chosen, float32 = choice.chosen, choice.candidates[0]
        stage.result = f"{chosen.name}, {chosen.size / float32.size:.0%} of float32's size"
        if chosen.milliseconds:
            stage.result += f", {float32.cost / chosen.cost:.1f} times as fast"
    if chosen is float32:
        openvino.remove(folder)  # it reads model.tflite itself
    return choice


def _quantize_for_openvino(
    spec: ExportSpec, folder: Path, dataset: Dataset, judge: Judge, progress: Progress
) -> tuple[Candidate | None, dict[str, str]]:
    """The candidate of OpenVINO's int8 form, with files where it is accurate enough; or why there is none."""
    if spec.quantize not in (schemes.AUTO, schemes.INT8) or not openvino.is_installed():
        return None, {}
    if missing := select_openvino.find_missing():
        return None, {select_openvino.NAME: missing}
    with progress.stage("quantizing for OpenVINO: int8") as stage:
        try:
            made = select_openvino.write(folder, dataset, judge, stage)
        except ValueError as error:
            stage.result = "left out"
            return None, {select_openvino.NAME: str(error)}
        stage.result = made.refusal or f"{made.milliseconds[1]:.3g} ms an image"
    return made, {}


def _build(spec: ExportSpec, labels: tuple[str, ...], progress: Progress) -> Start:
    """The network as training finds it."""
    import keras

    keras.backend.clear_session()  # releases what an export before this one left
    keras.utils.set_random_seed(spec.seed)
    with progress.stage(f"building {spec.architecture.name}, weights: {escape(spec.weights)}") as stage:
        start = weights.start(spec.architecture, spec.image_size, len(labels), spec.weights)
        start = check_labels(start, spec.weights, labels, spec.training.strategy)
        _warn(stage, start.warnings)
        stage.result = f"{start.model.count_params():,} parameters"
    release_memory()  # of the networks that the weights were read into
    return start


def _read(spec: ExportSpec, source: Source, progress: Progress) -> Dataset:
    with progress.stage(f"reading {escape(spec.data)}") as stage:
        dataset = data.load(source, spec.image_size, stage, spec.data_options.max_bad_files)
        _warn(stage, dataset.warnings)
        stage.result = (
            f"{format_items(len(dataset.labels), 'class')}, "
            f"{format_items(len(dataset.train.classes), 'image')} to train on, "
            f"{len(dataset.validation.classes):,} to validate on, {len(dataset.held_out.classes):,} held out"
        )
    return dataset


def _check_statistics(spec: ExportSpec, start: Start, split: Split, progress: Progress) -> tuple[str, ...]:
    """Re-estimates a donor's batch norms that training would leave as they are, where they are stale.

    Where nothing is trained, nothing is changed either. Returns what a person should know of it.
    """
    norms = batch_norms.list_norms(start.known)
    whole = len(start.known) == sum(bool(layer.weights) for layer in start.model.layers)
    strategy = spec.training.strategy
    trains = strategy != NONE
    if not norms or strategy == FULL or (strategy == AUTO and whole):
        return ()  # what trains all at once has them re-estimated at its end
    given = (start.model, norms, spec.architecture, split, spec.seed)
    with progress.stage("holding batch norm statistics against the training images") as stage:
        apart = batch_norms.measure_staleness(*given, stage)
        stage.result = f"{apart:.2f} nats apart, above {batch_norms.STALE:g} they are stale"
        if not apart > batch_norms.STALE:
            return ()
        found = f"the batch norm statistics of {escape(spec.weights)} are not those of these images ({apart:.2f} nats)"
        if trains:
            batch_norms.re_estimate(*given, stage)
            found += " and were re-estimated"
        else:
            found += ": answers may be wrong; --epochs 1 re-estimates them"
        _warn(stage, (found,))
    return (found,)


def _advise(spec: ExportSpec) -> str:
    if spec.as_is is not None:
        return "are these its classes, in this order, and is --preprocessing as it was trained"
    if spec.training.strategy == NONE:
        return (
            f"are these the classes, in this order, and the scaling of pixels that {escape(spec.weights)} was trained "
            "with? --epochs trains it on these images"
        )
    return "give more --epochs, another --learning-rate or more images"


def _warn(stage: Stage, warnings: tuple[str, ...]) -> None:
    for text in warnings:
        stage.warn(text)
