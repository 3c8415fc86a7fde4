"""The four ways to call an exported CLIP, and the one graph behind them.

| signature       | input                              | output                       |
|-----------------|------------------------------------|------------------------------|
| serving_default | image_bytes string [N]             | image_embedding float32 [N, D] |
| image           | image uint8 [N, H, W, 3], RGB      | image_embedding              |
| tensor          | tensor float32 [N, H, W, 3]        | image_embedding              |
| text            | tokens int32 [N, context]          | text_embedding float32 [N, D]  |

Embeddings have length 1: their products are cosines.
"""

from collections.abc import Mapping
from typing import Any

from export.clip.network import ClipNetwork
from export.convert.held_weights import HeldWeights, hold
from export.convert.signatures import BYTES, IMAGE, IMAGE_BYTES, TENSOR
from export.data import pixels
from service.repository.manifest import IMAGE_EMBEDDING, STRING, TEXT_EMBEDDING, TOKENS, Signature, TensorSpec

TEXT = "text"


def describe(network: ClipNetwork) -> Mapping[str, Signature]:
    """The signatures as the manifest and the SavedModel declare them; tensor aliases are graph names."""
    shape = (None, network.size, network.size, network.channels)
    image = {IMAGE_EMBEDDING: TensorSpec("float32", (None, network.embedding))}
    text = {TEXT_EMBEDDING: TensorSpec("float32", (None, network.embedding))}
    return {
        BYTES: Signature({IMAGE_BYTES: TensorSpec(STRING, (None,))}, image),
        IMAGE: Signature({IMAGE: TensorSpec("uint8", shape)}, image),
        TENSOR: Signature({TENSOR: TensorSpec("float32", shape)}, image),
        TEXT: Signature({TOKENS: TensorSpec("int32", (None, network.context))}, text),
    }


def chain(model: Any, network: ClipNetwork, held: HeldWeights) -> Any:
    """The whole graph as a function of image bytes and tokens, every stage named as `describe` names it. Large weights
    are left out of it and noted in `held`.
    """
    import tensorflow as tf

    images, texts = split(model)

    def serve(image_bytes: Any, tokens: Any) -> Any:
        image = tf.identity(pixels.decode_rows(image_bytes, network.size), name=IMAGE)
        tensor = tf.identity(pixels.to_tensor(image, network), name=TENSOR)
        with hold(model, held):
            found = tf.math.l2_normalize(images(tensor, training=False), axis=-1)
            told = tf.math.l2_normalize(texts(tokens, training=False), axis=-1)
        return tf.identity(found, name=IMAGE_EMBEDDING), tf.identity(told, name=TEXT_EMBEDDING)

    inputs = [
        tf.TensorSpec([None], tf.string, name=IMAGE_BYTES),
        tf.TensorSpec([None, network.context], tf.int32, name=TOKENS),
    ]
    return tf.function(serve, input_signature=inputs)


def split(model: Any) -> tuple[Any, Any]:
    """The encoders of images and of texts as models of their own, over the same weights."""
    from keras import Model

    inputs, outputs = model.input, model.output
    return Model(inputs[TENSOR], outputs[IMAGE_EMBEDDING]), Model(inputs[TOKENS], outputs[TEXT_EMBEDDING])
