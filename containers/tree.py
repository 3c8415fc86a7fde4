"""The files of an image without TensorFlow: `python containers/tree.py gateway FOLDER`.

The one list of what is in it. The Dockerfile runs this in a build stage and copies FOLDER over its base image's root;
`make image-tree` runs it where there is no container engine, and the tests start the gateway from the result.
It needs Python and pip, nothing of this project's own environment.
"""

import argparse
import compileall
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

SOURCE = Path(__file__).resolve().parents[1]
APP = Path("app")  # below the root; on PYTHONPATH in the image
STAMP = APP / ".made-of"


@dataclass(frozen=True)
class Tree:
    """One image's part of this distribution; `keep` names the files where not the whole of a package is wanted,
    `drop` what only this image has no use for.
    """

    packages: tuple[str, ...]
    extras: tuple[str, ...]
    keep: Mapping[str, tuple[str, ...]]
    drop: tuple[str, ...] = ()


TREES = {
    "gateway": Tree(
        ("service", "export"),
        ("tracing", "remote"),
        # Beside a TensorFlow Serving, whose configuration follows from the models that arrive.
        {
            "export": (
                "__init__.py",
                "errors.py",
                "plurals.py",
                *(f"tfserving/{name}.py" for name in ("__init__", "__main__", "batching", "config_protos")),
            )
        },
        ("numpy/f2py",),
    ),
    "loadtest": Tree(("service", "export", "drawing", "loadtest"), ("loadtest",), {}),
}

# Installed without what they ask for: the gateway uses a part of each that needs none of it.
ALONE = {
    "ai-edge-litert": "the interpreter; its tools want ml_dtypes and tqdm",
    "tensorflow-serving-api": "message modules; it wants TensorFlow",
    "tritonclient": "message modules; it wants a JSON library and HTTP clients",
}
KEEP = {
    # The interpreter and what it loads: accelerators, vendors' compilers and tools are more than half of the wheel.
    "ai_edge_litert": (
        "__init__.py",
        "_pywrap_litert_interpreter_wrapper.so",
        "interpreter.py",
        "libLiteRt.so",
        "libpywrap_litert_common.so",
        "metrics_interface.py",
        "metrics_portable.py",
    ),
    "tritonclient": (
        "__init__.py",
        "grpc/__init__.py",
        "grpc/model_config_pb2.py",
        "grpc/service_pb2.py",
        "grpc/service_pb2_grpc.py",
    ),
}
DROP = (
    # Never imported by a program that runs.
    "*/tests",
    "bin",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/distutils",
    "numpy/random/lib",
    "tritonclientutils",
    "tritongrpcclient",
    "tritonhttpclient",
    "tritonshmutils",
    # Formats that are not served (AVIF), text on pictures, windows.
    "PIL/_avif*",
    "PIL/_imagingft*",
    "PIL/_imagingtk*",
    "pillow.libs/libavif-*",
    "pillow.libs/libbrotli*",
    "pillow.libs/libfreetype-*",
    "pillow.libs/libharfbuzz-*",
    "**/*.pyi",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.a",
)
# Their wheels come with symbols for debuggers. Not all wheels' libraries survive being stripped, numpy's do not.
STRIP = (
    "PIL/_imaging.*.so",
    "ai_edge_litert/*.so",
    "httptools/parser/*.so",
    "obstore/_obstore.*.so",
    "uvloop/loop.*.so",
    "yaml/_yaml.*.so",
)
# Message modules of TensorFlow that `service/protobuf/stubs.py` reaches; a test finds one that is missing.
MESSAGES = re.compile(r"tensorflow/(core/(example|framework|protobuf)|compiler/xla/tsl/protobuf)/\w+_pb2\.py")


def build(tree: Tree, root: Path) -> None:
    """Fills `root`. What was installed by an earlier run stays where it would be the same.

    Raises SystemExit where a part cannot be done.
    """
    app, stamp = root / APP, root / STAMP
    inputs = hashlib.sha256(repr(tree).encode())
    for path in (SOURCE / "constraints.txt", SOURCE / "pyproject.toml", Path(__file__)):
        inputs.update(path.read_bytes())
    if not stamp.is_file() or stamp.read_text() != inputs.hexdigest():
        shutil.rmtree(root, ignore_errors=True)
        app.mkdir(parents=True)
        _others(app, tree)
        stamp.write_text(inputs.hexdigest())
    for package in tree.packages:
        shutil.rmtree(app / package, ignore_errors=True)
    print(f"installing {', '.join(tree.packages)}")
    _own(app, tree)
    # Compiled now: nothing can be written where it runs. By content, so that times do not matter.
    compileall.compile_dir(app, quiet=2, workers=0, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    print()
    _table(root)


def _others(app: Path, tree: Tree) -> None:
    pins = dict(_pins())
    print("installing what it needs")
    _pip("install", "--target", app, "--constraint", SOURCE / "constraints.txt", *_requirements(tree.extras))
    _pip("install", "--target", app, "--no-deps", *(f"{name}=={pins[name]}" for name in ALONE))
    print(f"taking the message modules of tensorflow {pins['tensorflow']}")
    _messages(app, pins["tensorflow"])
    _prune(app, KEEP)
    for pattern in (*DROP, *tree.drop):
        for path in [*app.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if shutil.which("strip") is None:
        raise SystemExit("tree.py: there is no `strip`, which makes it 22 MB smaller: apt-get install binutils")
    libraries = [path for pattern in STRIP for path in app.glob(pattern)]
    subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)
    for path in [*app.rglob("tests")]:
        shutil.rmtree(path)


def _project() -> Mapping[str, Any]:
    found: Mapping[str, Any] = tomllib.loads((SOURCE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def _requirements(chosen: Iterable[str]) -> Iterator[str]:
    """The distribution's own, and those of the chosen extras, less those that come alone."""
    project = _project()
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *(each for extra in chosen for each in extras[extra])]:
        if _name(requirement) not in ALONE:
            yield requirement


def _pins() -> Iterator[tuple[str, str]]:
    for line in (SOURCE / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        yield _name(name), version


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def _messages(app: Path, version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _pip("download", "--no-deps", "--dest", folder, f"tensorflow=={version}")
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            wheel.extractall(app, filter(MESSAGES.fullmatch, wheel.namelist()))


def _own(app: Path, tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as folder:  # building leaves its traces beside the source
        copy = Path(folder, "source")
        copy.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(SOURCE / name, copy)
        for package in tree.packages:
            shutil.copytree(SOURCE / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
        _pip("install", "--target", app, "--no-deps", "--upgrade", copy)
    _prune(app, tree.keep)


def _prune(app: Path, keep: Mapping[str, tuple[str, ...]]) -> None:
    for package, kept in keep.items():
        for path in [*_files(app / package)]:
            if path.relative_to(app / package).as_posix() not in kept:
                path.unlink()
    for path in sorted(app.rglob("*"), reverse=True):  # inner folders first
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    ended = subprocess.run(
        [*command, "--quiet", "--no-compile"] if arguments[0] == "install" else [*command, "--quiet"]
    )
    if ended.returncode:
        raise SystemExit(f"tree.py: pip {arguments[0]} failed, for the reason above")


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _table(root: Path) -> None:
    """Megabytes by part, the largest first; what is small is one line."""
    parts = {path.name: _size([path] if path.is_file() else _files(path)) for path in (root / APP).iterdir()}
    sizes: dict[str, int] = {}
    for name, size in parts.items():  # `numpy.libs` and `numpy-2.4.dist-info` are numpy's
        owner = re.match(r"\w+", name.removeprefix("__"))
        key = owner[0].lower() if owner else name
        sizes[key] = sizes.get(key, 0) + size
    large = {name: size for name, size in sizes.items() if size >= 1e6}
    rows = sorted(large.items(), key=lambda row: -row[1])
    rows += [(f"{len(sizes) - len(large)} smaller ones", sum(sizes.values()) - sum(large.values()))]
    rows += [("in all", sum(sizes.values()))]
    width = max(len(name) for name, _ in rows)
    for name, size in rows:
        print(f"  {name:<{width}}  {size / 1e6:7.1f} MB")


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def main() -> int:
    parser = argparse.ArgumentParser("tree.py", description="Makes the files of an image.")
    parser.add_argument("tree", choices=TREES, help="whose")
    parser.add_argument("folder", type=Path, help="becomes the image's root, or what is copied over it")
    parser.add_argument("--extras", default="", help="of pyproject.toml, to add, separated by commas: openvino")
    given = parser.parse_args()
    extras, known = [*filter(None, given.extras.split(","))], _project()["optional-dependencies"]
    if unknown := [extra for extra in extras if extra not in known]:
        parser.error(f"invalid --extras: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    tree = TREES[given.tree]
    build(replace(tree, extras=(*tree.extras, *extras)), given.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
