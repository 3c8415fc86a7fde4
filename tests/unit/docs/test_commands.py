"""What pages tell people to type exists: programs, their flags, targets of make, folders of manifests."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.client_command import ENVIRONMENT
from tests.support.documents import Block, find_pages, name_page, read_blocks, read_commands, read_prose, split_lines
from tests.support.exporter import ROOT
from tools.architecture.packages import PROGRAMS

_SUBCOMMANDS = {
    "service": ("keys", "sync", "profile", "healthcheck", "openvino-int8"),
    "export": ("advise", "augment", "describe", "explain"),
    "image_model_client": ("predict",),
}
_NAMELESS = {
    "ims",
    "service",
    "service keys",
    "service sync",
    "export",
    "export.tfserving",
    "loadtest",
    "loadtest.report",
}
_NAMELESS |= {"loadtest.sizing", "tools.architecture"}
"""Programs whose flags a page may name without the program; those of a subcommand too, where the page runs it."""
_FOREIGN = {
    "--prefer_tflite_model",  # TensorFlow Serving's
    "--xla_gpu_compilation_enabled",
    "--target exporter",  # docker build's
    "--target loadtest",
    "--cert",  # curl's
}
_TOOLS = {
    "eval",
    "curl",
    "docker",
    "kubectl",
    "echo",
    "cd",
    "cp",
    "mkdir",
    "image=model_repository/lenet5/1/assets.extra/samples/7-0.png",
}

_KINDS = {"bash", "python", "yaml", "json", "nginx", "mermaid", "text"}
_RUN = {"run", "run slow", "run with routes.yaml"}
"""Marks of what tests run as printed, in the default suite or in the slow one."""
_NEEDS = {
    f"needs {what}"
    for what in ("a cluster", "a container engine", "a download", "a GPU host", "a key", "an object store", "minutes")
}
"""Marks of what is not run here."""
_EVIDENT = {"benchmarks", "docker", "kubectl", "make", "pytest"}
"""Commands that say by themselves what they need: a block of nothing else has no mark."""


@cache
def _read_help(program: str) -> frozenset[str]:
    """The flags of `python -m PROGRAM`, as its --help has them."""
    command = [sys.executable, "-m", *program.split(), "--help"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, f"python -m {program} --help: {done.stderr}"
    return frozenset(re.findall(r"(?<![\w-])--[a-z][\w-]*", done.stdout))


def _find_runs(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Program and flags of every `python -m PROGRAM ...` among the words of one line."""
    for start in (index for index, word in enumerate(words[:-1]) if word == "-m"):
        program, *arguments = words[start + 1 :]
        if arguments and arguments[0] in _SUBCOMMANDS.get(program, ()):
            program, arguments = f"{program} {arguments[0]}", arguments[1:]
        yield program, [word.partition("=")[0] for word in arguments if word.startswith("--")]


def _check_run(program: str, flags: list[str]) -> None:
    if re.split(r"[ .]", program)[0] not in (*PROGRAMS, "image_model_client", "tests"):
        return
    module = importlib.util.find_spec(program.partition(" ")[0])
    assert module is not None, program
    if named := set(flags) - {"--help"}:  # a program without flags may have no --help, and run
        assert named <= _read_help(program), (program, flags)


@pytest.mark.parametrize("page", find_pages(), ids=name_page)
def test_commands_are_ones_that_there_are(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for words in read_commands(page):
        first = words[0]
        if first in ("make", "git"):
            assert first == "git" or re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words
        elif Path(first).name.startswith("python"):
            for program, flags in _find_runs(words):
                _check_run(program, flags)
        else:
            assert first in _TOOLS or Path(first).name in ("locust", "pip", "pytest"), words
        for folder in re.findall(r"-k (k8s/\S+)", " ".join(words)):
            assert (ROOT / folder / "kustomization.yaml").is_file(), folder


def _is_evident(words: list[str]) -> bool:
    program = words[2] if words[1:2] == ["-m"] else words[0]
    return Path(program.partition(".")[0] if "/" not in program else program).name in _EVIDENT


def _find_unproved(block: Block) -> str:
    """Why nothing holds that the block's commands work, or nothing."""
    if block.kind not in _KINDS:
        return f"expected a kind among {sorted(_KINDS)}, got {block.kind!r}"
    if block.kind not in ("bash", "python"):
        return ""
    if block.mark in _RUN | _NEEDS:
        return ""
    if block.kind == "bash" and all(map(_is_evident, split_lines(block.code))):
        return ""
    return f"expected one of {sorted(_RUN | _NEEDS)} in a comment in the line before, got {block.mark!r}"


@pytest.mark.parametrize("page", find_pages(), ids=name_page)
def test_every_command_is_run_or_says_what_it_needs(page: Path) -> None:
    unproved = [(why, block.code.splitlines()[0]) for block in read_blocks(page) if (why := _find_unproved(block))]
    assert unproved == []
    loose = r"^ {4,}(?:\$ |[\w./]*python3? -m [\w.]+(?: |$)|make |ims |curl |pip |docker |kubectl )"
    assert re.findall(loose + ".*", read_prose(page), re.MULTILINE) == [], "expected a fence of bash"
    texts = [block.code for block in read_blocks(page) if block.kind == "text"]
    assert re.findall(loose.replace("{4,}", "*") + ".*", "\n".join(texts), re.MULTILINE) == [], "expected bash"


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (Block(Path(), "bash", "curl localhost:8000\n", ""), "in the line before"),
        (Block(Path(), "bash", "docker ps\npython -m export --list\n", ""), "in the line before"),
        (Block(Path(), "python", "import service\n", "end"), "in the line before"),
        (Block(Path(), "bash", "curl localhost:8000\n", "needs luck"), "expected one of"),
        (Block(Path(), "sh", "curl localhost:8000\n", "run"), "expected a kind"),
        (Block(Path(), "bash", "make bench\n.venv/bin/python -m benchmarks.crops --count 2\n", ""), ""),
        (Block(Path(), "bash", "curl localhost:8000\n", "needs a cluster"), ""),
    ],
)
def test_a_block_that_nothing_holds_is_found(block: Block, why: str) -> None:
    assert why in (_find_unproved(block) or "nothing") if why else _find_unproved(block) == ""


@pytest.mark.parametrize("page", find_pages(), ids=name_page)
def test_flags_and_targets_that_the_text_names_are_there(page: Path) -> None:
    text = read_prose(page)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
    subcommands = {f"{program} {name}" for program, names in _SUBCOMMANDS.items() for name in names}
    here = {each for each in subcommands if f"python -m {each}" in page.read_text()}
    known = frozenset[str]().union(*map(_read_help, sorted(_NAMELESS | here)))
    named = [span for span in spans if span.startswith("--") and span not in _FOREIGN]
    unknown = [span for span in named if span.split()[0].partition("=")[0] not in known | _FOREIGN]
    assert unknown == []
    makefile = (ROOT / "Makefile").read_text()
    for span in spans:
        if target := re.match(r"make ([\w-]+)$", span):
            assert re.search(rf"^{target[1]}:", makefile, re.MULTILINE), span
        for program, flags in _find_runs(span.split()):
            _check_run(program, flags)
