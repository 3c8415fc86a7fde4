"""Where a call goes: routes as frozen values, and the plan that they make for one call. `router` carries it out.

    client's name ──> Route ──split or ensemble──> target ──> another Route, or a model's version

A target with a version is always a model's. A target without one is the route of that name, if there is one, except
inside that very route: so a route may carry its model's name, and clients need not change.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from math import log

from service.errors import InvalidInput, NotFound
from service.types import ModelRef


@dataclass(frozen=True, slots=True)
class Weighted:
    target: ModelRef
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Members whose probabilities are averaged by weight; at least `quorum` of them must answer."""

    members: tuple[Weighted, ...]
    quorum: int


@dataclass(frozen=True, slots=True)
class Shadow:
    """A target that gets a `share` of the calls too, for comparison: at most `max_in_flight` at a time, each for up to
    `deadline` seconds.
    """

    target: ModelRef
    share: float
    deadline: float
    max_in_flight: int


@dataclass(frozen=True, slots=True)
class Route:
    """A name for clients. It has a `split` (of one target, or several) or an `ensemble`.

    `latency_slo` (seconds) is the deadline of calls without one. Without `batching` its calls share no batches; for a
    route of a model's own name that holds for all calls of the model. `model` is the one model that every target leads
    to; empty where there are several.
    """

    name: str
    split: tuple[Weighted, ...] = ()
    ensemble: Ensemble | None = None
    labels: Mapping[str, ModelRef] = field(default_factory=dict)
    fallback: tuple[ModelRef, ...] = ()
    shadow: Shadow | None = None
    max_in_flight: int | None = None
    max_rows: int | None = None
    latency_slo: float | None = None
    batching: bool = True
    model: str = ""

    @property
    def primaries(self) -> tuple[Weighted, ...]:
        """The targets that may answer first."""
        return self.split if self.ensemble is None else self.ensemble.members

    @property
    def alias_of(self) -> str:
        """The name that the route is an alias of; empty where it has a choice to make."""
        if len(self.split) != 1 or (target := self.split[0].target).version is not None or target.label is not None:
            return ""
        return target.name

    def targets(self) -> Iterator[ModelRef]:
        """Every target named in the route."""
        yield from (weighted.target for weighted in self.primaries)
        yield from self.fallback
        yield from self.labels.values()
        if self.shadow is not None:
            yield self.shadow.target


@dataclass(frozen=True, slots=True)
class Average:
    """Runs all `members` (steps and weights) and averages their answers; at least `quorum` must answer."""

    members: tuple[tuple["ModelRef | Plan", float], ...]
    quorum: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What one call on `route` does: the first of `steps`, the next where it fails, and so on, and `shadow` besides.
    `exact`: the client chose the version.
    """

    route: Route
    steps: tuple["Step", ...]
    shadow: "ModelRef | Plan | None" = None
    exact: bool = False


Step = ModelRef | Plan | Average


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes in force: one value, replaced as a whole. Acyclic, every weight sum above 0 (`schema` checks)."""

    by_name: Mapping[str, Route] = field(default_factory=dict)
    only_routes: bool = False

    def plan(self, ref: ModelRef, key: str, chance: random.Random) -> Plan | ModelRef:
        """What a call for `ref` does. Calls with the same `key` go the same way; those without one go by `chance`.

        Raises NotFound or InvalidInput where `ref` names no route, or no version or label of one.
        """
        route = self.by_name.get(ref.name)
        if route is None:
            if self.only_routes:
                raise NotFound(f"Servable not found: {ref.as_servable()}; only routes are served here", models=[])
            return ref
        if ref.version is not None or ref.label is not None:  # that version: no split, no fallback, no shadow
            return self._exactly(route, ref)
        return self._plan(route, key, chance)

    def stands_for(self, ref: ModelRef) -> ModelRef:
        """The version that describes `ref`: the one that answers most calls, or an ensemble's first member.

        Raises as `plan` does.
        """
        return self._main_way(ref)[-1]

    def batching(self, ref: ModelRef) -> bool:
        """Whether calls for `ref` may share batches on their way to the version that describes it.

        Raises as `plan` does.
        """
        routes, version = self._main_way(ref)
        return self.model_batching(version.name) and all(route.batching for route in routes)

    def model_batching(self, name: str) -> bool:
        """Whether the route of the model's own name, if there is one, lets its calls share batches."""
        return name not in self.by_name or self.by_name[name].batching

    def leads_to(self, name: str) -> set[str]:
        """Every route and model that a call for `name` may reach, `name` itself too where it is a route."""
        found: set[str] = set()
        waiting = [name] if name in self.by_name else []
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += [target.name for target in self.by_name[one].targets()] if one in self.by_name else []
        return found

    def labels_of(self, name: str) -> set[str]:
        """Every label configured for `name`, or for a route that it is an alias of."""
        route = self.by_name.get(name)
        if route is None:
            return set()
        return {*route.labels, *(self.labels_of(route.alias_of) if route.alias_of != name else ())}

    def latency_slo(self, name: str) -> float | None:
        """Seconds that a call for `name` may take without a deadline of its own: by the route, or by its target."""
        route = self.by_name.get(name)
        if route is None or route.latency_slo is not None or route.alias_of in ("", name):
            return None if route is None else route.latency_slo
        return self.latency_slo(route.alias_of)

    def _main_way(self, ref: ModelRef) -> tuple[list[Route], ModelRef]:
        """The routes on the way to the version that describes `ref`, and that version."""
        chance = random.Random(0)
        step: Step = self.plan(ref, "", chance)
        routes = []
        while not isinstance(step, ModelRef):
            if isinstance(step, Average):
                step = step.members[0][0]
                continue
            routes.append(step.route)
            if step.exact or step.route.ensemble is not None:
                step = step.steps[0]
            else:
                heaviest = max(step.route.split, key=lambda one: one.weight)
                step = self._step(step.route, heaviest.target, "", chance)
        return routes, step

    def _plan(self, route: Route, key: str, chance: random.Random) -> Plan:
        def step(target: ModelRef) -> ModelRef | Plan:
            return self._step(route, target, key, chance)

        first: Step
        if route.ensemble is None:
            first = step(choose(route.name, route.split, key, chance))
        else:
            members = tuple((step(member.target), member.weight) for member in route.ensemble.members)
            first = Average(members, route.ensemble.quorum)
        shadow = None
        if route.shadow is not None and chance.random() < route.shadow.share:
            shadow = step(route.shadow.target)
        others = [other for other in map(step, route.fallback) if other != first]
        return Plan(route, (first, *others), None if shadow == first else shadow)

    def _step(self, inside: Route, target: ModelRef, key: str, chance: random.Random) -> ModelRef | Plan:
        if target.name == inside.name:
            return target if target.label is None else inside.labels.get(target.label, target)
        route = self.by_name.get(target.name)
        if route is None or target.version is not None:
            return target
        if target.label is not None:
            return self._exactly(route, target)
        return self._plan(route, key, chance)

    def _exactly(self, route: Route, ref: ModelRef) -> Plan:
        """The version that `ref`'s number or label means on `route`, or on the route that it is an alias of."""
        if ref.label is not None and ref.label in route.labels:
            return Plan(route, (route.labels[ref.label],), exact=True)
        if (other := route.alias_of) and other != route.name and other in self.by_name:
            return Plan(route, (self._exactly(self.by_name[other], replace(ref, name=other)),), exact=True)
        if route.model:
            return Plan(route, (replace(ref, name=route.model),), exact=True)
        if ref.label is not None:
            raise InvalidInput(
                f"route {route.name!r} has no version label {ref.label!r}; labels here: {sorted(route.labels)}",
                labels=sorted(route.labels),
            )
        names = " or ".join(dict.fromkeys(weighted.target.name for weighted in route.primaries))
        raise NotFound(
            f"Servable not found: {ref.as_servable()}; route {route.name!r} leads to several models, so a version says "
            f"nothing: ask for one of them, {names}, or without a version"
        )


def choose(route: str, split: tuple[Weighted, ...], key: str, chance: random.Random) -> ModelRef:
    """One target of a split by weight, the same for the same key in every process (weighted rendezvous hashing).

    Each target draws a number from the key and its name, which its weight scales: a changed weight moves keys only to
    or from the targets whose share it changes.
    """
    if len(split) == 1:
        return split[0].target
    if not key:
        return chance.choices([one.target for one in split], [one.weight for one in split])[0]
    return min(
        (one for one in split if one.weight > 0), key=lambda one: _draw(route, one.target, key) / one.weight
    ).target


def _draw(route: str, target: ModelRef, key: str) -> float:
    """Exponentially distributed: of several draws, each divided by its weight, the smallest wins by weight."""
    digest = blake2b(f"{route}\0{target}\0{key}".encode(errors="replace"), digest_size=8).digest()
    return -log((int.from_bytes(digest) + 0.5) / 2**64)
