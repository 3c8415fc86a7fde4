"""What `ims` can do: a row a subcommand."""

from collections.abc import Mapping
from dataclasses import dataclass

COMPLETION = "image-model-server[completion]"
"""What installs the completion of a shell."""


@dataclass(frozen=True)
class Command:
    """`module` has `main(arguments) -> int`; `first` goes ahead of the arguments; `package` is what installs it."""

    module: str
    about: str
    example: str
    package: str
    first: tuple[str, ...] = ()


COMMANDS: Mapping[str, Command] = {
    "serve": Command(
        "service.__main__",
        "serve models over HTTP and gRPC",
        "ims serve --repository model_repository",
        "image-model-server",
    ),
    "export": Command(
        "export.__main__",
        "train or take a network, and publish it as a version of a model",
        "ims export --model lenet5",
        "image-model-server[export]",
    ),
    "loadtest": Command(
        "loadtest.__main__",
        "measure served models under load, and write a report",
        "ims loadtest --models lenet5",
        "image-model-server[loadtest]",
    ),
    "sync": Command(
        "service.sync.command",
        "copy versions of models between folders and object stores",
        "ims sync model_repository s3://models/production --as-next",
        "image-model-server[remote]",
    ),
    "keys": Command(
        "service.security.api_keys",
        "make an API key",
        "ims keys camera-7 --rate 5 >> keys.yaml",
        "image-model-server",
    ),
    "predict": Command(
        "image_model_client.__main__",
        "ask a served model about files and folders of images",
        "ims predict lenet5 photos/ --format csv",
        "image-model-client",
        first=("predict",),
    ),
}
