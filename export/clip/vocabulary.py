"""The vocabulary of CLIP's tokenizer: the merges of byte pairs that OpenAI published with the network (MIT licence).

No package that only carries the file names a licence of its own; the file of `openai-clip` is, byte for byte, that of
`open_clip_torch` and `clip-anytorch`, whose licences are MIT, and which need PyTorch.
"""

import gzip
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from export.data.names import escape
from export.errors import ExportError
from service.repository.vocabulary import parse_merges

_PACKAGE = "openai-clip"
_FILE = "clip/bpe_simple_vocab_16e6.txt.gz"
_BYTES = 2 * 256  # tokens of single bytes, inside a word and at its end
_ENDS = 2  # of a text: its start and its end


def read(file: Path | None, vocabulary: int) -> str:
    """A merge a line, as many as make `vocabulary` tokens, of `file` or the installed package. Raises ExportError."""
    path = _find_installed() if file is None else file
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
        lines = text.removesuffix("\n").split("\n")
        if "#version" in lines[0]:
            del lines[0]
        count = vocabulary - _BYTES - _ENDS
        merges = "".join(f"{line}\n" for line in lines[:count])
        found = len(parse_merges(merges))
        if found < count:
            raise ValueError(f"expected {count:,} merges, got {found:,}")
    except (OSError, EOFError, ValueError) as error:
        raise ExportError(f"the vocabulary {escape(path)} cannot be read: {error}") from error
    return merges


def _find_installed() -> Path:
    """The package itself is not imported: that needs PyTorch."""
    try:
        return Path(str(distribution(_PACKAGE).locate_file(_FILE)))
    except PackageNotFoundError as error:
        raise ExportError(
            "no vocabulary for texts: pip install 'image-model-server[clip]', or give --vocabulary FILE with OpenAI's "
            "bpe_simple_vocab_16e6.txt.gz"
        ) from error
