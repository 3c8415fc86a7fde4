"""docs/comparison.md: this service beside other model servers. `python -m benchmarks.comparison` writes it.

What others do is read from their documentation, source and issues; what this service does is held by a test of this
repository that the row names; speed is what `--measure` finds, with the servers that pip installs (`rivals`).
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.rivals import speeds
from benchmarks.rivals.servers import RIVALS
from benchmarks.rivals.speeds import RESULTS, Speeds
from loadtest.markdown import markdown
from service.host.cpu import cores

PAGE = Path("docs/comparison.md")

YES, PARTLY, NO = "yes", "partly", "-"
"""`NO` says that nothing was found in what was read, which proves nothing. Other words say how."""


@dataclass(frozen=True)
class Server:
    name: str
    sources: tuple[str, ...]
    better: str
    """What it does that this service does not, in one sentence."""


SERVERS = {
    "tfserving": Server(
        "TensorFlow Serving",
        ("https://github.com/tensorflow/serving", "https://github.com/tensorflow/serving/issues/1853"),
        "It runs any SavedModel in C++ with no Python on a request's way, on GPUs and TPUs too, and has been "
        "in production for ten years. This service can stand [in front of it](tensorflow-serving.md).",
    ),
    "triton": Server(
        "Triton",
        (
            "https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/batcher.html",
            "https://github.com/triton-inference-server/server/issues/6796",
            "https://github.com/triton-inference-server/server/issues/7512",
        ),
        "TensorRT, ONNX, PyTorch and Python models on many GPUs, priorities, a response cache, shared memory, "
        "pipelines of models, loading by request. It is the choice for GPUs. It no longer has a TensorFlow backend.",
    ),
    "kserve": Server(
        "KServe",
        (
            "https://kserve.github.io/website/docs/model-serving/predictive-inference/rollout-strategies/canary",
            "https://github.com/kserve/kserve",
        ),
        "It runs many models of many teams in a cluster: scaling to zero, graphs of models, explainers, logged "
        "requests, one resource for all runtimes. This service can be one of its runtimes.",
    ),
    "bentoml": Server(
        "BentoML",
        (
            "https://docs.bentoml.com/en/latest/guides/adaptive-batching.html",
            "https://docs.bentoml.com/en/latest/scale-with-bentocloud/scaling/autoscaling.html",
        ),
        "Any Python is a service: pre- and postprocessing and several models in one program, packed as an image, "
        "with a managed cloud.",
    ),
    "ray": Server(
        "Ray Serve",
        ("https://docs.ray.io/en/latest/serve/index.html",),
        "It composes models over many machines, shares GPUs in fractions, scales by itself and serves language models.",
    ),
    "litserve": Server(
        "LitServe",
        ("https://github.com/Lightning-AI/LitServe",),
        "Four methods of Python serve any PyTorch model on all GPUs of a machine, with streams and OpenAI's API.",
    ),
    "mlserver": Server(
        "MLServer",
        ("https://docs.seldon.ai/mlserver", "https://docs.seldon.ai/mlserver/user-guide/adaptive-batching"),
        "Runtimes for scikit-learn, XGBoost, LightGBM, MLflow and Hugging Face models, and Kafka beside HTTP and gRPC.",
    ),
    "mosec": Server(
        "mosec",
        (
            "https://mosecorg.github.io/mosec/reference/interface.html",
            "https://mosecorg.github.io/mosec/reference/concept.html",
        ),
        "Stages of Python in processes of their own behind a web layer in Rust: preprocessing on CPUs feeds a GPU.",
    ),
}


@dataclass(frozen=True)
class Feature:
    name: str
    ours: str
    others: Mapping[str, str]
    """Server -> word; `NO` where it is left out."""
    evidence: str = ""
    """The test that fails where `ours` is not true; empty where `ours` is `NO`."""


def _all(word: str = YES, **but: str) -> dict[str, str]:
    return dict.fromkeys(SERVERS, word) | but


FEATURES = (
    Feature("batches requests", YES, _all(kserve="HTTP v1 only"), "tests/unit/service/batching/test_batcher.py"),
    Feature("batches by each request's deadline", YES, {"bentoml": PARTLY}, "tests/e2e/test_deadlines.py"),
    Feature(
        "refuses early what cannot be answered in time",
        YES,
        {"tfserving": "queue limit", "triton": "queue limit", "bentoml": "503", "ray": "503"},
        "tests/e2e/test_overload.py",
    ),
    Feature("priorities of requests", NO, {"triton": YES}),
    Feature(
        "new versions without a restart",
        YES,
        {"tfserving": YES, "triton": YES, "kserve": YES, "ray": YES, "mlserver": YES},
        "tests/e2e/test_versions_on_disk.py",
    ),
    Feature("loads on demand, unloads the least used", NO, {"triton": "by request", "kserve": "ModelMesh"}),
    Feature(
        "splits traffic by weight",
        YES,
        {"tfserving": "labels", "kserve": YES, "bentoml": "cloud"},
        "tests/e2e/test_routing.py",
    ),
    Feature("compares a shadow's answers", YES, {}, "tests/e2e/test_routing.py"),
    Feature(
        "pipelines of models",
        "averages only",
        {"triton": YES, "kserve": YES, "bentoml": YES, "ray": YES, "litserve": YES, "mosec": "stages"},
        "tests/e2e/test_routing.py",
    ),
    Feature(
        "response cache",
        "equal concurrent requests share one run",
        {"triton": YES, "mlserver": "local"},
        "tests/e2e/test_coalescing.py",
    ),
    Feature(
        "Open Inference Protocol, HTTP and gRPC",
        YES,
        {"triton": YES, "kserve": YES, "mlserver": YES},
        "tests/api/test_oip_grpc.py",
    ),
    Feature(
        "TensorFlow Serving's API", YES, {"tfserving": YES, "kserve": "HTTP v1"}, "tests/api/test_tfserving_rest.py"
    ),
    Feature(
        "language models, OpenAI's API",
        NO,
        {"triton": YES, "kserve": YES, "bentoml": "your code", "ray": YES, "litserve": YES},
    ),
    Feature("PyTorch models", NO, _all(tfserving=NO)),
    Feature("GPUs", "TensorFlow Serving behind it, [not tried](untested.md)", _all(), "tests/e2e/test_replicas.py"),
    Feature(
        "reads JPEG, limits what an image may cost",
        YES,
        {"tfserving": "in the graph", "triton": "DALI", "kserve": PARTLY, "bentoml": "your code", "ray": "your code"}
        | {"litserve": "your code", "mlserver": "your code", "mosec": "your code"},
        "tests/e2e/test_limits.py",
    ),
    Feature(
        "API keys with rates and models",
        YES,
        {"triton": "restricted APIs", "kserve": "mesh", "litserve": "one key"},
        "tests/e2e/test_api_keys.py",
    ),
    Feature(
        "TLS",
        YES,
        {"tfserving": "gRPC only", "triton": "gRPC only", "kserve": "mesh", "bentoml": YES},
        "tests/e2e/test_tls.py",
    ),
    Feature(
        "OpenTelemetry traces",
        YES,
        {"triton": YES, "kserve": PARTLY, "bentoml": YES, "ray": YES, "mlserver": YES},
        "tests/e2e/test_tracing.py",
    ),
    Feature("Prometheus metrics", YES, _all(litserve=NO), "tests/e2e/test_observability.py"),
    Feature(
        "ends on SIGTERM without a lost request",
        YES,
        {"triton": PARTLY, "kserve": PARTLY, "bentoml": PARTLY, "litserve": PARTLY, "mosec": PARTLY},
        "tests/e2e/test_start_and_stop.py",
    ),
    Feature(
        "scales by itself",
        "Kubernetes, [not tried](untested.md)",
        {"kserve": "to zero", "bentoml": "cloud", "ray": YES, "triton": PARTLY},
        "tests/unit/k8s/test_autoscaling.py",
    ),
    Feature(
        "trains, quantizes and checks a model",
        YES,
        {"triton": "Model Navigator"},
        "tests/export/test_quantized_exports.py",
    ),
    Feature(
        "load test in the box",
        YES,
        {"triton": "perf_analyzer", "mlserver": "k6 scripts"},
        "tests/e2e/test_load_test.py",
    ),
)


def render(measured: Speeds) -> str:
    names = [server.name for server in SERVERS.values()]
    features = [(feature.name, feature.ours, *(feature.others.get(key, NO) for key in SERVERS)) for feature in FEATURES]
    lines = [
        "# Comparison with other model servers",
        "",
        "Written by `python -m benchmarks.comparison`; do not edit.",
        "",
        "## Features",
        "",
        "Read from the documentation, the source and the issues of each project in November 2026. "
        f"`{NO}` says that nothing was found there, which does not prove that there is nothing. "
        "A test of this repository holds each claim of the first column.",
        "",
        markdown(("", "this service", *names), features, text=range(2 + len(names))),
        "",
        "## Where others are better",
        "",
        *(f"- **{server.name}.** {server.better} Read: {_link(server.sources)}." for server in SERVERS.values()),
        "",
        "Each of them has been in more hands, and longer, than this service.",
        "",
        "## Speed",
        "",
        *_render_speed(measured),
    ]
    return "\n".join(lines) + "\n"


def _link(sources: tuple[str, ...]) -> str:
    return ", ".join(f"[{number}]({source})" for number, source in enumerate(sources, 1))


def _render_speed(measured: Speeds) -> list[str]:
    dates = sorted(row.machine for row in measured.rows.values())
    return [
        "`python -m benchmarks.comparison --measure` gives every server that pip installs the same `model.tflite` "
        f"({measured.network}, 224x224), this service's own decoder, LiteRT with one thread in one process a core, and "
        f"one photo (640x427, {measured.photo_bytes / 1000:.0f} kB of JPEG). Each runs in an environment of its own, "
        "beside this service (`--workers` one a core, `--engine litert`), and wrk asks both in turns: "
        f"{measured.rounds} x {measured.seconds:.0f} s with 1, 8 and 32 connections, on the same machine. Handlers are "
        "as each documentation writes them, in `benchmarks/rivals/`; LitServe, MLServer and KServe take JSON. "
        f"{dates[-1] if dates else 'Nothing was measured yet'}.",
        "",
        "Three numbers in a cell are with 1, 8 and 32 requests in flight; MB is the memory of all processes after the "
        "load (PSS). The share is of this service's requests/s in the same minute; its own row is the median of all "
        "pairs.",
        "",
        speeds.render(measured),
        "",
        "A machine of two cores shows what a server costs beside the network, not how it scales. Figures that others "
        "publish come from other machines and other networks. `python -m loadtest --url` measures any server that "
        "speaks the Open Inference Protocol or TensorFlow Serving's API on yours. [Benchmarks](benchmarks.md) has this "
        "service beside FastAPI with TensorFlow.",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the page is out of date")
    parser.add_argument(
        "--measure",
        nargs="*",
        choices=RIVALS,
        metavar="SERVER",
        help=f"measure these, or all: {', '.join(RIVALS)}; the first time installs them below build/rivals",
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each load (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="turns that both take (default: %(default)s)")
    options = parser.parse_args()
    measured = Speeds.read(RESULTS)
    if options.measure is not None:
        try:
            settings = replace(measured, seconds=options.seconds, rounds=options.rounds, workers=cores())
            measured = speeds.measure(options.measure or list(RIVALS), settings)
        except RuntimeError as error:
            print(f"comparison: {error}", file=sys.stderr)
            return 1
        measured.write(RESULTS)
    text = render(measured)
    if not options.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text
    if stale:
        print(f"{PAGE} is out of date: run python -m benchmarks.comparison", file=sys.stderr)
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
