"""This machine's processor, and how much of it this process may use."""

import math
import os
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

SHARE = "IMAGE_MODEL_SERVER_CORES"
"""The environment variable that tells a worker process its cores."""


def cores() -> int:
    """Processors this process may use: its container's limit, and its share of it where there are several workers.

    A limit is not an affinity: threads for all of a node's processors would use it up early in each period and then
    stall together.
    """
    allowed = max(1, math.ceil(min(len(os.sched_getaffinity(0)), cpu_limit())))
    return min(allowed, int(os.environ.get(SHARE, allowed)))


def cpu_limit(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors that the control group allows, Kubernetes' `limits.cpu`; infinite where it sets no limit."""
    try:
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()  # version 2
    except (OSError, ValueError):
        try:
            files = (root / "cpu" / name for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
            quota, period = (file.read_text(encoding="ascii").strip() for file in files)
        except OSError:
            return math.inf
    return int(quota) / int(period) if quota.isdigit() and int(period) else math.inf  # "max", or -1


def machine() -> str:
    """Processor, cores and engine: where these are the same, so is what a model costs."""
    return f"{processor()}, {cores()} cores, ai-edge-litert {_engine()}"


@cache
def has_bfloat16() -> bool:
    """Whether it has instructions for products of bfloat16."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "").split()
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


@cache
def _engine() -> str:
    return version("ai-edge-litert")


@cache
def processor() -> str:
    """As the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
