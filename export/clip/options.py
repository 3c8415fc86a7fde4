"""What is asked of `--model clip_vit_b32`, which is published as its weights are: neither trained nor measured here."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.clip.network import NETWORKS, ClipNetwork
from export.data.names import escape
from export.errors import UsageError
from export.training.weights import NONE
from service.names import is_model_name
from service.repository.manifest import SIGMOID, SOFTMAX

HEADS = (SOFTMAX, SIGMOID)

_OWN = ("head", "vocabulary")
_SHARED = ("model", "weights", "force", "name", "repository", "seed")


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """`weights` is "none" or a file; `head` turns logits into probabilities; `vocabulary` is a file of merges, or None
    for the one that the package openai-clip brings.
    """

    network: ClipNetwork
    name: str
    weights: str
    repository: Path
    head: str = SOFTMAX
    vocabulary: Path | None = None
    seed: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for whatever can be known to fail without trying."""
        from export.clip.weights import SUFFIXES  # --help needs no arrays

        if not is_model_name(self.name):
            raise UsageError(f"Invalid --name: expected letters, digits, '.', '_' and '-', got {self.name!r}")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"Invalid --seed: expected a number from 0 to {2**32 - 1}, got {self.seed}")
        for flag, file in (("--weights", self.weights), ("--vocabulary", self.vocabulary)):
            if file not in (None, NONE) and not os.access(str(file), os.R_OK):
                raise UsageError(f"{flag} {escape(str(file))}: there is no such file, or it cannot be read")
        if self.weights == NONE:
            if not self.force:
                raise UsageError(
                    f"--weights none: a {self.network.name} of random weights answers nothing; give --weights FILE, or "
                    "--force publishes it all the same"
                )
        elif Path(self.weights).suffix not in SUFFIXES:
            raise UsageError(
                f"Invalid --weights for {self.network.name}: expected none or a file ending in {', '.join(SUFFIXES)}, "
                f"got {escape(self.weights)}"
            )


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "CLIP",
        "--model clip_vit_b32 compares images with texts, and answers with labels that each request brings. It takes "
        "--weights none or a file of OpenAI's or open_clip's tensors (.safetensors, .npz) or of an export (.keras), "
        "--name, --repository, --seed and --force.\n"
        "Example: %(prog)s --model clip_vit_b32 --weights ViT-B-32.safetensors",
    )
    group.add_argument(
        "--head",
        choices=HEADS,
        help="how similarities become probabilities: softmax shares one among the labels, sigmoid (SigLIP's) judges "
        "each label by itself (default: softmax)",
    )
    group.add_argument(
        "--vocabulary",
        type=Path,
        metavar="FILE",
        help="the merges of its tokenizer, as bpe_simple_vocab_16e6.txt.gz (default: that of the package openai-clip)",
    )


def read(args: argparse.Namespace, get_default: Callable[[str], Any]) -> ClipSpec | None:
    """None where another network is asked for. Raises UsageError for flags that do not go with it."""
    names = [] if args.model is None else [name.strip() for name in args.model.split(",")]
    found = [name for name in names if name in NETWORKS]
    if not found:
        for flag in _OWN:
            if getattr(args, flag) is not None:
                raise UsageError(f"--{flag} goes with --model {', '.join(NETWORKS)}")
        return None
    if len(names) > 1:
        raise UsageError(f"--model {found[0]} is exported by itself, got {args.model!r}")
    for dest, value in vars(args).items():
        if dest not in (*_OWN, *_SHARED) and value != get_default(dest):
            flag = "--from" if dest == "path" else f"--{dest.replace('_', '-')}"
            raise UsageError(
                f"{flag} does not go with --model {found[0]}, which is published as its weights are: it learns from no "
                "images, no accuracy is measured, and its precision stays float32"
            )
    return ClipSpec(
        network=NETWORKS[found[0]],
        name=found[0] if args.name is None else args.name,
        weights=args.weights,
        repository=args.repository,
        head=args.head or SOFTMAX,
        vocabulary=args.vocabulary,
        seed=args.seed,
        force=args.force,
    )


def run(spec: ClipSpec) -> None:
    """Exports it and prints what came of it. Raises ExportError."""
    from export.progress import Progress
    from export.quiet import import_tensorflow

    progress = Progress()
    with progress.stage("importing TensorFlow"):
        import_tensorflow(trains=False)
        from export.clip import pipeline
    progress.heading(f"{spec.name} from {escape(spec.weights)}, {spec.network.size}x{spec.network.size}")
    pipeline.show(pipeline.export(spec, progress))
