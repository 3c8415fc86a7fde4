"""`assets.extra/tf_serving_warmup_requests`: requests to replay before a version's first client.

The file is a TFRecord of PredictionLog, TensorFlow Serving's format, with at most 1,000 records.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from service.protobuf import tensors
from service.protobuf.stubs import prediction_log_pb2
from service.types import DEFAULT_SIGNATURE, Tensors

LIMIT = 1000


def read_warmup(path: Path) -> Iterator[tuple[str, Tensors]]:
    """Signature and inputs of the Predict records, in order. Raises ValueError, naming a damaged file."""
    from google.protobuf.message import DecodeError

    for number, record in enumerate(_records(path)):
        if number == LIMIT:
            raise ValueError(f"{path} has more than {LIMIT} records")
        log = prediction_log_pb2.PredictionLog()
        try:
            log.ParseFromString(record)
        except DecodeError as error:
            raise ValueError(f"{path}: record {number} is not a PredictionLog") from error
        if log.HasField("predict_log"):
            request = log.predict_log.request
            inputs = {alias: tensors.to_array(alias, tensor) for alias, tensor in request.inputs.items()}
            yield request.model_spec.signature_name or DEFAULT_SIGNATURE, inputs


def _records(path: Path) -> Iterator[bytes]:
    # A record is: length (uint64), its CRC, the bytes, their CRC. The CRCs are not checked: a damaged request that
    # parses and runs warms as well.
    data = path.read_bytes()
    position = 0
    while position < len(data):
        header = data[position : position + 8]
        length = struct.unpack("<Q", header)[0] if len(header) == 8 else len(data)
        end = position + 12 + length
        if end + 4 > len(data):
            raise ValueError(f"{path} is not a TFRecord file, or only half of one")
        yield data[position + 12 : end]
        position = end + 4
