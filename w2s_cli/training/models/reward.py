"""Reward models: classifiers of pairs with one output, the reward r of a text (Bradley and Terry 1952).

* A pair has two texts, the first and the second; class 1 = the second is preferred. The class logits of a pair are
  [r(first), r(second)], so P(class 1) = sigmoid(r(second) − r(first)).
* The training objective is that of a classifier (`objectives/classification.py`) on these logits.
* Both texts of a pair go through the model in one forward pass.
"""

from pathlib import Path

from torch import Tensor

from w2s_cli.data.artifacts.rows import Rows
from w2s_cli.errors import UserError


def class_logits(outputs: Tensor) -> Tensor:
    """Class logits [rows, classes] from the outputs of a classifier, [rows, classes], or of a reward model, [pairs, 2, 1]."""
    return outputs.squeeze(-1) if outputs.ndim == 3 else outputs


def check_outputs(outputs: int, rows: Rows, folder: Path) -> None:
    """Refuse a reward model for single texts, and a classifier of texts for pairs; `outputs` is the model's number of outputs."""
    if rows.second is not None and outputs != 1:
        raise UserError(
            f"{folder} is a classifier of {outputs} classes, and {rows.path} holds pairs of texts: "
            "use a reward model, which is a model that was trained on pairs"
        )
    if rows.second is None and outputs == 1:
        raise UserError(
            f"{folder} is a reward model, trained on pairs of texts, and {rows.path} holds single texts: "
            "use a classifier that was trained on such rows, or a data set of pairs"
        )
