"""TensorFlow Serving's configuration files: text-format messages, of which its Python package has only the first.

The two others are described here by what their text needs: names and types of the fields that are written (from
`servables/tensorflow/session_bundle_config.proto` and `config/monitoring_config.proto` of TensorFlow Serving).
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message

from service.protobuf.stubs import model_server_config_pb2

ModelServerConfig = model_server_config_pb2.ModelServerConfig

_FILE = "image_model_server/serving_config.proto"
_PACKAGE = "image_model_server"  # not tensorflow.serving: whoever has the real ones may load them beside these
_Field = descriptor_pb2.FieldDescriptorProto
_INT64, _STRING = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"
_MESSAGES: dict[str, tuple[tuple[str, int, Any], ...]] = {
    "BatchingParameters": (
        ("max_batch_size", 1, _INT64),
        ("batch_timeout_micros", 2, _INT64),
        ("max_enqueued_batches", 3, _INT64),
        ("num_batch_threads", 4, _INT64),
        ("thread_pool_name", 5, _STRING),
        ("allowed_batch_sizes", 6, [_Field.TYPE_INT64]),
        ("pad_variable_length_inputs", 7, _Field.TYPE_BOOL),
    ),
    "PrometheusConfig": (("enable", 1, _Field.TYPE_BOOL), ("path", 2, _Field.TYPE_STRING)),
    "MonitoringConfig": (("prometheus_config", 1, f".{_PACKAGE}.PrometheusConfig"),),
}


def _describe() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            added = message.field.add(name=field, number=number, label=_Field.LABEL_OPTIONAL)
            if isinstance(kind, list):
                added.label, (kind,) = _Field.LABEL_REPEATED, kind
            if isinstance(kind, str):
                added.type, added.type_name = _Field.TYPE_MESSAGE, kind
            else:
                added.type = kind
    return file


_POOL = descriptor_pool.Default()
_POOL.Add(_describe())


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


BatchingParameters = _class("BatchingParameters")
MonitoringConfig = _class("MonitoringConfig")


def text(message: Message) -> str:
    """As `tensorflow_model_server` reads it from a file."""
    return text_format.MessageToString(message)
