"""Outputs of an object detector as boxes: which of them, where they lie, and what is no detector's."""

from typing import Any

import numpy as np
import pytest

from service.api.predict.detections import Choice, Photo, render_detections

ALL = Choice(0.0, 100)
PHOTO = Photo(height=100, width=200)


def make_outputs(**changed: Any) -> dict[str, Any]:
    outputs = {
        "detection_boxes": np.array([[[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0], [0.25, 0.5, 0.75, 1.0]]], np.float32),
        "detection_scores": np.array([[0.5, 0.9, 0.7]], np.float32),
        "detection_classes": np.array([[2.0, 1.0, 7.0]], np.float32),
        "num_detections": np.array([3.0], np.float32),
    }
    return {alias: array for alias, array in (outputs | changed).items() if array is not None}


def render(outputs: dict[str, Any], choice: Choice = ALL, labels: tuple[str, ...] = ("cat", "dog")) -> Any:
    answers = render_detections(outputs, [PHOTO], labels, choice)
    assert answers is not None and len(answers) == 1
    return answers[0]


def test_best_first_in_pixels_and_as_shares() -> None:
    answer = render(make_outputs())
    assert (answer["width"], answer["height"]) == (200, 100)
    assert [(each["label"], each["class"], each["score"]) for each in answer["detections"]] == [
        ("cat", 1, 0.9),
        ("7", 7, 0.7),
        ("dog", 2, 0.5),
    ]
    assert answer["detections"][2]["box"] == {"left": 40.0, "top": 10.0, "right": 120.0, "bottom": 50.0}
    assert answer["detections"][2]["normalized_box"] == {"left": 0.2, "top": 0.1, "right": 0.6, "bottom": 0.5}


def test_threshold_and_number() -> None:
    assert [each["score"] for each in render(make_outputs(), Choice(0.7, 100))["detections"]] == [0.9, 0.7]
    assert [each["score"] for each in render(make_outputs(), Choice(0.71, 100))["detections"]] == [0.9]
    assert [each["score"] for each in render(make_outputs(), Choice(0.0, 2))["detections"]] == [0.9, 0.7]


@pytest.mark.parametrize("count", [np.array([1.0], np.float32), np.array(1), np.array([[1]])])
def test_what_only_fills_up_is_left_out(count: Any) -> None:
    """Of the three, the model says that the first is real."""
    assert [each["score"] for each in render(make_outputs(num_detections=count))["detections"]] == [0.5]


def test_a_model_of_one_image_needs_no_dimension_for_it() -> None:
    flat = {alias: array[0] for alias, array in make_outputs().items()}
    assert render(flat) == render(make_outputs())


@pytest.mark.parametrize("first", ["???", "background", ""])
def test_a_line_for_class_0_is_no_label_of_class_1(first: str) -> None:
    assert render(make_outputs(), labels=(first, "cat", "dog")) == render(make_outputs(), labels=("cat", "dog"))


def test_what_is_no_number_is_no_detection() -> None:
    boxes, scores = make_outputs()["detection_boxes"], make_outputs()["detection_scores"]
    boxes[0, 1, 2], scores[0, 2] = np.inf, np.nan
    answer = render(make_outputs(detection_boxes=boxes, detection_scores=scores))
    assert [each["score"] for each in answer["detections"]] == [0.5]


def test_a_box_ends_where_its_photo_does() -> None:
    boxes = np.array([[[-0.1, 0.5, 1.2, 1.01]] * 3], np.float32)
    box = render(make_outputs(detection_boxes=boxes))["detections"][0]["box"]
    assert box == {"left": 100.0, "top": 0.0, "right": 200.0, "bottom": 100.0}


@pytest.mark.parametrize(
    "changed",
    [
        {"detection_classes": None},
        {"detection_scores": np.zeros((1, 4), np.float32)},
        {"detection_boxes": np.zeros((1, 3, 5), np.float32)},
        {"detection_boxes": make_outputs()["detection_boxes"] * 320},  # in pixels of whatever the model resizes to
        {"detection_classes": np.array([[b"cat", b"dog", b"cow"]], object)},
        {"detection_classes": np.full((1, 3), np.nan)},
    ],
)
def test_what_is_no_detectors_answer_is_not_rendered_as_one(changed: dict[str, Any]) -> None:
    assert render_detections(make_outputs(**changed), [PHOTO], (), ALL) is None


def test_every_photo_has_an_answer_or_none_has() -> None:
    twice = {alias: np.concatenate([array, array]) for alias, array in make_outputs().items()}
    answers = render_detections(twice, [PHOTO, Photo(50, 50)], (), ALL)
    assert answers is not None and [each["width"] for each in answers] == [200, 50]
    assert render_detections(twice, [PHOTO], (), ALL) is None
