"""Combinations of strategies: the strategies that one deployment has turned on together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, conlist, create_model

from planner import strategies
from planner.errors import PlannerError
from planner.json_files import read_json
from planner.strategies.protocol import Parameters, Strategy

NAME = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")]  # fits on one line of a table


@dataclass(frozen=True)
class Combination:
    """Strategies that are on together, at most one of each kind, with the name that the results show."""

    name: str
    strategies: tuple[Strategy, ...] = ()

    def dump(self) -> dict[str, Any]:
        """Return the combination as an object of a strategies file."""
        return {"name": self.name, **{strategy.key: strategy.dump() for strategy in self.strategies}}

    def render_terraform(self) -> str:
        """Return Terraform's variable `warming` for a deployment that has exactly these strategies on."""
        chosen = {strategy.key: strategy.render_terraform() for strategy in self.strategies}
        attributes = [chosen.get(kind.key, kind.terraform_off) for kind in strategies.STRATEGIES]
        return "\n".join(["warming = {", *(f"  {attribute}" for attribute in attributes if attribute), "}"])


def build_default_combinations(parameters: Parameters) -> list[Combination]:
    """Return no strategy, then each strategy alone, then further examples, then strategies that suit each other.

    Raises:
        PlannerError: If an option of the command line is not valid.
    """
    examples = {kind.key: kind.build_examples(parameters) for kind in strategies.STRATEGIES}
    alone = {key: next(iter(named.items())) for key, named in examples.items()}
    further = [one for named in examples.values() for one in list(named.items())[1:]]
    together = [[alone[kind.key] for kind in kinds] for kinds in strategies.TOGETHER]
    return [
        Combination("none"),
        *(Combination(name, (strategy,)) for name, strategy in [*alone.values(), *further]),
        *(Combination(" + ".join(name for name, _ in pairs), tuple(one for _, one in pairs)) for pairs in together),
    ]


def read_combinations(path: Path) -> list[Combination]:
    """Return the combinations of a strategies file: a JSON list of objects with a `name` and a key per strategy.

    Raises:
        PlannerError: If the file cannot be read, or its content is not valid.
    """
    kind = TypeAdapter(conlist(_build_file_model(), min_length=1))
    combinations = [_combine(one) for one in read_json(path, kind, field="strategies")]
    name, count = Counter(one.name for one in combinations).most_common(1)[0]
    if count > 1:
        raise PlannerError("strategies", f"{count} of them have the name {name!r}")
    return combinations


def check_combinations(combinations: Sequence[Combination], *, account_limit: int) -> None:
    """Check that each combination can be simulated.

    Raises:
        PlannerError: If a strategy's check fails, such as for windows that overlap.
    """
    for combination in combinations:
        for strategy in combination.strategies:
            others = [other for other in combination.strategies if other is not strategy]
            strategy.check(others, account_limit, f"{combination.name}, {strategy.key}")


def _build_file_model() -> type[BaseModel]:
    """Return the model of one object in a strategies file, with a field per registered strategy."""
    fields: dict[str, Any] = {kind.key: (kind.file_type() | None, None) for kind in strategies.STRATEGIES}
    config = ConfigDict(extra="forbid", frozen=True, strict=True)
    return create_model("Combination", __config__=config, name=(NAME, ...), **fields)


def _combine(entry: Any) -> Combination:
    values = (getattr(entry, kind.key) for kind in strategies.STRATEGIES)
    return Combination(entry.name, tuple(one for one in values if one is not None))
