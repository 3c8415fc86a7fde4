"""index.html: one file that needs no network."""

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from drawing import document, tables
from drawing.tables import Cell, Row, table, told
from export.convert.signatures import IMAGE
from export.report import charts
from export.report.measurements import Measurements, Mistake
from export.training.options import LINEAR_PROBE
from service.plurals import format_items
from service.repository.manifest import Manifest

_SHARE = "{:.1%}"
_UNCHANGED = '<p class="soft">A linear probe changes no features: these are those of the given weights.</p>'


def render(manifest: Manifest, measured: Measurements, without: Sequence[str]) -> str:
    """`without` says what the page leaves out and how to have it."""
    facts = manifest.facts
    training = facts["training"]
    phases: Sequence[Mapping[str, Any]] = training.get("phases", ())
    found, temperature = measured.classification, measured.temperature.value
    before = "before training" if training.get("weights", "none") != "none" else "random weights"
    curves = charts.curves(phases)
    maps = charts.maps(measured.maps, measured.mapped, manifest.labels, before)
    body = [
        f"<h1>{escape(manifest.name)}</h1>",
        f'<p class="soft">{escape(_describe(manifest))}</p>',
        _cards(manifest, measured),
        _warnings(facts.get("warnings", ())),
        "<h2>Training</h2>",
        _training(training),
        "" if curves is None else document.render_chart(curves),
        _phases(phases),
        "<h2>Right and wrong</h2>",
        f'<p class="soft">Measured on {found.images:,} held-out images, which no training saw, with the files that are '
        "published.</p>",
        document.render_chart(charts.confusion(found)),
        "<h3>Each class</h3>",
        _classes(measured),
        "<h3>Most confident mistakes</h3>",
        _mistakes(measured.mistakes),
        "<h2>How sure it is</h2>",
        document.render_chart(charts.calibration(measured.answered, measured.scaled, temperature)),
        _temperature(measured),
        "<h2>What it sees</h2>",
        "" if maps is None else document.render_chart(maps),
        f"<p>No map of features: {escape(measured.unmapped)}.</p>" if measured.unmapped else "",
        "" if maps is None or training.get("strategy") != LINEAR_PROBE else _UNCHANGED,
        *(f'<p class="soft">{escape(each)}</p>' for each in without),
        _quantization(facts.get("quantization")),
        "<h2>How it was made</h2>",
        _made(manifest),
        '<p class="soft">The numbers of this page are in <a href="report.json">report.json</a> beside it.</p>',
    ]
    return document.render(f"{manifest.name}: export report", body)


def _describe(manifest: Manifest) -> str:
    recipe = manifest.preprocessing
    size = f", {recipe.height}x{recipe.width} pixels" if recipe else ""
    data, created = manifest.facts["dataset"], datetime.fromisoformat(manifest.facts["created"])
    used = f"{format_items(data['train'], 'image')} to train on" if "train" in data else "nothing trained on them"
    return (
        f"{manifest.architecture}, {manifest.precision}{size}, exported {created:%Y-%m-%d %H:%M} UTC. "
        f"{data['name']}: {format_items(data['classes'], 'class')}, {used}."
    )


def _cards(manifest: Manifest, measured: Measurements) -> str:
    found = measured.classification
    low, high = found.interval
    worst = min(found.classes, key=lambda each: (each.f1, each.label))
    said = [
        (
            f"{found.accuracy:.1%}",
            f"of {format_items(found.images, 'held-out image')} right (95 % interval {low:.1%} to {high:.1%})",
        ),
        *([(f"{found.top_5:.1%}", "have the right class among the first five")] if found.top_5 is not None else []),
        (f"{worst.f1:.2f}", "F1 of every class" if worst.f1 == 1 else f"F1 of the weakest class: {worst.label}"),
        (
            f"{measured.answered.error:.3f}",
            "calibration error: mean distance between how sure it is and how often it is right",
        ),
    ]
    if manifest.profile is not None:
        said.append((f"{manifest.profile.milliseconds[IMAGE][1]:.3g} ms", "an image, on the machine that exported it"))
    cards = "".join(f'<div class="card"><b>{escape(a)}</b><span>{escape(b)}</span></div>' for a, b in said)
    return f'<div class="cards">{cards}</div>'


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    lines = "".join(f"<p>{escape(each)}</p>" for each in warnings)
    return f'<div class="banner" role="alert">{lines}</div>'


def _training(training: Mapping[str, Any]) -> str:
    facts = {"started from": f"weights: {training.get('weights', 'none')}"}
    if strategy := training.get("strategy"):
        facts["strategy"] = strategy + (f": {training['why']}" if training.get("why") else "")
    facts["took in all"] = f"{training['seconds']:,.0f} s"
    for key in ("epochs", "seed"):
        if training.get(key) is not None:
            facts[key] = f"{training[key]:,}"
    return document.render_list(facts)


def _phases(phases: Sequence[Mapping[str, Any]]) -> str:
    if not phases:
        return ""
    head = (
        "phase",
        "epochs",
        "best\nepoch",
        "batch\nsize",
        "learning\nrate",
        "trainable\nparameters",
        "frozen\nlayers",
    )
    rows = [
        Row(
            [
                tables.text(str(each["title"])),
                *(told(each.get(key), "{:,}".format) for key in ("epochs", "best_epoch", "batch_size")),
                told(each.get("learning_rate"), "{:.3g}".format),
                *(told(each.get(key), "{:,}".format) for key in ("trainable_parameters", "frozen_layers")),
                told(each.get("seconds"), "{:,.1f}".format),
                told(each.get("accuracy"), _SHARE.format),
            ]
        )
        for each in phases
    ]
    return table("Phases of training", [*head, "seconds", "accuracy,\nheld out"], rows)


def _classes(measured: Measurements) -> str:
    rows = [
        Row(
            [
                tables.text(each.label),
                *(told(value, "{:.3f}".format) for value in (each.precision, each.recall, each.f1)),
                told(each.support, "{:,}".format),
            ],
            number,
        )
        for number, each in enumerate(measured.classification.classes)
    ]
    return (
        '<p class="soft">Precision is the share of the answers of a class that are right, recall the share of its '
        "images that are found, F1 their harmonic mean, support the number of them. "
        "Click a column to sort by it.</p>" + table("Classes", ("class", "precision", "recall", "F1", "support"), rows)
    )


def _mistakes(mistakes: Sequence[Mistake]) -> str:
    if not mistakes:
        return "<p>There are none: every held-out image is right.</p>"
    pictures = "".join(
        f'<figure><img alt="held-out image {each.image}" '
        f'src="data:image/png;base64,{b64encode(each.picture).decode()}">'
        f"<figcaption><b>{escape(each.label)}</b> taken for <b>{escape(each.answer)}</b>, "
        f"probability {each.probability:.2f}</figcaption></figure>"
        for each in mistakes
    )
    return f'<div class="pictures">{pictures}</div>'


def _temperature(measured: Measurements) -> str:
    value, before, after = measured.temperature.value, measured.answered, measured.scaled
    if value is None or after is None:
        return f"<p>No temperature: {escape(measured.temperature.reason)}.</p>"
    sure = "too sure of its answers" if value > 1 else "not sure enough of its answers"
    return (
        f"<p>The model is {sure}. Dividing its logits by a temperature of {value:.3f}, which was fitted on the "
        f"validation images, brings the mean distance between confidence and accuracy from {before.error:.3f} to "
        f"{after.error:.3f} on the held-out images, and their negative log likelihood from {before.loss:.3f} to "
        f"{after.loss:.3f}. No answer changes. The manifest has it as <code>temperature</code>: probabilities become "
        "<code>softmax(log(p) / temperature)</code>.</p>"
    )


def _quantization(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    rows = [
        Row(
            [
                tables.text(each["name"]),
                told(each["bytes"] / 1e6, "{:.2f}".format),
                told(_one_image(each["milliseconds_an_image_by_batch"]), "{:.3g}".format),
                told(each["accuracy"], _SHARE.format),
                told(each["agreement_with_float32"], _SHARE.format),
                Cell(each["verdict"], each["verdict"], "reason"),
            ]
        )
        for each in found["candidates"]
    ]
    head = ("form", "MB", "ms an\nimage", "accuracy", "agrees with\nfloat32", "verdict")
    asked = f'<p class="soft">Asked for: {escape(str(found["asked"]))}.</p>'
    return "<h2>Precision</h2>" + asked + table("Precisions", head, rows, (0, 5))


def _one_image(by_batch: Mapping[Any, float]) -> float | None:
    """Milliseconds an image, of the smallest batch."""
    return min(by_batch.items(), key=lambda each: int(each[0]))[1] if by_batch else None


def _describe_files(sizes: Mapping[str, int]) -> str:
    """A folder's files are one figure."""
    shown: Counter[str] = Counter()
    for name, size in sizes.items():
        shown[name.partition("/")[0]] += size
    return ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in shown.items() if size > 1e4)


def _made(manifest: Manifest) -> str:
    facts = manifest.facts
    profile = manifest.profile
    listed = {
        "parameters": f"{facts['parameters']:,}",
        "files": _describe_files(facts["file_bytes"]),
        "tools": ", ".join(f"{name} {version}" for name, version in facts["tools"].items()),
        "created": facts["created"],
    }
    if profile is not None:
        listed["machine"] = profile.machine
        listed["memory"] = f"{profile.peak_mb:.0f} MB"
    return document.render_list({key: value for key, value in listed.items() if value})
