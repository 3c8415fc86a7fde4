"""CLIP's two encoders, one row a network (Radford et al., 2021, arXiv:2103.00020)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from types import MappingProxyType
from typing import Any

from export.architectures.applications import GENTLE
from export.architectures.architecture import Architecture, Scaling
from export.architectures.publishers import THE_PAPER
from export.architectures.transformer import Tower, apply_quick_gelu, embed_patches, embed_tokens, encode, normalize
from service.repository.manifest import IMAGE_EMBEDDING, SIGMOID, SOFTMAX, TEXT_EMBEDDING

LOGIT_SCALE, LOGIT_BIAS = "logit_scale", "logit_bias"

_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_SCALING = Scaling(
    scale=tuple(1 / (255 * deviation) for deviation in _DEVIATION),
    offset=tuple(-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)),
)
# The logarithm of the scale, and the bias, that training begins with: of CLIP, section 2.5; of SigLIP
# (Zhai et al., 2023, arXiv:2303.15343), section 3.2.
_STARTS = {SOFTMAX: (log(1 / 0.07), 0.0), SIGMOID: (log(10), -10.0)}


@dataclass(frozen=True, slots=True)
class ClipNetwork:
    """`image` and `text` encoders that meet in `embedding` numbers. Images are `size` x `size` pixels in patches of
    `patch`; texts are `context` tokens of a `vocabulary`.

    `parameters` are as published, with the scale of the logits among them; `top1` is the share of ImageNet's
    validation images that it gets right without having learnt from any, as its paper has it.
    """

    name: str
    size: int
    patch: int
    image: Tower
    text: Tower
    vocabulary: int
    context: int
    embedding: int
    parameters: int
    top1: float
    source: str
    scaling: Scaling = _SCALING
    channels: int = 3

    def describe(self) -> Architecture:
        """A row for lists of networks. It has no classes, and what trains classifiers does not train it."""
        return Architecture(
            name=self.name,
            family="CLIP",
            year=2021,
            build=lambda shape, classes: self.build(),
            input_size=self.size,
            smallest_size=self.size,
            channels=self.channels,
            scaling=self.scaling,
            recipe=GENTLE,
            parameters=self.parameters,
            classes=0,
            source=self.source,
            top1=self.top1,
            measured_by=THE_PAPER,
            weights_by="OpenAI",
            licence="MIT",
        )

    def build(self, head: str = SOFTMAX) -> Any:
        """An untrained `keras.Model` from {"tensor": float32 [N, size, size, 3], "tokens": int32 [N, context]} to
        {"image_embedding", "text_embedding"}, float32 [N, embedding] of any length, and {"logit_scale"}, its logarithm;
        for SigLIP's `head`, "sigmoid", also {"logit_bias"}; both float32 [N, 1].
        """
        from keras import Model, initializers, layers, ops

        def learn(name: str, start: float) -> Any:
            number = layers.Embedding(1, 1, initializers.Constant(start), name=name)
            return number(ops.zeros_like(tokens[:, 0]))

        tensor = layers.Input((self.size, self.size, self.channels), name="tensor")
        tokens = layers.Input((self.context,), dtype="int32", name="tokens")
        outputs = {IMAGE_EMBEDDING: self._encode_image(tensor), TEXT_EMBEDDING: self._encode_text(tokens)}
        scale, bias = _STARTS[head]
        outputs[LOGIT_SCALE] = learn(LOGIT_SCALE, scale)
        if head == SIGMOID:
            outputs[LOGIT_BIAS] = learn(LOGIT_BIAS, bias)
        return Model({"tensor": tensor, "tokens": tokens}, outputs, name=self.name)

    def _encode_image(self, tensor: Any) -> Any:
        """The class token, after all blocks, projected (section 2.4; norms ahead and behind as in OpenAI's code)."""
        from keras import layers

        x = embed_patches(tensor, self.patch, self.image.width, bias=False, prefix="image_")
        x = encode(normalize(x, self.image, "image_norm_before"), self.image, "image_")
        x = normalize(x[:, 0], self.image, "image_norm")
        return layers.Dense(self.embedding, use_bias=False, name="image_projection")(x)

    def _encode_text(self, tokens: Any) -> Any:
        """The end of the text, which is the largest token, after all blocks, projected."""
        from keras import layers, ops

        x = embed_tokens(tokens, self.vocabulary, self.text.width, prefix="text_")
        x = normalize(encode(x, self.text, "text_"), self.text, "text_norm")
        at_end = ops.one_hot(ops.argmax(tokens, axis=-1), self.context)
        x = ops.sum(x * ops.expand_dims(at_end, -1), axis=1)
        return layers.Dense(self.embedding, use_bias=False, name="text_projection")(x)


NETWORKS: Mapping[str, ClipNetwork] = MappingProxyType(
    {
        "clip_vit_b32": ClipNetwork(
            name="clip_vit_b32",
            size=224,
            patch=32,
            image=Tower(width=768, depth=12, heads=12, activate=apply_quick_gelu, epsilon=1e-5),
            text=Tower(width=512, depth=12, heads=8, activate=apply_quick_gelu, epsilon=1e-5, causal=True),
            vocabulary=49_408,
            context=77,
            embedding=512,
            parameters=151_277_313,
            top1=0.632,  # zero-shot, labels in 80 templates: the paper's table 11
            source="arXiv:2103.00020, Radford et al.: Learning Transferable Visual Models From Natural Language "
            "Supervision; count: OpenAI's release",
        )
    }
)
