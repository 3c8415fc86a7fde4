"""The ways to make a LiteRT model smaller and faster that are tried on every network.

Which of them is fast depends on the kernels XNNPACK has, and which is accurate on the network: nothing
here is assumed, `candidates` measures each. Full int8 is slower than float32 wherever an operation has
no int8 kernel (hard-swish, GELU), which is why two of the schemes leave such operations in float.
"""

from dataclasses import dataclass
from typing import Literal

FLOAT32 = "float32"
FLOAT16 = "float16"
BFLOAT16 = "bfloat16"
DYNAMIC = "dynamic"
INT8 = "int8"
MIXED = "mixed"

ALL_OPERATIONS = ("*",)

_DENSE = ("CONV_2D", "FULLY_CONNECTED")

# Those with int8 kernels in XNNPACK, by the quantizer's names (2.3 of ai-edge-litert, measured).
_XNNPACK = (
    *_DENSE, "DEPTHWISE_CONV_2D", "ADD", "MUL", "SUB", "MEAN", "AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION",
    "PAD", "PADV2", "RESHAPE", "LOGISTIC", "TANH", "STRIDED_SLICE", "SLICE", "SPLIT", "TRANSPOSE",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scheme:
    """`how`: weights stored as float16; weights int8 and activations quantized as they come (dynamic); or
    both int8 with ranges from calibration (static). It applies to `operations`, except those whose
    output tensor `floats` names. `precision` is what a manifest says.
    """

    name: str
    precision: str
    how: Literal["float16", "dynamic", "static"]
    operations: tuple[str, ...] = ALL_OPERATIONS
    floats: tuple[str, ...] = ()


SCHEMES = (
    Scheme("float16 weights", FLOAT16, "float16"),
    Scheme("dynamic", DYNAMIC, "dynamic"),
    Scheme("int8", INT8, "static"),
    Scheme("int8 where XNNPACK is", INT8, "static", _XNNPACK),
    Scheme("int8 convolutions", INT8, "static", (*_DENSE, "DEPTHWISE_CONV_2D")),
    Scheme("int8 dense", INT8, "static", _DENSE),
)


AUTO = "auto"
QUANTIZATIONS = (AUTO, INT8, DYNAMIC, FLOAT16, BFLOAT16)
"""What `--quantize` takes."""


def of(quantization: str) -> tuple[Scheme, ...]:
    """The schemes to try for one of QUANTIZATIONS, on a CPU."""
    return tuple(scheme for scheme in SCHEMES if quantization in (AUTO, scheme.precision))
