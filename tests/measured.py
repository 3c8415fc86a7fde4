"""Runs such as a sweep finds, made up: queues simulated, so that curves bend where they would."""

import random
from datetime import UTC, datetime
from math import exp

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


def run(seed: int = 1, seconds: float = 10, slower: float = 1.0, networks: int = len(NETWORKS)) -> Run:
    """Every network at six shares of what it can do; `slower` multiplies the time of its model."""
    draw = random.Random(seed)
    names = list(NETWORKS)[:networks]
    return Run(
        started=datetime(2026, 11, 21, 18, 30, tzinfo=UTC),
        machine={"processor": "AMD EPYC", "cores": "2 cores", "memory": "24 GiB", "python": "3.11.7"},
        service="python -m service --workers 1",
        method={"scenario": "steps", "slo_ms": "100", "seconds": f"{seconds:g}", "warm_up": "2 s"},
        price_per_hour=0.085,
        subjects=[_subject(draw, name, seconds, slower) for name in names],
    )


def _subject(draw: random.Random, name: str, seconds: float, slower: float) -> Subject:
    cost, parameters = NETWORKS[name]
    service = (1.2 + cost * slower) / 1000  # and decoding
    able = 1.6 / service
    points = [_point(draw, service, able * share, seconds) for share in _LOADS]
    capacity = Capacity(able * 0.86, able * 0.82, able * 0.89, 100, 4000)
    size = parameters * 1.02
    return Subject(name, 1, name, "int8", 224, parameters, int(size), None, None, points, capacity)


def _point(draw: random.Random, service: float, rate: float, seconds: float) -> Point:
    """Poisson arrivals at two servers, whoever waits longer than two seconds is refused."""
    free, now = [0.0, 0.0], 0.0
    waited, answers, requests = 0.0, 0, 0
    latencies, errors = Latencies(), dict[str, int]()
    while (now := now + draw.expovariate(rate)) < seconds:
        requests += 1
        soonest = min(range(2), key=free.__getitem__)
        begins = max(now, free[soonest])
        if begins - now > 2:
            errors["429"] = errors.get("429", 0) + 1
            continue
        free[soonest] = begins + service * draw.lognormvariate(0, 0.08)
        latencies.add(free[soonest] - now + 0.0008 * draw.lognormvariate(0, 0.3))
        waited += begins - now
        answers += 1
    batch = (
        {1: int(answers * 0.8), 2: int(answers * 0.15) + 1, 4: int(answers * 0.02)}
        if rate * service > 0.5
        else {1: answers}
    )
    stages = {
        "read": 0.05,
        "decode": 1.1,
        "queue": 1000 * waited / max(1, answers),
        "batch": 0.1,
        "compute": 1000 * service - 1.1,
        "transport": 0.8,
    }
    return Point(
        "steps",
        "locust",
        "predict",
        seconds,
        latencies,
        requests,
        rate,
        None,
        errors,
        None,
        stages,
        batch,
        answers * service,
        180 + 9000 * service * exp(draw.gauss(0, 0.05)),
        0.2,
    )
