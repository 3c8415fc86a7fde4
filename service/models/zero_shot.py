"""A model of two encoders answers with the labels that a request brings: texts are embedded once a label set."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import numpy as np

from service.errors import InvalidInput
from service.preprocessing.tokenizer import Tokenizer
from service.repository.manifest import SIGMOID, ZeroShot
from service.repository.vocabulary import Merges
from service.types import Array, CandidateLabels

_KEPT = 10_000
"""Labels whose embeddings are kept, of all label sets: some 20 MB at 512 numbers each."""

EmbedTexts = Callable[[Array], Awaitable[Array]]
"""Tokens, int32 [N, context] -> embeddings, float32 [N, D]."""


class LabelEmbeddings:
    """Owns the embeddings of the label sets that one version was asked about last."""

    def __init__(self, zero_shot: ZeroShot, merges: Merges) -> None:
        self._zero_shot, self._tokenizer = zero_shot, Tokenizer(merges)
        self._kept: OrderedDict[CandidateLabels, Array] = OrderedDict()

    async def embed(self, candidates: CandidateLabels, embed_texts: EmbedTexts) -> Array:
        """float32 [labels, D]. Raises InvalidInput where a label does not fit, and what `embed_texts` raises."""
        if (found := self._kept.get(candidates)) is not None:
            self._kept.move_to_end(candidates)
            return found
        # Hundreds of labels take milliseconds, which the event loop does not have.
        made = await embed_texts(await asyncio.to_thread(self._tokenize, candidates))
        self._kept[candidates] = made
        while sum(len(embeddings) for embeddings in self._kept.values()) > _KEPT and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return made

    def compare(self, images: Array, texts: Array) -> Array:
        """Probabilities, float32 [images, labels], of embeddings [images, D] and [labels, D]."""
        logits = self._zero_shot.scale * (images.astype(np.float64) @ texts.T.astype(np.float64)) + self._zero_shot.bias
        if self._zero_shot.activation == SIGMOID:
            return np.asarray((0.5 * (1 + np.tanh(logits / 2))).astype(np.float32))
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray((shares / shares.sum(axis=1, keepdims=True)).astype(np.float32))

    def _tokenize(self, candidates: CandidateLabels) -> Array:
        rows = []
        for place, text in enumerate(candidates.texts):
            try:
                rows.append(self._tokenizer.encode(text, self._zero_shot.context))
            except InvalidInput as error:
                raise error.copy(f"label {place}: {error.message}", label=place) from error
        return np.array(rows, np.int32)
