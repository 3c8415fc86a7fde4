"""The MobileNet family, from Keras' own builders."""

from typing import Any

from export.architectures.architecture import Architecture, Recipe, Scaling, Shape


def _v3_small(shape: Shape, classes: int) -> Any:
    from keras.applications import MobileNetV3Small

    # Preprocessing stays in our graph, ahead of the `tensor` signature.
    return MobileNetV3Small(input_shape=shape, classes=classes, weights=None, include_preprocessing=False)


def _v3_small_imagenet() -> Any:
    from keras.applications import MobileNetV3Small

    return MobileNetV3Small(weights="imagenet", include_preprocessing=False)


ROWS = (
    Architecture(
        name="mobilenet_v3_small",
        family="MobileNet V3",
        year=2019,
        build=_v3_small,
        pretrained=_v3_small_imagenet,
        input_size=224,
        smallest_size=32,
        channels=3,
        scaling=Scaling(scale=(1 / 127.5,), offset=(-1.0,)),
        recipe=Recipe(epochs=12, batch_size=64, learning_rate=2e-3),
        parameters=2_554_968,
        classes=1000,
        source="Howard et al.: Searching for MobileNetV3, 2019, arXiv:1905.02244; count: Keras",
    ),
)
