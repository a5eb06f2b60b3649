"""The pairs of models that a sweep runs: `pairs=upper` keeps the pairs with a weak model no larger than the strong one.

The order is by `parameters` of configs/model/*.yaml (millions). `upper` keeps the pair of a model with itself, like the sweep of the W2SG
reference code; `strict` does not.
"""

from typing import Any

from w2s_cli.config.sweeps import Composed
from w2s_cli.errors import UserError


def keep(jobs: list[Composed]) -> tuple[list[Composed], int]:
    """The jobs whose pair of models satisfies their `pairs` rule, and the number of the other jobs.

    Raises:
        UserError: a model has no size, or no pair is left.
    """
    kept = [job for job in jobs if _fits(job.values)]
    if not kept:
        rule = jobs[0].values["pairs"]
        raise UserError(
            f"pairs={rule} leaves no pair of models: set pairs=all, or choose a weak model smaller than the strong one."
        )
    return kept, len(jobs) - len(kept)


def _fits(config: dict[str, Any]) -> bool:
    if config["pairs"] == "all":
        return True
    weak, strong = (_size(config[role], role, config["pairs"]) for role in ("weak", "strong"))
    return fits(config["pairs"], weak, strong)


def fits(rule: str, weak: float, strong: float) -> bool:
    """Whether the rule all | upper | strict keeps a pair of models of these sizes."""
    return {"all": True, "upper": weak <= strong, "strict": weak < strong}[rule]


def _size(model: dict[str, Any], role: str, rule: str) -> float:
    if model["parameters"] is None:
        raise UserError(
            f'pairs={rule} orders models by size, and the size of "{model["name"]}" is unknown: set '
            f"{role}.parameters=MILLIONS, or pairs=all."
        )
    return float(model["parameters"])
