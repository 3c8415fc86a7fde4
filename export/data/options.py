"""How a dataset is read and augmented, as flags and as one value."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from export.data.augmentation import KINDS, LIGHT, Augmentation, fit_to_labels, parse_augmentation
from export.errors import UsageError

MAX_BAD_FILES = 0.05
INDEX_IMAGES = 1000

_MOST_INDEX_IMAGES = 100_000


@dataclass(frozen=True, slots=True)
class DataOptions:
    """`augment` is as `parse_augmentation` takes it; `max_bad_files` is a share of all files; `index_images` is how
    many training images lie beside the version, at most.
    """

    augment: str = LIGHT
    max_bad_files: float = MAX_BAD_FILES
    index_images: int = INDEX_IMAGES

    def __post_init__(self) -> None:
        """Raises UsageError."""
        parse_augmentation(self.augment)
        if not 0 <= self.max_bad_files <= 1:
            raise UsageError(f"Invalid --max-bad-files: expected a share from 0 to 1, got {self.max_bad_files}")
        if not 0 <= self.index_images <= _MOST_INDEX_IMAGES:
            raise UsageError(
                f"Invalid --index-images: expected a number from 0 to {_MOST_INDEX_IMAGES}, got {self.index_images}"
            )

    def choose_augmentation(self, labels: tuple[str, ...]) -> Augmentation:
        """What was asked for, without a preset's flip where these labels have a right side."""
        return fit_to_labels(parse_augmentation(self.augment), self.augment, labels)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a group of flags, which `read_flags` reads."""
    add = parser.add_argument_group(
        "how images are read and augmented", "Example: %(prog)s --model lenet5 --data photos/ --augment medium,flip"
    ).add_argument
    add_augment_flag(add)
    add(
        "--max-bad-files",
        type=float,
        default=MAX_BAD_FILES,
        metavar="SHARE",
        help="go on without files that cannot be read where they are at most this share of all; they are listed, with "
        f"the reason, before anything is trained (default: {MAX_BAD_FILES})",
    )
    add(
        "--index-images",
        type=int,
        default=INDEX_IMAGES,
        metavar="N",
        help="how many training images /similar can show, and known=true compares with: their features, labels and "
        f"files' names lie beside the version, for its clients to see; 0 leaves them out (default: {INDEX_IMAGES})",
    )


def add_augment_flag(add: Callable[..., Any]) -> None:
    """`add` is the `add_argument` of a parser or a group."""
    add(
        "--augment",
        default=LIGHT,
        metavar="none|light|medium|strong|KIND,...",
        help="how training images are changed at random, every time anew, so that a network learns from more than "
        "there are. light turns, zooms and shifts a little; medium also mirrors, and changes contrast and brightness; "
        f"strong does more of it, and crops. Or kinds by name, behind a preset or without one: {', '.join(KINDS)}. A "
        "preset mirrors no digits, letters or sides; rand_augment takes some 40 ms an image of 224x224. "
        "`python -m export augment --data DIR` draws what it does (default: light)",
    )


def list_given(options: DataOptions) -> tuple[str, ...]:
    """The flags about training images that have other values than by default."""
    return ("--augment",) if options.augment != LIGHT else ()


def read_flags(args: argparse.Namespace) -> DataOptions:
    """Raises UsageError."""
    return DataOptions(augment=args.augment, max_bad_files=args.max_bad_files, index_images=args.index_images)
