"""`python -m export explain`: one picture of why a published version answers a photo as it does."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from export.arguments import Parser
from export.convert.signatures import IMAGE, TENSOR
from export.data.names import escape
from export.errors import ExportError, UsageError
from export.publish.network import NETWORK
from service.errors import ServiceError
from service.repository.manifest import Manifest

_MEANT = 3  # labels that an unknown one may have meant


def main(arguments: Sequence[str]) -> int:
    """Writes the picture. Raises UsageError and ExportError."""
    parser = Parser(
        "export explain",
        "Draw where in a photo a version's answer comes from (Grad-CAM), its likeliest labels, and the filters of its "
        "first layer with what they find, as a PNG.",
        "model_repository/lenet5/1 photo.jpg",
    )
    add = parser.add_argument
    add("version", type=Path, metavar="VERSION", help="a version's folder, such as model_repository/lenet5/1")
    add("photo", type=Path, metavar="PHOTO", help="a JPEG, PNG, GIF, BMP or WebP file")
    add("--label", metavar="NAME", help="the class whose evidence is drawn (default: the likeliest)")
    add("--top-k", type=int, default=5, metavar="N", help="how many labels are shown (default: 5)")
    add("--output", type=Path, default=Path("explanation.png"), metavar="FILE.png", help="(default: explanation.png)")
    args = parser.parse_args(arguments)
    if not 1 <= args.top_k <= 20:
        raise UsageError(f"Invalid --top-k: expected a number from 1 to 20, got {args.top_k}")
    manifest = _read_manifest(args.version)
    wanted = None if args.label is None else _find_label(args.label, manifest.labels)
    photo, image = _read_photo(args.photo, manifest)

    import numpy as np

    from export.quiet import import_tensorflow

    import_tensorflow()
    import keras

    from export.explain import filters, grad_cam, picture
    from export.training.donor import load_keras

    network = load_keras(args.version / NETWORK, escape(args.version / NETWORK))
    model = keras.Model(network.inputs[0], network.outputs[0])  # a Sequential has no operations of its own
    prepare = _open_preprocessing(args.version)
    tensor = prepare(image)
    probabilities = np.asarray(model(tensor, training=False))[0]
    order = np.argsort(-probabilities, kind="stable")
    shown = [(manifest.labels[each], float(probabilities[each])) for each in order[: args.top_k]]
    explained = int(order[0]) if wanted is None else wanted
    heat = grad_cam.compute_heat(model, tensor, explained)
    found = filters.read_filters(model, tensor)
    label = manifest.labels[explained]
    sheet = picture.draw(photo, heat, label, shown, found, _reverses_channels(prepare, image.shape))
    sheet.save(args.output, "PNG")
    for name, probability in shown:
        print(f"{probability:.4f} {name}")
    if heat.any():
        x, y = grad_cam.locate_centre(heat)
        print(f"what speaks for {label} is centred at {x:.0%} of the width and {y:.0%} of the height")
    else:
        print(f"no place speaks for {label}")
    print(escape(args.output))
    return 0


def _read_manifest(folder: Path) -> Manifest:
    """Of a version that has its network beside it. Raises UsageError."""
    name = escape(folder)
    if not folder.is_dir():
        raise UsageError(f"{name}: there is no such folder; expected that of a version, such as {name}/1")
    number = int(folder.name) if folder.name.isdecimal() else 0
    try:
        manifest = Manifest.read(folder, folder.absolute().parent.name, number)
    except ValueError as error:
        raise UsageError(str(error)) from error
    versions = [each for each in folder.iterdir() if each.name.isdecimal() and each.is_dir()]
    if versions and manifest is None:
        newest = max(versions, key=lambda each: int(each.name))
        raise UsageError(f"{name} is a model with versions; give one of them, such as {escape(newest)}")
    if manifest is None or manifest.preprocessing is None or not (folder / NETWORK).is_file():
        raise UsageError(
            f"{name} has no {NETWORK}, the network that an explanation reads; export the model anew. "
            "Versions from a .tflite file, from a SavedModel or from elsewhere have none"
        )
    return manifest


def _find_label(name: str, labels: Sequence[str]) -> int:
    if name in labels:
        return labels.index(name)
    close = difflib.get_close_matches(name, labels, n=_MEANT)
    meant = f"; did you mean {' or '.join(map(repr, close))}?" if close else f", one of {len(labels)} labels"
    raise UsageError(f"--label {name!r} is none of this version's labels{meant}")


def _read_photo(path: Path, manifest: Manifest) -> tuple[Any, Any]:
    """Upright uint8 RGB: to look at, its longer side PANEL; and [height, width, 3] as the version takes it."""
    from export.explain.picture import PANEL
    from service.preprocessing import decode
    from service.preprocessing.headers import read_header
    from service.preprocessing.orientation import swap_sides

    recipe = manifest.preprocessing
    assert recipe is not None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{escape(path)} cannot be read: {error.strerror}") from error
    try:
        image = decode.decode(data, recipe.height, recipe.width)
        header, turned = read_header(data), swap_sides(decode.find_orientation(data))
        wide, high = (header.height, header.width) if turned else (header.width, header.height)
        scale = PANEL / max(wide, high)
        return decode.decode(data, max(1, round(high * scale)), max(1, round(wide * scale))), image
    except ServiceError as error:
        raise ExportError(f"{escape(path)}: {error}") from error


def _open_preprocessing(folder: Path) -> Callable[[Any], Any]:
    """uint8 [height, width, 3] -> float32 [1, height, width, channels], by the published graph itself.

    Raises ExportError where the folder's SavedModel is not one of ours.
    """
    import numpy as np
    import tensorflow as tf

    from export.quiet import silenced

    try:
        with silenced():
            run = tf.saved_model.load(str(folder)).prune(f"{IMAGE}:0", f"{TENSOR}:0")
    except (OSError, ValueError, AttributeError, KeyError, tf.errors.OpError) as error:
        raise ExportError(f"{escape(folder)}: its SavedModel does not tell how pixels are scaled: {error}") from error
    return lambda image: run(tf.constant(image[np.newaxis]))


def _reverses_channels(prepare: Callable[[Any], Any], shape: tuple[int, ...]) -> bool:
    """Whether red comes last of what the network takes."""
    import numpy as np

    black = np.zeros(shape, np.uint8)
    red = black.copy()
    red[..., 0] = 255
    raised = np.asarray(prepare(red) - prepare(black))[0, 0, 0]
    return len(raised) == 3 and int(np.argmax(np.abs(raised))) == 2
