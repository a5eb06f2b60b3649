"""Which pairs of a sweep's models are worth running: `pairs=upper` keeps weak models that are no larger than the strong one.

The order is by `parameters` of configs/model/*.yaml (millions). `upper` keeps a model with itself, as the W2SG reference code's sweep does;
`strict` does not.
"""

from typing import Any

from w2s_cli.config.sweeps import Composed
from w2s_cli.errors import UserError


def keep(jobs: list[Composed]) -> tuple[list[Composed], int]:
    """The jobs whose pair of models fits their `pairs` rule, and how many were left out.

    Raises:
        UserError: a model has no size, or no pair is left.
    """
    kept = [job for job in jobs if _fits(job.values)]
    if not kept:
        rule = jobs[0].values["pairs"]
        raise UserError(
            f"pairs={rule} leaves no pair: every weak model is larger than the strong one; pairs=all runs them."
        )
    return kept, len(jobs) - len(kept)


def _fits(config: dict[str, Any]) -> bool:
    if config["pairs"] == "all":
        return True
    weak, strong = (_size(config[role], role, config["pairs"]) for role in ("weak", "strong"))
    return fits(config["pairs"], weak, strong)


def fits(rule: str, weak: float, strong: float) -> bool:
    """Whether a pair of models of these sizes is run under the rule all | upper | strict."""
    return {"all": True, "upper": weak <= strong, "strict": weak < strong}[rule]


def _size(model: dict[str, Any], role: str, rule: str) -> float:
    if model["parameters"] is None:
        raise UserError(
            f'pairs={rule} orders models by size, and "{model["name"]}" has none: '
            f"{role}.parameters=MILLIONS, or pairs=all."
        )
    return float(model["parameters"])
