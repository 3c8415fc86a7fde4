"""What a dashboard is made of, and the queries that panels have in common.

In queries `$model` and `$namespace` are Grafana's variables, `$__rate_interval` its window for rates.
"""

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["timeseries", "stat"]

SCOPE = 'namespace=~"$namespace"'
MODEL = f'{SCOPE}, model=~"$model"'


@dataclass(frozen=True, slots=True)
class Query:
    expression: str
    legend: str = ""
    """With `{{label}}` for a label's value."""


@dataclass(frozen=True, slots=True)
class Panel:
    """`unit` in Grafana's names: reqps, s, bytes, percentunit, short; `stack` piles the series up."""

    title: str
    unit: str
    says: str
    stack: bool = False
    most: float | None = None
    """Upper end of the axis, where it has one."""
    kind: Kind = "timeseries"
    queries: tuple[Query, ...] = ()

    def ask(self, expression: str, legend: str = "") -> "Panel":
        """The same panel with one more query."""
        return replace(self, queries=(*self.queries, Query(expression, legend)))


def stat(title: str, unit: str, says: str) -> Panel:
    """A panel of one number."""
    return Panel(title, unit, says, kind="stat")


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def rate(series: str, by: str, labels: str = MODEL) -> str:
    return f"sum by ({by}) (rate({series}{{{labels}}}[$__rate_interval]))"


def quantile(share: float, series: str, by: str = "le", labels: str = MODEL) -> str:
    return f"histogram_quantile({share}, {rate(f'{series}_bucket', by, labels)})"


def mean(series: str, by: str, labels: str = MODEL) -> str:
    return f"{rate(f'{series}_sum', by, labels)} / {rate(f'{series}_count', by, labels)}"
