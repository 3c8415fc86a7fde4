"""docs/autoscaling.md and its picture."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.autoscaling import starting, world
from benchmarks.autoscaling.controller import SYNC
from benchmarks.autoscaling.scenarios import AFTER, BEFORE, CAPACITY, END, FACTOR, NODE, Outcome, load
from benchmarks.autoscaling.starting import Start
from loadtest.markdown import markdown
from service.host.cpu import machine

_TEXT = """# Autoscaling, simulated

Written by `python -m benchmarks.autoscaling`; do not edit.

What the autoscalers of `k8s/` do when the load grows {factor}-fold from one second to the next ({calm:.0f} to
{high:.0f} requests/s), stays for {minutes:.0f} minutes and goes back. In virtual time: targets and `behavior` are read
from the manifests, the control loop is the one that Kubernetes documents (a look every {sync:.0f} s, a tolerance of a
tenth, the largest of the metrics' answers, pods that are not ready taken to use nothing). A pod answers {capacity:.0f}
requests/s within its SLO of 250 ms and refuses the rest at once, as [overload.md](overload.md) shows; how long requests
wait below that is queueing theory's (constant service times, Poisson arrivals).

## When it reacts

| | seconds |
| :--- | ---: |
| processors, by the metrics server: average since its last look | {processors:.0f} |
| series: scraped every | {scrape:.0f} |
| ... rates over the last | {window:.0f} |
| ... recorded every | {evaluation:.0f} |
| the autoscaler looks every | {sync:.0f} |
| a new pod: scheduled | {scheduled:.1f} |
| ... image pulled ({image:.0f} MB at {network:.0f} MB/s, unpacked); 0 where the node has it | {pulled:.1f} |
| ... models brought (**measured**: {model}) | {synced:.1f} |
| ... ready, its models measured on the way (**measured**) | {ready:.1f} |
| ... probed, and known to load balancers | {probed:.1f} |
| **a new pod in all** | **{total:.1f}** |
| a new node, where none has room | {node:.0f} |

What was measured was so on {machine}, whose load average was {others:.1f} before it: other work makes it
longer. The rest are assumptions to replace.

## What comes of it

{table}

![A ten-fold step under each way of scaling](images/autoscaling.png)

- **Nothing that reacts is in time for the first half minute.** The first pods come after a look, a policy's step and a
  start. Until then what cannot be answered in time is refused, and what is let in is as fast as ever. The cure is a
  floor (`minReplicas`) for the step that you expect, not a faster loop.
- **Waiting alone is a poor guide.** Below saturation nobody waits, so it says "too many" of any number that is enough,
  takes pods away until requests wait, and starts over. It belongs beside a signal in proportion to the load, for where
  that one is blind: an upstream that is full, a threshold that is wrong.
- **Processors saturate**: at 100 % they say "two thirds more" of a ten-fold load as of a double one, which takes more
  looks. Waiting and the requests/s that are offered see more of the step. The latter need a threshold, which
  [a load test](cluster.md#how-many-replicas) gives.
- **Too many pods come at first**, for the sake of the seconds: they go within minutes, and cost less than refusals.
- **Nodes to be added** cost more than everything else together: keep room for a step, with a placeholder pod of low
  priority on a node of its own.
"""


def render(outcomes: Sequence[Outcome], start: Start, model: str) -> str:
    rows = [
        (
            outcome.scenario.name,
            "never" if outcome.recovered is None else f"{outcome.recovered:.0f} s",
            f"{outcome.refused:.1%}",
            str(outcome.most),
            str(outcome.again),
        )
        for outcome in outcomes
    ]
    columns = (
        "scaled by",
        "99 % answered again after",
        "refused in the first 5 min",
        "pods at most",
        "started anew later",
    )
    return _TEXT.format(
        factor=FACTOR,
        calm=load(0),
        high=load(BEFORE),
        minutes=(AFTER - BEFORE) / 60,
        sync=SYNC,
        capacity=CAPACITY,
        processors=world.PROCESSORS,
        scrape=world.SCRAPE,
        window=world.WINDOW,
        evaluation=world.EVALUATION,
        scheduled=starting.SCHEDULED,
        image=starting.IMAGE_MB,
        network=starting.NETWORK_MB,
        pulled=start.pulled,
        model=model,
        synced=start.synced,
        ready=start.ready,
        probed=starting.PROBED,
        machine=machine(),
        others=start.others,
        total=start.total,
        node=NODE,
        table=markdown(columns, rows, text=(0,)),
    )


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(14, 6.4), layout="constrained", sharex=True, sharey=True)
    minutes = [second / 60 for second in range(END)]
    for axis, outcome in zip(axes.flat, outcomes, strict=True):
        offered = [second.offered for second in outcome.history]
        answered = [second.answered for second in outcome.history]
        able = [second.ready * outcome.scenario.pods.capacity for second in outcome.history]
        axis.fill_between(minutes, answered, offered, color="C3", alpha=0.5, linewidth=0, label="refused")
        axis.fill_between(minutes, 0, answered, color="C0", alpha=0.5, linewidth=0, label="answered in time")
        axis.plot(minutes, able, color="0.2", linewidth=1.2, label="what the ready pods can do")
        axis.set_title(outcome.scenario.name, fontsize=10, loc="left")
        axis.grid(alpha=0.25)
    for axis in axes[-1]:
        axis.set_xlabel("minutes")
    for axis in axes[:, 0]:
        axis.set_ylabel("requests/s")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
