"""Runs such as a sweep finds, made up: queues simulated, so that curves bend where they would."""

import random
from collections import Counter
from datetime import UTC, datetime

from loadtest.results import Capacity, Latencies, Point, Run, Subject

NETWORKS = {
    "lenet5": (0.05, 61_706),
    "mobilenet": (2.06, 4_253_864),
    "mobilenet_v2": (1.72, 3_538_984),
    "mobilenet_v3_small": (0.91, 2_554_968),
    "mobilenet_v3_large": (1.53, 5_507_432),
    "efficientnet_b0": (3.06, 5_330_571),
    "efficientnet_b1": (4.6, 7_856_239),
    "efficientnet_b2": (5.9, 9_177_569),
    "efficientnet_b3": (9.1, 12_320_535),
    "efficientnet_b4": (21, 19_466_823),
    "efficientnet_v2_b0": (3.18, 7_200_312),
    "efficientnet_v2_b1": (4.4, 8_212_124),
    "efficientnet_v2_b2": (5.6, 10_178_374),
    "efficientnet_v2_b3": (8.2, 14_467_622),
    "efficientnet_v2_s": (22, 21_612_360),
    "nasnet_mobile": (20.2, 5_326_716),
    "resnet50": (11.3, 25_636_712),
    "resnet101": (21.5, 44_707_176),
    "resnet152": (32, 60_419_944),
    "densenet121": (12.4, 8_062_504),
    "densenet201": (21, 20_242_984),
    "inception_v3": (15.9, 23_851_784),
    "xception": (25, 22_910_480),
    "convnext_tiny": (36, 28_589_128),
}
"""Name -> milliseconds of an image, parameters."""
_LOADS = (0.1, 0.3, 0.5, 0.7, 0.85, 1.1)
_SLOTS, _PATIENCE = 2, 2.0
_STRETCHES = 10


def run(seed: int = 1, seconds: float = 10, slower: float = 1.0, networks: int = len(NETWORKS)) -> Run:
    """Every network at six rates, shares of what it can do; `slower` multiplies what its model takes, not the rates."""
    draw = random.Random(seed)
    return Run(
        started=datetime(2026, 11, 21, 18, 30, tzinfo=UTC),
        machine={"processor": "AMD EPYC", "cores": "2", "memory": "24 GiB", "python": "3.11.7"},
        service="python -m service --workers 1",
        method={"scenario": "steps", "slo": "100 ms at p99", "seconds": f"{seconds:g}", "warm-up": "2 s"},
        price_per_hour=0.085,
        subjects=[_subject(draw, name, seconds, slower) for name in list(NETWORKS)[:networks]],
    )


def _subject(draw: random.Random, name: str, seconds: float, slower: float) -> Subject:
    cost, parameters = NETWORKS[name]
    usual, now = (_whole(each) for each in (cost, cost * slower))
    points = [point(draw, now, _SLOTS * share / usual, seconds) for share in _LOADS]
    able = 0.8 * _SLOTS / now
    return Subject(
        model=name,
        version=1,
        architecture=name,
        precision="int8",
        image_size=224,
        parameters=parameters,
        bytes_on_disk=int(parameters * 1.02),
        points=points,
        capacity=Capacity(able, able * 0.95, able * 1.04, 100, 4000),
    )


def _whole(model_ms: float) -> float:
    """Seconds, with decoding."""
    return (1.2 + model_ms) / 1000


def point(draw: random.Random, service: float, rate: float, seconds: float) -> Point:
    """Poisson arrivals, two at a time; whoever would wait longer than two seconds is refused."""
    free, now = [0.0] * _SLOTS, 0.0
    waited, requests = 0.0, 0
    latencies, errors, stretches = Latencies(), Counter[str](), [Latencies() for _ in range(_STRETCHES)]
    while (now := now + draw.expovariate(rate)) < seconds:
        requests += 1
        soonest = min(range(_SLOTS), key=free.__getitem__)
        begins = max(now, free[soonest])
        if begins - now > _PATIENCE:
            errors["429"] += 1
            continue
        free[soonest] = begins + service * draw.lognormvariate(0, 0.08)
        waited += begins - now
        taken = free[soonest] - now + 0.0008 * draw.lognormvariate(0, 0.3)
        latencies.add(taken)
        stretches[int(_STRETCHES * now / seconds)].add(taken)
    answers = max(1, len(latencies))
    return Point(
        scenario="steps",
        tool="locust",
        protocol="predict",
        seconds=max(seconds, *free),
        latencies=latencies,
        requests=requests,
        offered=rate,
        errors=dict(errors),
        stages={
            "read": 0.05,
            "decode": 1.1,
            "queue": 1000 * waited / answers,
            "compute": 1000 * service - 1.1,
            "transport": 0.8,
        },
        batches={1: answers} if rate * service < 1 else {1: answers // 2, 2: answers // 5, 4: answers // 40 + 1},
        server_cpu_seconds=answers * service,
        server_memory_mb=180 + 9000 * service * draw.gauss(1, 0.05),
        generator_cpu_share=0.2,
        stretches=stretches,
    )
