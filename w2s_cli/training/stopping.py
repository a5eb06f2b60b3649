"""Early stopping: a training ends with the weights that were best on validation rows.

* Without ground truth the validation labels are the weak supervisor's, hardened: accuracy against them (Burns et al. 2023, section
  4.1 and appendix A), or AUROC against them (EleutherAI's w2s).
* All steps run unless `patience` ends the training sooner. The best weights are kept (the earliest of equal ones). The schedule of
  the learning rate is the same with and without `patience`.
* An evaluation only reads the weights: it changes no gradient, no random state and no optimizer state, so the steps are the same
  bits as without evaluations.
* Several processes each evaluate a share of the rows and compare the same logits, so they decide alike.
* The best weights are on the CPU and in every checkpoint, so a resumed training has the same best weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import accuracy, auroc, predicted
from w2s_cli.store.context import Context
from w2s_cli.training.batching import PADDED, Layout
from w2s_cli.training.memory import Budget, gather_together
from w2s_cli.training.sharding import local


@dataclass
class EarlyStopping:
    """Evaluates the model at regular steps, and holds the best weights."""

    metric: str
    every: int  # optimizer steps between two evaluations; the last step always has an evaluation
    patience: int | None  # evaluations without a gain after which the training ends; None: never
    measure: Callable[[Budget], float]  # the metric of the present weights; larger is better
    evaluations: list[tuple[int, float]] = field(default_factory=list)  # (step, value)
    weights: dict[str, Tensor] = field(
        default_factory=dict
    )  # trainable parameters at the best evaluation; of those in parts this process's

    @property
    def best(self) -> tuple[int, float]:
        """(step, value) of the best evaluation, the earliest of equal ones."""
        return max(self.evaluations, key=lambda evaluation: evaluation[1])

    def due(self, step: int, *, last: bool) -> bool:
        """Whether an evaluation is due after `step` updates."""
        return last or step % self.every == 0

    def evaluate(self, model: nn.Module, step: int, budget: Budget, ctx: Context) -> bool:
        """Evaluate `model` after `step` updates; True when `patience` is used up."""
        model.eval()
        with torch.no_grad():  # not inference mode: the next update uses what modules cache here
            value = self.measure(budget)
        model.train()
        ctx.record_metric(step, **{f"val_{self.metric}": value})
        self.evaluations.append((step, value))
        if self.best[0] == step:
            self.weights = {name: local(p.detach()).to("cpu", copy=True) for name, p in _trainable(model)}
        without_gain = sum(at > self.best[0] for at, _ in self.evaluations)
        return self.patience is not None and without_gain >= self.patience

    def restore(self, evaluations: list[list[float]], weights: dict[str, Tensor]) -> None:
        """Take the evaluations and the best weights of a checkpoint."""
        self.evaluations = [(int(step), value) for step, value in evaluations]
        self.weights = weights

    def restore_best_weights(self, model: nn.Module) -> None:
        """Give `model` the best weights."""
        with torch.no_grad():
            for name, parameter in _trainable(model):
                local(parameter).copy_(self.weights[name])

    def figures(self) -> dict[str, Any]:
        """The best evaluation and all evaluations, for the stage's metrics."""
        step, value = self.best
        return {
            "best_step": step,
            "best_value": value,
            "evaluations": [list(evaluation) for evaluation in self.evaluations],
        }


def early_stopping(
    stopping: dict[str, Any],
    forward: Callable[[list[int]], Tensor],
    lengths: np.ndarray,
    labels: np.ndarray,
    layout: Layout = PADDED,
) -> EarlyStopping:
    """Early stopping for a classifier.

    Args:
        stopping: metric "accuracy" | "auroc", every (steps), patience (evaluations; optional).
        forward: row numbers of the validation rows → logits [rows, classes].
        lengths: [rows] in tokens.
        labels: [rows, classes] probabilities; the class of a row has the largest probability (of two classes: 1 where p > 0.5).

    Raises:
        UserError: an unknown metric, a number of steps below 1, or (AUROC) a class without rows.
    """
    metric, every, patience = stopping["metric"], stopping["every"], stopping.get("patience")
    for name, value in (("every", every), ("patience", 1 if patience is None else patience)):
        if int(value) != value or value < 1:
            raise UserError(f"stopping.{name}={value}: it must be a whole number from 1 up")
    if metric not in ("accuracy", "auroc"):
        raise UserError(f'stopping.metric={metric} is unknown; use "accuracy" or "auroc"')
    figure = accuracy if metric == "accuracy" else auroc
    classes = predicted(labels)  # [rows]
    if figure(np.zeros(labels.shape), classes) is None:
        raise UserError(
            f"stopping.metric=auroc needs validation labels of every class, and {len(classes)} rows have only the classes "
            f"{np.unique(classes).tolist()}: use stopping.metric=accuracy, or more validation rows"
        )

    def measure(budget: Budget) -> float:
        logits = gather_together(forward, lengths, budget, layout).astype(np.float64)  # [rows, classes]
        if not np.isfinite(logits).all():
            raise UserError("the logits of validation rows are not numbers: lower the learning rate")
        value = figure(logits, classes)
        assert value is not None
        return value

    return EarlyStopping(metric, int(every), None if patience is None else int(patience), measure)


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
