"""A network adapted to images: a strategy is decided, its phases run one after another, each may be gone on with."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from export.data.dataset import Dataset
from export.progress import Progress, Stage
from export.spec import ExportSpec
from export.training import auto, batch_norms, features, loop, phases, train
from export.training.auto import Decision
from export.training.auxiliary import join_heads
from export.training.checkpoints import Checkpoints
from export.training.loop import Batches, Outcome
from export.training.options import AUTO, FINE_TUNE, FLOAT32, TrainingOptions
from export.training.phases import Phase
from export.training.weights import Start
from service.plurals import format_items

_UNBALANCED = 2.0
"""The largest class over the smallest from which on `--class-weights auto` balances them."""


@dataclass(frozen=True, slots=True)
class Training:
    """What was done to a network. `phases` are facts for a manifest: JSON."""

    strategy: str
    why: str
    seconds: float
    phases: tuple[Mapping[str, Any], ...] = ()

    def add_accuracy(self, accuracy: float) -> "Training":
        """With the accuracy after the last phase, on held-out images."""
        if not self.phases:
            return self
        return replace(self, phases=(*self.phases[:-1], {**self.phases[-1], "accuracy": round(accuracy, 6)}))

    def describe(self) -> str:
        """For a summary: the strategy, and each phase's accuracy and seconds."""
        done = "; ".join(
            f"{each['title']}: {each['accuracy']:.4f} after {format_items(each['epochs'], 'epoch')}, "
            f"{each['seconds']:.0f} s"
            for each in self.phases
        )
        return f"{self.strategy} ({done})" if done else self.strategy


def adapt(spec: ExportSpec, start: Start, dataset: Dataset, checkpoints: Checkpoints, progress: Progress) -> Training:
    """Trains the network of `start` in place, as `spec.training` says. Raises ExportError."""
    model, options = start.model, spec.training
    checkpoints.check_images(dataset.fingerprint)
    began = time.monotonic()
    decision = _decide(spec, start, dataset, checkpoints, progress)
    options = replace(options, strategy=decision.strategy, unfreeze=decision.unfreeze)
    classes, images = len(dataset.labels), len(dataset.train.classes)
    counts = np.bincount(dataset.train.classes, minlength=classes)
    plan = phases.plan(
        model, start.known, decision.strategy, spec.recipe, options, images, float(np.median(counts)), start.head
    )
    for phase in plan:
        progress.note(f"{phase.title}: {phase.description}")
    weights = choose_class_weights(options.class_weights, counts)
    before = sum(each["seconds"] for each in checkpoints.phases)
    for number, phase in enumerate(plan):
        if number < len(checkpoints.phases):
            progress.note(f"{phase.title} was finished before the interruption")
            if number == len(checkpoints.phases) - 1:
                checkpoints.restore(model)
            continue
        _freeze(model, phase)
        log = None if spec.training.log_dir is None else spec.training.log_dir / spec.name / _name_log(number, phase)
        with progress.stage(phase.title) as stage:
            kept = {"folder": checkpoints.open_phase(number), "log": log, "class_weights": weights}
            outcome = _run(spec, options, model, phase, dataset, stage, **kept)
            stage.result = _summarize(outcome, phase.recipe.epochs)
        accuracy = None
        if number < len(plan) - 1:
            with progress.stage("evaluating on held-out images") as stage:
                accuracy = train.evaluate(model, spec.architecture, dataset.held_out, dataset.labels, stage).accuracy
                stage.result = f"accuracy {accuracy:.4f}"
        checkpoints.finish_phase(model, _describe(model, phase, outcome, accuracy))
    return Training(decision.strategy, decision.why, before + time.monotonic() - began, tuple(checkpoints.phases))


def choose_class_weights(kind: str, counts: Any) -> dict[int, float] | None:
    """Weights of classes with so many images, int [classes], whose images weigh 1 on average; None where all are 1."""
    present = counts[counts > 0]
    if kind == "none" or (kind == "auto" and present.max() <= _UNBALANCED * present.min()):
        return None
    return {label: float(counts.sum() / (len(present) * count)) for label, count in enumerate(counts) if count}


def _decide(spec: ExportSpec, start: Start, dataset: Dataset, checkpoints: Checkpoints, progress: Progress) -> Decision:
    options = spec.training
    if checkpoints.decision is not None:
        return Decision(**checkpoints.decision)
    decision = Decision(options.strategy, options.unfreeze, "it was asked for")
    if options.strategy == AUTO:
        decision = auto.decide_at_once(start.model, start.known) or _try_out(spec, start, dataset, progress)
        if options.unfreeze and decision.strategy == FINE_TUNE:
            decision = replace(decision, unfreeze=options.unfreeze)
        unfreeze = f" --unfreeze {decision.unfreeze}" if decision.unfreeze else ""
        progress.note(f"--strategy {decision.strategy}{unfreeze}: {decision.why}")
    checkpoints.keep_decision({"strategy": decision.strategy, "unfreeze": decision.unfreeze, "why": decision.why})
    return decision


def _try_out(spec: ExportSpec, start: Start, dataset: Dataset, progress: Progress) -> Decision:
    with progress.stage("trying what the given weights know of these images") as stage:
        return auto.decide(
            start.model, start.known, spec.architecture, dataset.train, len(dataset.labels), spec.seed, stage
        )


def _freeze(model: Any, phase: Phase) -> None:
    frozen = set(map(id, phase.frozen))
    for layer in model.layers:
        layer.trainable = id(layer) not in frozen


def _run(
    spec: ExportSpec, options: TrainingOptions, model: Any, phase: Phase, dataset: Dataset, stage: Stage, **more: Any
) -> Outcome:
    """Trains what `phase` leaves unfrozen, batch norms included. `more` goes to `loop.run` as it is."""
    norms = batch_norms.list_norms([layer for layer in model.layers if layer.trainable])
    given = (model, norms, spec.architecture, dataset.train, spec.seed)
    if phase.cached:
        options = replace(options, precision=FLOAT32)
        network, batches = _prepare_head(spec, model, phase, dataset, stage)
    else:
        network, batches = _prepare_images(spec, model, phase, dataset)
    outcome = loop.run(
        network,
        batches,
        phase.recipe,
        options,
        stage,
        rates=phase.rates,
        settle=batch_norms.build_catch_up(*given) if norms and not phase.cached else None,
        brief=phase.cached,
        **more,
    )
    batch_norms.re_estimate(*given, stage)
    return outcome


def _prepare_images(spec: ExportSpec, model: Any, phase: Phase, dataset: Dataset) -> tuple[Any, Batches]:
    """The network to train, which shares its layers with `model`, and images for it."""
    import keras

    network = model
    if spec.training.dropout is not None:
        backbone, head = features.cut(model, [[layer for layer in model.layers if layer.weights][-1]])
        network = keras.Model(model.inputs, _drop_features(model, head, spec.training.dropout)(backbone(model.inputs)))
    if spec.architecture.auxiliary is not None and not phase.frozen:
        network = join_heads(network, spec.architecture.auxiliary(model))
    return network, train.prepare_batches(
        spec.architecture,
        dataset.train,
        dataset.validation,
        phase.recipe.batch_size,
        spec.seed,
        len(dataset.labels),
        spec.data_options.choose_augmentation(dataset.labels),
    )


def _prepare_head(spec: ExportSpec, model: Any, phase: Phase, dataset: Dataset, stage: Stage) -> tuple[Any, Batches]:
    """The head to train, which shares its layers with `model`, and features for it."""
    backbone, head = features.cut(model, [layer for layer in model.layers if layer.weights and layer.trainable])
    if spec.training.dropout is not None:
        head = _drop_features(model, head, spec.training.dropout)
    seen, unseen = (
        features.compute(backbone, spec.architecture, split, stage) for split in (dataset.train, dataset.validation)
    )
    size, images = phase.recipe.batch_size, len(seen.classes)
    return head, Batches(
        features.batch_rows(seen, size, spec.seed),
        phases.count_steps(images, size),
        images,
        features.batch_rows(unseen, size, None),
        len(unseen.classes),
    )


def _drop_features(model: Any, head: Any, rate: float) -> Any:
    """`head` with so much dropout ahead of it: the last of `model`'s own where it has one."""
    import keras

    own = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    if not own:
        features = keras.Input(head.input_shape[1:])
        return keras.Model(features, head(keras.layers.Dropout(rate)(features)))
    own[-1].rate = rate
    if rate > 0 and not hasattr(own[-1], "seed_generator"):
        own[-1].seed_generator = keras.random.SeedGenerator()
    return head


def _name_log(number: int, phase: Phase) -> str:
    return f"{number + 1}-{'head' if phase.cached else phase.title}"


def _summarize(outcome: Outcome, most: int) -> str:
    done = f"{outcome.epochs} of " if outcome.epochs < most else ""
    accuracy = outcome.history["val_accuracy"][outcome.best_epoch - 1]
    return (
        f"{done}{format_items(most, 'epoch')}, the weights of epoch {outcome.best_epoch} are kept: "
        f"accuracy {accuracy:.3f} on the validation images"
    )


def _describe(model: Any, phase: Phase, outcome: Outcome, accuracy: float | None) -> dict[str, Any]:
    return {
        "title": phase.title,
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "batch_size": phase.recipe.batch_size,
        "learning_rate": phase.recipe.learning_rate,
        "trainable_parameters": sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
        "frozen_layers": len(phase.frozen),
        "seconds": round(outcome.seconds, 1),
        "history": {key: list(values) for key, values in outcome.history.items()},
        "accuracy": None if accuracy is None else round(accuracy, 6),
    }
