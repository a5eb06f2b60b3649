"""Early stopping: what is kept of a training are the weights that did best on validation rows.

* Without ground truth the validation labels are the weak supervisor's, hardened: accuracy against them (Burns et al. 2023, section
  4.1 and appendix A), or AUROC against them (EleutherAI's w2s).
* All steps are run and the best weights are kept, the first of equals, unless `patience` ends the training sooner. The learning rate
  is that of the whole training either way.
* An evaluation reads the weights and changes nothing: no gradient, no random number, no optimizer state. The steps are the same
  bits as without it.
* The best weights so far are on the CPU and in every checkpoint, so a resumed training keeps the same ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from w2s_cli.context import Context
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import accuracy, auroc
from w2s_cli.training.batching import PADDED, Layout, gather


@dataclass
class Keeper:
    """Evaluates every so many steps, and holds the best weights."""

    metric: str
    every: int  # optimizer steps between two evaluations; the last step always has one
    patience: int | None  # evaluations without a gain after which it is enough; None: never
    measure: Callable[[int], float]  # micro_tokens → the metric now; larger is better
    evaluations: list[tuple[int, float]] = field(default_factory=list)  # (step, value)
    weights: dict[str, Tensor] = field(default_factory=dict)  # trainable parameters at the best one

    @property
    def best(self) -> tuple[int, float]:
        """(step, value) of the best evaluation, the first of equals."""
        return max(self.evaluations, key=lambda one: one[1])

    def due(self, step: int, *, last: bool) -> bool:
        """Whether it is time to evaluate after `step` updates."""
        return last or step % self.every == 0

    def look(self, model: nn.Module, step: int, micro_tokens: int, ctx: Context) -> bool:
        """Evaluate `model` after `step` updates; True when it is enough."""
        model.eval()
        with torch.no_grad():  # not inference mode: what a module caches here is used by the next update
            value = self.measure(micro_tokens)
        model.train()
        ctx.record_metric(step, **{f"val_{self.metric}": value})
        self.evaluations.append((step, value))
        if self.best[0] == step:
            self.weights = {name: p.detach().to("cpu", copy=True) for name, p in _trainable(model)}
        waited = sum(at > self.best[0] for at, _ in self.evaluations)
        return self.patience is not None and waited >= self.patience

    def restore(self, evaluations: list[list[float]], weights: dict[str, Tensor]) -> None:
        """Go on from what a checkpoint holds."""
        self.evaluations = [(int(step), value) for step, value in evaluations]
        self.weights = weights

    def put_back(self, model: nn.Module) -> None:
        """Give `model` the best weights."""
        with torch.no_grad():
            for name, parameter in _trainable(model):
                parameter.copy_(self.weights[name])

    def figures(self) -> dict[str, Any]:
        """For the stage's metrics."""
        step, value = self.best
        return {"best_step": step, "best_value": value, "evaluations": [[at, found] for at, found in self.evaluations]}


def keeper(
    stopping: dict[str, Any],
    forward: Callable[[list[int]], Tensor],
    lengths: np.ndarray,
    labels: np.ndarray,
    layout: Layout = PADDED,
) -> Keeper:
    """A keeper for a classifier.

    Args:
        stopping: metric "accuracy" | "auroc", every (steps), patience (may be absent).
        forward: row numbers of the validation rows → logits [rows, classes].
        lengths: [rows] in tokens.
        labels: [rows, classes] probabilities; the class of a row is the one with the largest, so for two classes 1 where p > 0.5.

    Raises:
        UserError: an unknown metric, no positive number of steps, or a class without rows where the metric needs all.
    """
    metric, every, patience = stopping["metric"], stopping["every"], stopping.get("patience")
    for name, value in (("every", every), ("patience", 1 if patience is None else patience)):
        if int(value) != value or value < 1:
            raise UserError(f"stopping.{name}={value}: it must be a whole number from 1 up")
    if metric not in ("accuracy", "auroc"):
        raise UserError(f'stopping.metric={metric} is unknown; use "accuracy" or "auroc"')
    figure = accuracy if metric == "accuracy" else auroc
    classes = labels.argmax(1).astype(np.int64)  # [rows]
    if figure(np.zeros(labels.shape), classes) is None:
        raise UserError(
            f"stopping.metric=auroc needs validation labels of every class, and {len(classes)} rows have only the classes "
            f"{np.unique(classes).tolist()}: use stopping.metric=accuracy, or more validation rows"
        )

    def measure(micro_tokens: int) -> float:
        logits = gather(forward, lengths, micro_tokens, layout).astype(np.float64)  # [rows, classes]
        if not np.isfinite(logits).all():
            raise UserError("the logits of validation rows are not numbers: lower the learning rate")
        value = figure(logits, classes)
        assert value is not None
        return value

    return Keeper(metric, int(every), None if patience is None else int(patience), measure)


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
