"""Multiply-adds and depth, as counted from graphs, against what was published."""

import keras
import pytest

from export.architectures import ARCHITECTURES
from export.architectures.cost import Stage, build_shapes, count_cost, list_stages
from export.architectures.costs import COSTS
from export.architectures.ideas import IDEAS
from export.architectures.transformer import Tower, apply_gelu, embed_patches, encode
from export.listing import ROWS

# Millions, of the paper where it counts precisely enough, otherwise of torchvision's, osmr/imgclsmob's or open_clip's
# tables.
PUBLISHED = {
    "alexnet": 1132,
    "zfnet": 1170,
    "nin": 223,
    "vgg11": 7610,
    "vgg13": 11310,
    "vgg16": 15470,
    "vgg19": 19630,
    "inception_v2": 2048,
    "inception_v3": 5710,
    "inception_v4": 12300,
    "resnet18": 1810,
    "resnet34": 3660,
    "resnet50": 3860,
    "resnet101": 7570,
    "resnet152": 11300,
    "resnext50_32x4d": 4230,
    "wide_resnet50_2": 11400,
    "squeezenet1_0": 819,
    "squeezenet1_1": 349,
    "densenet121": 2830,
    "densenet161": 7730,
    "densenet169": 3360,
    "densenet201": 4290,
    "mobilenet": 569,
    "mobilenet_v2": 300,
    "mobilenet_v3_small": 56,
    "mobilenet_v3_large": 219,
    "shufflenet_v2_x1_0": 146,
    "mnasnet1_0": 315,
    "nasnet_mobile": 564,
    "nasnet_large": 23800,
    "efficientnet_b0": 390,
    "efficientnet_b4": 4390,
    "efficientnet_b7": 37750,
    "efficientnet_v2_s": 8370,
    "efficientnet_v2_m": 24580,
    "efficientnet_v2_l": 56080,
    "vit_b16": 17560,
    "convnext_tiny": 4460,
    "convnext_small": 8680,
    "convnext_base": 15360,
    "convnext_large": 34360,
    "clip_vit_b32": 7390,
}
DEPTHS = {
    "lenet5": 5,
    "alexnet": 8,
    "vgg16": 16,
    "googlenet": 22,
    "resnet18": 18,
    "resnet50": 50,
    "resnet152_v2": 152,
    "se_resnet50": 50,
    "densenet121": 121,
    "mobilenet": 28,
    "inception_v3": 48,
}


def test_every_row_has_a_cost_and_every_family_an_idea() -> None:
    assert set(COSTS) == set(ROWS)
    assert set(IDEAS) == {row.family for row in ROWS.values()}
    assert max(len(line) for lines in IDEAS.values() for line in lines) <= 100


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiply_adds_are_those_that_were_published(name: str) -> None:
    assert COSTS[name].macs / 1e6 == pytest.approx(PUBLISHED[name], rel=0.02)


def test_depths_are_those_that_networks_are_named_after() -> None:
    assert {name: COSTS[name].depth for name in DEPTHS} == DEPTHS


def test_the_stages_of_resnet_50_are_its_papers() -> None:
    stages = list_stages(build_shapes(ARCHITECTURES["resnet50"]))
    assert [(stage.kind, stage.repeats, stage.shape) for stage in stages] == [
        ("convolutions", 1, (112, 112, 64)),
        ("residual blocks", 3, (56, 56, 256)),
        ("residual blocks", 4, (28, 28, 512)),
        ("residual blocks", 6, (14, 14, 1024)),
        ("residual blocks", 3, (7, 7, 2048)),
        ("head", 1, (1000,)),
    ]
    assert stages[3].layers == {"1x1": 13, "3x3": 6}


def test_what_weighs_channels_and_what_reshapes_lies_in_its_stage() -> None:
    image = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(6, 3, padding="same")(image)
    weights = keras.layers.Conv2D(6, 1, use_bias=False)(keras.layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = keras.layers.Multiply()([x, weights])
    x = keras.layers.Reshape((8, 8, 6))(keras.layers.Reshape((64, 2, 3))(x))
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    assert list_stages(model) == (
        Stage(
            kind="depthwise blocks",
            repeats=1,
            layers={"3x3": 1, "1x1": 1, "3x3 depthwise": 1},
            shape=(8, 8, 6),
            parameters=4 * 9 * 6 + 6 + 36 + 54,
            macs=64 * 4 * 9 * 6 + 36 + 64 * 54,
        ),
        Stage(kind="head", repeats=1, layers={"dense": 1}, shape=(3,), parameters=21, macs=18),
    )


def test_blocks_of_attention_are_a_stage_and_their_products_count() -> None:
    image = keras.Input((8, 8, 3))
    tower = Tower(width=6, depth=2, heads=3, activate=apply_gelu, epsilon=1e-6)
    tokens = encode(embed_patches(image, 4, 6, bias=True), tower)
    model = keras.Model(image, keras.layers.Dense(3)(tokens[:, 0]))
    patches, blocks, head = list_stages(model)
    assert (patches.kind, patches.shape, patches.macs) == ("convolutions", (2, 2, 6), 4 * 16 * 3 * 6)
    assert (blocks.kind, blocks.repeats, blocks.shape) == ("transformer blocks", 2, (5, 6))
    assert blocks.layers == {"dense": 12, "attention": 4}
    assert blocks.macs == 2 * (5 * (4 + 8) * 6 * 6 + 2 * 5 * 5 * 6)
    assert (head.kind, head.macs) == ("head", 18)
    assert count_cost(model).depth == 1 + 2 * 4 + 1
    assert sum(stage.parameters for stage in (patches, blocks, head)) == model.count_params()
