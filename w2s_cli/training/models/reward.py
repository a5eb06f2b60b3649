"""Reward models: one output for a text, two class logits for a pair of texts."""

from pathlib import Path

from torch import Tensor

from w2s_cli.errors import UserError
from w2s_cli.training.targets import Rows


def class_logits(found: Tensor) -> Tensor:
    """Logits [rows, classes] from a classifier's outputs [rows, classes] or a reward model's for pairs [rows, 2, 1]."""
    return found.squeeze(-1) if found.ndim == 3 else found


def check_outputs(outputs: int, rows: Rows, folder: Path) -> None:
    """Refuse a model with `outputs` outputs, from `folder`, for rows of the other form: pairs, or single texts."""
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
