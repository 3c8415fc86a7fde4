"""Auxiliary heads: classifiers in the middle of a network, which are trained with it and are no part of what is kept.

Source: arXiv:1409.4842, Szegedy et al., section 5. They bring gradients to layers that are far from the answer.
"""

from collections.abc import Sequence
from typing import Any

WEIGHT = 0.3
"""Of each head's loss, beside 1 for the network's own."""


def join_heads(model: Any, heads: Sequence[Any]) -> Any:
    """A network to train in place of `model`, whose layers it shares; `heads` are probabilities, float32 [N, classes].

    Its loss in training is the network's own and WEIGHT times each head's. Its metrics, and its loss on validation
    images, are those of `model`.
    """
    import keras

    class Joined(keras.Model):  # type: ignore[misc]  # Keras is untyped
        def compute_loss(
            self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
        ) -> Any:
            *others, answers = y_pred
            loss = super().compute_loss(x, y, answers, sample_weight, training)
            for each in others if training else ():
                loss += WEIGHT * super().compute_loss(x, y, each, sample_weight, training)
            return loss

        def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            return super().compute_metrics(x, y, y_pred[-1], sample_weight)

    # The network's own answer comes last, as in `model`: the last layer is the one that keeps float32.
    return Joined(model.inputs, [*heads, *model.outputs], name=model.name)
