"""The tokenizer against OpenAI's own, which lies beside the vocabulary that is packed into versions."""

import gzip
import importlib.util
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidInput
from service.preprocessing.tokenizer import LONGEST, Tokenizer, clean
from service.repository.vocabulary import parse_merges

_FOLDER = Path(str(distribution("openai-clip").locate_file("clip")))
_MERGES = 49152 - 256 - 2


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    text = gzip.decompress((_FOLDER / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode()
    return Tokenizer(parse_merges("\n".join(text.split("\n")[1 : _MERGES + 1])))


@pytest.fixture(scope="module")
def original() -> Any:
    """`clip` itself needs PyTorch; its tokenizer does not."""
    spec = importlib.util.spec_from_file_location("clip_simple_tokenizer", _FOLDER / "simple_tokenizer.py")
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.made = module.SimpleTokenizer()
    return module


def test_a_text_is_the_tokens_that_clip_was_trained_with(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("A photo of a cat", 77)
    assert tokens == [49406, 320, 1125, 539, 320, 2368, 49407] + [0] * 70


@pytest.mark.parametrize(
    "text",
    [
        "The dog's bone, isn't it? They'll see 3 cats & 12 dogs!!!",
        "  Two\n lines\tand   spaces ",
        "&lt;b&gt; &amp;amp; &eacute;",
        "\u201cquoted\u201d and it\u2019s",
        "na\u00efve caf\u00e9 \u00c5ngstr\u00f6m",
        "\u732b\u306e\u5199\u771f \u05d7\u05ea\u05d5\u05dc \u043a\u043e\u0448\u043a\u0430",
        "\U0001f408 and \U0001f415\u200d\U0001f9ba",
        "x\u00b2 \u2167 \u00bd 1e-5",
        "snake_case <end_of_text> a_b__c '''s",
    ],
)
def test_a_text_is_split_as_openai_splits_it(tokenizer: Tokenizer, original: Any, text: str) -> None:
    expected = original.made.encode(text)
    assert tokenizer.encode(text, 77)[1 : len(expected) + 2] == [*expected, tokenizer.end]


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cn", "Cs")), max_size=20))
def test_any_text_is_split_as_openai_splits_it_once_it_is_clean(tokenizer: Tokenizer, original: Any, text: str) -> None:
    """Its cleaning repairs text that was decoded wrongly, and ours does not: both get what is clean already.
    What Unicode has assigned since this Python came out is a letter to the other one only.
    """
    original.basic_clean = str.strip
    text = clean(text)
    expected = original.made.encode(text)
    got = tokenizer.encode(text, 200)
    assert got[1 : len(expected) + 2] == [*expected, tokenizer.end]


def test_a_text_fits_with_exactly_as_many_tokens_as_the_context_has(tokenizer: Tokenizer) -> None:
    fits = " ".join(["cat"] * 75)
    assert tokenizer.encode(fits, 77) == [tokenizer.start, *[2368] * 75, tokenizer.end]
    with pytest.raises(InvalidInput, match="too long: expected at most 77 tokens"):
        tokenizer.encode(fits + " cat", 77)
    with pytest.raises(InvalidInput, match="too long"):
        tokenizer.encode("a" * (LONGEST + 1), 77)


def test_half_a_surrogate_is_a_question_mark(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("\ud800", 77) == tokenizer.encode("?", 77)
