"""The figures of an export's report: each held against scikit-learn's, a closed form or a known answer."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import classification_report, silhouette_score

from export.architectures import ARCHITECTURES
from export.data.dataset import Split
from export.report import calibration, classification, features
from export.verify.answers import MOST_FEATURES
from export.verify.chance import bound_accuracy
from service.repository.calibration import scale
from tests.support.exporter import ROOT

LABELS = tuple(f"class {index}" for index in range(8))


def answers(count: int, seed: int = 0, sure: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [count, 8] and classes [count]: right a good deal of the time, class 7 never shown nor answered."""
    generator = np.random.default_rng(seed)
    classes = generator.integers(0, 7, count)
    logits = generator.normal(size=(count, 8))
    logits[np.arange(count), classes] += sure
    logits[:, 7] = -20
    powers = np.exp(logits)
    return (powers / powers.sum(-1, keepdims=True)).astype(np.float32), classes


def test_each_class_has_the_figures_that_scikit_learn_reports() -> None:
    probabilities, classes = answers(400)
    found = classification.measure(probabilities, classes, LABELS)
    reported = classification_report(
        classes, probabilities.argmax(-1), labels=range(8), target_names=LABELS, output_dict=True, zero_division=0
    )
    for each in found.classes:
        wanted = reported[each.label]
        assert (each.precision, each.recall, each.f1) == pytest.approx(
            (wanted["precision"], wanted["recall"], wanted["f1-score"]), abs=1e-12
        )
        assert each.support == wanted["support"]
    assert found.classes[7].support == 0 and found.classes[7].f1 == 0
    assert 0.5 < found.accuracy < 0.95
    assert found.confusion.sum() == 400
    assert found.confusion.trace() == round(400 * found.accuracy)
    assert found.confusion.sum(axis=1).tolist() == np.bincount(classes, minlength=8).tolist(), "rows are what is shown"


def test_top_five_counts_what_is_among_the_first_five_and_is_left_out_where_it_says_nothing() -> None:
    probabilities, classes = answers(300)
    ranks = (probabilities > probabilities[np.arange(300), classes][:, None]).sum(-1)
    found = classification.measure(probabilities, classes, LABELS)
    assert found.top_5 == pytest.approx((ranks < 5).mean())
    assert found.top_5 is not None and found.accuracy < found.top_5 < 1
    few = classification.measure(np.eye(5)[[0, 1, 1]], np.array([0, 1, 2]), LABELS[:5])
    assert few.top_5 is None


@pytest.mark.parametrize(("count", "trials"), [(0, 9), (9, 9), (330, 359)])
def test_the_interval_is_the_one_that_decides_about_chance(count: int, trials: int) -> None:
    low, high = classification.bound_share(count, trials)
    assert low == pytest.approx(bound_accuracy(count / trials, trials), abs=1e-6)
    assert 1 - high == pytest.approx(bound_accuracy(1 - count / trials, trials), abs=1e-6)


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
def test_the_temperature_that_answers_were_made_with_is_found(truth: float) -> None:
    generator = np.random.default_rng(1)
    real = scale(np.exp(generator.normal(size=(4000, 6)) * 2), 1.0)
    classes = (real.cumsum(-1) > generator.random((4000, 1))).argmax(-1)  # a case happens as often as it is said to
    told = scale(real, 1 / truth)
    found = calibration.fit_temperature(told[:2000], classes[:2000])
    assert found.value is not None and found.value == pytest.approx(truth, rel=0.1)
    before = calibration.measure(told[2000:], classes[2000:])
    after = calibration.measure(scale(told[2000:], found.value), classes[2000:])
    assert after.error < 0.04
    assert after.loss <= before.loss + 0.002
    assert before.error > 0.08 or truth == 1.0


def test_a_temperature_changes_no_answer() -> None:
    probabilities, _ = answers(200)
    for temperature in (0.3, 1.0, 4.0):
        scaled = scale(probabilities, temperature)
        assert (scaled.argmax(-1) == probabilities.argmax(-1)).all()
        assert scaled.sum(-1) == pytest.approx(1)
    assert scale(probabilities, 1.0) == pytest.approx(probabilities, abs=1e-6)


def test_the_calibration_error_of_a_known_case() -> None:
    """Ten answers that are 0.75 sure, of which five are right, and ten that are 0.95 sure and all right."""
    sure = np.array([0.75] * 10 + [0.95] * 10)
    probabilities = np.stack([sure, 1 - sure], axis=-1)
    found = calibration.measure(probabilities, np.array([0] * 5 + [1] * 5 + [0] * 10))
    assert found.error == pytest.approx((10 * 0.25 + 10 * 0.05) / 20)
    assert [(each.images, each.accuracy) for each in found.bins] == [(10, 0.5), (10, 1.0)]


def test_no_temperature_is_fitted_where_images_are_few_or_all_right() -> None:
    probabilities, classes = answers(200)
    few = calibration.fit_temperature(probabilities[:20], classes[:20])
    assert few.value is None and "too few to fit one: 20 validation images" in few.reason
    none = calibration.fit_temperature(probabilities[:0], classes[:0])
    assert none.value is None and "0 validation images" in none.reason
    right = calibration.fit_temperature(probabilities, probabilities.argmax(-1))
    assert right.value is None and "every validation image is right" in right.reason


def test_features_are_what_the_last_layer_takes() -> None:
    row = ARCHITECTURES["lenet5"]
    model = row.build(row.shape(28), 10)
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 3), np.uint8)
    found = features.extract(model, row, Split(images, np.zeros(40, np.int32)))
    assert found is not None and found.shape == (40, 84)
    gray = images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    answered = model(gray[..., None] * 0.005 - 0.1, training=False).numpy()
    logits = found @ model.layers[-1].get_weights()[0] + model.layers[-1].get_weights()[1]
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(powers / powers.sum(-1, keepdims=True), answered, atol=1e-5)


def test_features_of_a_convolution_that_classifies_are_flat() -> None:
    import keras

    row = ARCHITECTURES["mobilenet_v2"]
    image = keras.layers.Input((32, 32, 3))
    x = keras.layers.Conv2D(12, 3, strides=2)(image)
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 1)(x))
    split = Split(np.zeros((MOST_FEATURES + 5, 32, 32, 3), np.uint8), np.zeros(MOST_FEATURES + 5, np.int32))
    found = features.extract(keras.Model(image, keras.layers.Softmax()(x)), row, split)
    assert found is not None and found.shape == (MOST_FEATURES, 12)


@pytest.mark.parametrize("method", [features.PCA, features.TSNE, pytest.param(features.UMAP, marks=pytest.mark.slow)])
def test_classes_that_lie_apart_lie_apart_on_the_map(method: str) -> None:
    if method == features.UMAP:
        pytest.importorskip("umap")
    generator = np.random.default_rng(0)
    classes = np.repeat(np.arange(3), 30)
    rows = generator.normal(size=(90, 20)) + 12 * np.eye(20)[classes]
    places = features.project(rows.astype(np.float32), method)
    assert places.shape == (90, 2)
    assert places.min() == 0 and places.max() == 1
    assert silhouette_score(places, classes) > 0.6


def test_a_full_report_says_which_package_is_missing() -> None:
    code = "import sys; sys.path = [each for each in sys.path if 'site-packages' not in each];"
    code += "from export.report import options; options.ReportOptions('full')"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "UsageError: --report full needs the package umap-learn: pip install" in ended.stderr
