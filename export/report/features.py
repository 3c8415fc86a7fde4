"""What a network makes of images ahead of its last layer, and maps of that on paper."""

from typing import Any

import numpy as np

from export.architectures.architecture import Architecture
from export.data import mapped, pixels
from export.data.dataset import Split
from export.errors import ExportError
from export.verify.answers import MOST_FEATURES
from service.plurals import format_items

PCA, TSNE, UMAP = "PCA", "t-SNE", "UMAP"

_NEIGHBOURS = 15
_WIDE = 50
_SEED = 0


def extract(model: Any, architecture: Architecture, split: Split) -> Any | None:
    """The input of the last layer of a Keras network that has weights, averaged over places where it is a map.

    float32 [min(N, MOST_FEATURES), D]; None where the network has no such layer, or one inside of a network of its own.
    """
    import keras
    import tensorflow as tf

    weighted = [layer for layer in model.layers if layer.weights]
    if len(weighted) < 2 or isinstance(weighted[-1], keras.Model):
        return None
    body = keras.Model(model.inputs, weighted[-1].input)
    infer = tf.function(  # called as it is, a Keras network keeps what every layer made of the images until its end
        lambda images: body(pixels.to_tensor(images, architecture), training=False), reduce_retracing=True
    )
    rows = []
    most = pixels.choose_batch(split.images.shape[1])
    for start in range(0, min(len(split.classes), MOST_FEATURES), most):
        images = mapped.read_rows(split.images, slice(start, min(start + most, MOST_FEATURES)))
        found = np.asarray(infer(tf.constant(images)), np.float32)
        rows.append(found.mean(axis=tuple(range(1, found.ndim - 1))) if found.ndim > 2 else found)
    return np.concatenate(rows)


def project(features: Any, method: str) -> Any:
    """`features` float32 [N, D] on a plane, float64 [N, 2], each axis from 0 to 1.

    PCA keeps distances as far as two straight axes can. t-SNE (van der Maaten and Hinton, 2008) and UMAP (McInnes et
    al., arXiv:1802.03426) keep neighbours together; distances between their groups say little.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # t-SNE's threads mostly wait for each other: 12 s of processor time instead of 1
        places = _reduce(np.nan_to_num(features), method)
    low, high = places.min(axis=0), places.max(axis=0)
    return (places - low) / np.where(high > low, high - low, 1.0)


def _reduce(features: Any, method: str) -> Any:
    from sklearn.decomposition import PCA as Components
    from sklearn.manifold import TSNE as Neighbours

    count = len(features)
    if count < 4:
        raise ExportError(f"too few to be mapped: {format_items(count, 'image')}")
    if method == PCA:
        return Components(2, random_state=_SEED).fit_transform(features)
    wide = min(_WIDE, count - 1, features.shape[1])
    narrowed = Components(wide, random_state=_SEED).fit_transform(features)
    if method == TSNE:
        return Neighbours(2, perplexity=min(30.0, (count - 1) / 3), random_state=_SEED).fit_transform(narrowed)
    from umap import UMAP as Manifold

    neighbours = min(_NEIGHBOURS, count - 1)
    return Manifold(n_components=2, n_neighbors=neighbours, random_state=_SEED, n_jobs=1).fit_transform(narrowed)
