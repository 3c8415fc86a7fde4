"""`ims` and the programs behind it: `--help`, `--version`, completion, exit codes."""

import os
import re
import subprocess
import sys

import pytest

from export.architectures import ARCHITECTURES
from ims.commands import COMMANDS
from service.version import NAME, version
from tests.support.exporter import ROOT

_PROGRAMS = ["serve", "export", "loadtest", "sync", "keys"]
_MODULES = ["service", "export", "loadtest", "service sync", "service keys", "service healthcheck", "loadtest.report"]
_MODULES += [f"export {name}" for name in ("advise", "augment", "describe", "explain")]


def _run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80", **(env or {})},
    )


@pytest.mark.parametrize("name", _PROGRAMS)
def test_ims_runs_each_program_under_its_own_name(name: str) -> None:
    done = _run("ims", name, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith(f"usage: ims {name} ")
    assert re.search(rf"ims {name} [^\n]*\w", done.stdout.partition("\n\n")[2]), "no example"
    assert "exit codes:" in done.stdout


def test_ims_lists_what_there_is() -> None:
    done = _run("ims", "--help")
    assert done.returncode == 0
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{command.about}$", done.stdout, re.MULTILINE)
        assert f"  {command.example}\n" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fly"], "'fly'.*'serve'.*; see ims --help"),
        ([], "ims: expected a subcommand: serve, export"),
        (["serve", "--http-port", "eighty"], "^ims serve: invalid --http-port"),
        (["export", "--model", "lenet6"], "^export: --model 'lenet6' is unknown"),
        (["loadtest", "--seconds", "0"], "^loadtest: argument --seconds"),
        (["keys"], "the following arguments are required: name"),
        (["sync", "here"], "the following arguments are required: DESTINATION"),
    ],
)
def test_wrong_use_ends_with_code_2_and_one_last_line_that_says_why(words: list[str], says: str) -> None:
    done = _run("ims", *words)
    assert done.returncode == 2 and re.search(says, done.stderr.splitlines()[-1])


@pytest.mark.parametrize(
    ("missing", "words", "package"),
    [
        ("image_model_client", ["predict", "lenet5", "photo.png"], "image-model-client"),
        ("argcomplete", ["--print-completion", "bash"], "image-model-server[completion]"),
    ],
)
def test_what_is_not_installed_is_named_with_what_installs_it(missing: str, words: list[str], package: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from ims.__main__ import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, cwd=ROOT)
    name = "ims predict" if words[0] == "predict" else "ims"
    assert done.returncode == 1
    assert done.stderr == f"{name}: {missing} is not installed; pip install '{package}'\n"


@pytest.mark.parametrize("program", ["ims", *_MODULES[:3], "export advise", "ims serve", "ims export", "ims loadtest"])
def test_each_program_has_a_version(program: str) -> None:
    done = _run(*program.split(), "--version")
    assert (done.returncode, done.stdout) == (0, f"{NAME} {version()}\n")


@pytest.mark.parametrize("program", _MODULES)
def test_help_imports_nothing_large(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *program.split(), "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 0 and "--help" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"tensorflow", "numpy", "keras", "fastapi", "grpc", "uvicorn", "yaml", "prometheus_client"}
    assert not re.search(r"tuple\[|, \.\.\.\]|default: (?:None|True|False)\)", done.stdout)


@pytest.mark.parametrize("program", _MODULES)
def test_help_answers_at_once(program: str) -> None:
    def cpu_seconds() -> float:
        before = os.times()
        subprocess.run([sys.executable, "-m", *program.split(), "--help"], capture_output=True, check=True, cwd=ROOT)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert any(cpu_seconds() < 0.3 for _ in range(5))


def _complete(line: str) -> list[str]:
    """What a shell would offer behind `line`, by the protocol of argcomplete's own scripts."""
    words = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    script = 'exec 8>&1 1>/dev/null; exec "$0" -m ims'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, **words},
    )
    return [word.strip() for word in done.stdout.split("\n")]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ims s", ["serve", "sync"]),
        ("ims serve --grpc-", ["--grpc-port", "--grpc-max-streams"]),
        ("ims serve --backend ten", []),
        ("ims serve --backend tf", ["tfserving"]),
        ("ims export advise --max-", ["--max-ms", "--max-mb"]),
        ("ims loadtest --models lenet5 --sce", ["--scenarios", "--scenario"]),
        ("ims keys camera --ex", ["--expires"]),
    ],
)
def test_a_shell_completes_subcommands_flags_and_values(line: str, offered: list[str]) -> None:
    assert _complete(line) == (offered or [""])


def test_a_shell_completes_names_of_networks() -> None:
    assert _complete("ims export --model effi") == [name for name in ARCHITECTURES if name.startswith("effi")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_names_ims(shell: str) -> None:
    done = _run("ims", "--print-completion", shell)
    assert done.returncode == 0 and "_ARGCOMPLETE" in done.stdout and re.search(r"\bims\b", done.stdout)


def test_bash_itself_takes_the_script() -> None:
    done = _run("ims", "--print-completion", "bash")
    check = subprocess.run(
        ["bash", "-c", 'eval "$0"; complete -p ims', done.stdout], capture_output=True, text=True, timeout=60
    )
    assert check.returncode == 0 and "_python_argcomplete" in check.stdout
