"""OpenAI's and open_clip's tensors in our network: what it computes from them, and what is refused."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from export.clip import weights
from export.clip.network import NETWORKS
from export.clip.signatures import split
from export.errors import ExportError
from service.repository.manifest import SIGMOID
from tests.support import clip
from tests.support.clip import TINY, Tensors


@pytest.fixture(scope="module")
def model() -> Any:
    return TINY.build()


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return clip.make_tensors(TINY)


def test_it_has_as_many_parameters_as_openais() -> None:
    network = NETWORKS["clip_vit_b32"]
    with keras.StatelessScope(initialize_variables=False):
        assert network.build().count_params() == network.parameters == 151_277_313


@pytest.mark.parametrize("form", [".npz", ".safetensors", "wrapped.npz"])
def test_it_computes_from_published_tensors_what_their_publishers_do(
    form: str, model: Any, tensors: Tensors, tmp_path: Path
) -> None:
    file = tmp_path / f"clip{form}"
    if form == ".safetensors":
        save_file(tensors, file)
    elif form == ".npz":
        buffers = {"input_resolution": np.array(32), "context_length": np.array(77), "vocab_size": np.array(49408)}
        clip.save(file, tensors | buffers)
    else:
        clip.save(file, {f"module.{name}": tensor.astype(np.float16) for name, tensor in tensors.items()})
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    weights.load(model, TINY, file)
    used = {name: tensor.astype(np.float16).astype(np.float32) for name, tensor in tensors.items()}
    used = used if form == "wrapped.npz" else tensors
    generator = np.random.default_rng(1)
    images = generator.normal(0, 1, (2, 32, 32, 3)).astype(np.float32)
    tokens = np.zeros((2, 77), np.int32)
    tokens[0, :5], tokens[1, :3] = (49406, 320, 1125, 2368, 49407), (49406, 1929, 49407)
    of_images, of_texts = split(model)
    expected = [clip.embed_image(used, TINY, image) for image in images]
    np.testing.assert_allclose(of_images(images), expected, rtol=1e-3, atol=1e-4)
    expected = [clip.embed_text(used, TINY, row) for row in tokens]
    np.testing.assert_allclose(of_texts(tokens), expected, rtol=1e-3, atol=1e-4)
    assert float(model.get_layer("logit_scale").embeddings.numpy()[0, 0]) == used["logit_scale"]


def test_siglips_head_has_a_bias_of_its_own(tensors: Tensors, tmp_path: Path) -> None:
    model = TINY.build(SIGMOID)
    clip.save(tmp_path / "clip.npz", tensors | {"logit_bias": np.float32(-9.5)})
    weights.load(model, TINY, tmp_path / "clip.npz")
    assert model.get_layer("logit_bias").embeddings.numpy()[0, 0] == -9.5


def test_what_was_saved_is_read_back(model: Any, tmp_path: Path) -> None:
    model.save(tmp_path / "network.keras")
    again = TINY.build()
    weights.load(again, TINY, tmp_path / "network.keras")
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("visual.proj"), "no weights for image_projection/kernel"),
        (lambda tensors: tensors.update(head=np.zeros(3)), "'head' is no tensor of clip_tiny"),
        (lambda tensors: tensors.update(logit_bias=np.zeros(())), "weights for logit_bias/embeddings, which .* lacks"),
        (
            lambda tensors: tensors.update({"visual.proj": np.zeros((6, 12))}),
            r"image_projection/kernel of clip_tiny has shape \[12, 6\], got \[6, 12\]",
        ),
        (lambda tensors: tensors.update({"ln_final.bias": np.full(8, np.nan)}), "text_norm/beta holds NaN"),
        (
            lambda tensors: tensors.update({"transformer.resblocks.7.ln_1.bias": np.zeros(8)}),
            "weights for text_block7_norm1/beta, which",
        ),
        (
            lambda tensors: tensors.update({"visual.proj": np.full((12, 6), "x")}),
            "image_projection/kernel holds no numbers",
        ),
        (lambda tensors: tensors.update({"visual.conv1.weight": np.zeros(3)}), r"visual.conv1.weight of shape \[3\]"),
        (lambda tensors: tensors.update(logit_scale=np.zeros(2)), r"logit_scale of shape \[2\]"),
    ],
)
def test_a_file_that_is_not_of_this_network_is_refused(
    change: Any, message: str, model: Any, tensors: Tensors, tmp_path: Path
) -> None:
    changed = dict(tensors)
    change(changed)
    clip.save(tmp_path / "clip.npz", changed)
    with pytest.raises(ExportError, match=message):
        weights.load(model, TINY, tmp_path / "clip.npz")


@pytest.mark.parametrize("name", ["clip.npz", "clip.safetensors", "clip.keras"])
def test_a_broken_file_is_one_clear_error(name: str, model: Any, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(ExportError, match=f"--weights .*{name}"):
        weights.load(model, TINY, tmp_path / name)
