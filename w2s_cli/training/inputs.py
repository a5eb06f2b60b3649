"""How rows go through a classifier while it is trained: as texts through the whole model, or as stored features through a head."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from w2s_cli.data.artifacts.features import unread_counts
from w2s_cli.data.artifacts.rows import Rows, read_rows
from w2s_cli.errors import UserError
from w2s_cli.training.batching import PADDED, Layout
from w2s_cli.training.models import classifier, forward_pass, probe, reward
from w2s_cli.training.stopping import EarlyStopping, early_stopping
from w2s_cli.training.targets import probabilities
from w2s_cli.training.tokens import TokenRows


class Inputs(NamedTuple):
    """How some rows go through the model."""

    forward: Callable[[list[int]], Tensor]  # row numbers → logits [rows, classes]
    lengths: np.ndarray  # [rows] what a row takes of a micro-batch, in tokens
    layout: Layout
    tokens: np.ndarray  # [rows] real ones
    longest: np.ndarray  # [rows] tokens of the row's longest text
    truncated: dict[str, Any] | None
    empty: int | None  # rows with a text of no token


def from_tokens(model: Any, tokens: TokenRows, precision: str, limit: int) -> Inputs:
    """The whole model on texts of at most `limit` tokens."""
    layout = forward_pass.layout_for(model, tokens, precision)

    def forward(piece: list[int]) -> Tensor:
        return reward.class_logits(forward_pass.on_rows(model, tokens, piece, layout, precision))

    lengths = tokens.taken(layout)
    return Inputs(forward, lengths, layout, tokens.real, tokens.longest, tokens.summary(limit), tokens.empty)


def from_features(head: nn.Module, features: Path, rows: Rows, device: torch.device) -> Inputs:
    """A head on stored features; one token a row."""
    stored = torch.from_numpy(probe.row_features(features, rows)).to(device)  # [rows, width], pairs [rows, 2, width]
    ones = np.ones(len(rows.ids), dtype=np.int64)

    def forward(piece: list[int]) -> Tensor:
        return reward.class_logits(head(stored[piece]))

    return Inputs(forward, ones, PADDED, ones, ones, *unread_counts(features))


def probe_head(model: Any, device: torch.device) -> nn.Linear:
    """The head that a probe trains in the place of the model; UserError unless the model is causal."""
    classifier.check_probed(model)
    return probe.new_head(model.score.in_features, model.config.num_labels).to(device)


def stopping(
    how: dict[str, Any] | None, edges: dict[str, Path], rows: Rows, feed: Callable[[Rows, str], Inputs]
) -> EarlyStopping | None:
    """What evaluates the validation rows and keeps the best weights; None without early stopping.

    Raises:
        UserError: no validation rows, or rows of other classes than the training rows.
    """
    if how is None:
        return None
    if "validation_rows" not in edges:
        raise UserError("early stopping needs validation rows (input validation_rows); without them use stopping=none")
    held = read_rows(edges["validation_rows"])
    if (held.outputs, len(held.classes)) != (rows.outputs, len(rows.classes)):
        raise UserError(
            f"{held.path} has the classes {held.classes}, and {rows.path} {rows.classes}: they must be the same"
        )
    held, p, _ = probabilities(held, edges.get("validation_labels"))
    held_inputs = feed(held, "validation_features")
    return early_stopping(how, held_inputs.forward, held_inputs.lengths, p, held_inputs.layout)
