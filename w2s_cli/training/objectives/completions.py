"""The training objective over texts or pairs of texts, by a rule of w2s_cli.objectives.

* A row of the training is a text, or a pair; both texts of a pair are in one micro-batch.
* Figures of the whole effective batch are the same for any micro-batches: the mean length comes from the rows, and KTO's estimate from
  passes without gradients over all of them before the first.
* Stored log-probabilities (of a reference, of weak models) are joined by row before the training. No second model is in memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_cli.errors import UserError
from w2s_cli.objectives import Batch, LogP, Rule, Side
from w2s_cli.plugins import call_code
from w2s_cli.training.batching import Layout
from w2s_cli.training.division import Whole, whole_of
from w2s_cli.training.loop import Contribution, Objective, refuse_own_fault
from w2s_cli.training.objectives import next_token
from w2s_cli.training.objectives.token_log_p import counted, token_log_p, tokens_of
from w2s_cli.training.texts import Written

Stored = Sequence[np.ndarray]  # of each row log p by token


@dataclass(frozen=True)
class Material:
    """What is learned: texts, or pairs of them, with their stored log-probabilities."""

    chosen: Sequence[Written]
    rejected: Sequence[Written] | None = None
    other: Sequence[Written] | None = None  # of each row its prompt with the chosen text of the next row, for KTO
    # "chosen", "rejected" or "other" → name of a field of `Side` → log p of each row
    stored: Mapping[str, Mapping[str, Stored]] = field(default_factory=dict)

    def side(self, name: str) -> Sequence[Written]:
        """The texts of one side."""
        texts: Sequence[Written] = getattr(self, name)
        return texts

    @property
    def sides(self) -> list[str]:
        """The sides that a micro-batch has."""
        return [name for name in ("chosen", "rejected") if self.side(name) is not None]


def layout_of(model: Any, texts: Sequence[Written], precision: str) -> Layout:
    """The layout of micro-batches of these texts."""
    return next_token.layout_of(model, [text.ids for text in texts], precision)


def objective(
    model: Any,
    material: Material,
    rule: Rule,
    precision: str,
    layout: Layout,
    *,
    draw: Callable[[float, int], None] | None = None,
) -> Objective:
    """The objective: mean over the rows of the effective batch of the rule's loss.

    `draw(progress, first row)` seeds the random numbers of a micro-batch (the dropout of adapters).
    """
    together = list(zip(*(material.side(name) for name in material.sides), strict=True))  # of each row its texts
    lengths = tokens_of(model, together, precision)
    longest = np.max([[len(text.ids) for text in material.side(name)] for name in material.sides], axis=0)
    learned = np.array([counted(text) for text in material.chosen])

    def log_p(names: Sequence[str], piece: Sequence[int]) -> dict[str, LogP]:
        """Side → its log-probabilities, of several sides in one pass."""
        texts = [material.side(name)[row] for name in names for row in piece]
        counts = [counted(text) for text in texts]
        values, at, parts = token_log_p(model, texts, layout, precision), 0, {}
        for place, name in enumerate(names):
            own = counts[place * len(piece) : (place + 1) * len(piece)]
            parts[name] = LogP(values[at : at + sum(own)], torch.tensor(own, device=model.device))
            at += sum(own)
        return parts

    def side(name: str, piece: Sequence[int], policy: LogP) -> Side:
        stored = {
            model_name: LogP(
                torch.from_numpy(np.concatenate([values[row] for row in piece])).to(model.device), policy.lengths
            )
            for model_name, values in material.stored.get(name, {}).items()
        }
        return Side(policy, **stored)

    def contributions(pieces: list[list[int]], progress: float, whole: Whole | None = None) -> Iterator[Contribution]:
        whole = whole or whole_of(pieces)
        rows = len(whole.order)
        mean_length = int(learned[whole.order].sum()) / rows
        kl = None
        if rule.needs["NEEDS_KL"]:
            gains = []
            for piece in pieces:
                if draw is not None:
                    draw(progress, piece[0])
                with torch.no_grad():
                    gains.append(side("other", piece, log_p(["other"], piece)["other"]).gain)
            kl = whole.gathered(gains).mean().clamp(min=0)
        for piece in pieces:
            if draw is not None:
                draw(progress, piece[0])
            sides = {name: side(name, piece, policy) for name, policy in log_p(material.sides, piece).items()}
            batch = Batch(sides["chosen"], sides.get("rejected"), mean_length, kl)
            loss: Tensor = call_code(f"objective {rule.name}", rule.function, batch, args=rule.args)
            _check_loss(rule.name, loss, batch, len(piece))
            sums: dict[str, Tensor | float] = {
                "loss": loss.detach().sum() / rows,
                "tokens": int(lengths[piece].sum()),
                "padded": layout.room(lengths[piece]),
            }
            if "rejected" in sides:
                margins = (sides["chosen"].gain - sides["rejected"].gain).detach()
                sums |= {"right": (margins > 0).sum(), "rows": len(piece)}
            yield Contribution(loss.sum() / rows, sums)

    return Objective(lengths, layout, contributions, longest, draws=draw is not None)


def _check_loss(name: str, loss: Any, batch: Batch, rows: int) -> None:
    """Refuse (UserError) what is no loss of each row, and on a CPU, where nothing waits for it, NaN or infinity from finite figures."""
    if not isinstance(loss, Tensor) or loss.shape != (rows,):
        given = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise UserError(f"the objective {name} must return one loss for each of {rows} rows, not {given}")
    if not loss.requires_grad:
        raise UserError(
            f"the objective {name} returns losses without a gradient: they do not depend on the policy's log-probabilities, or were "
            "detached (detach, item, no_grad)"
        )
    refuse_own_fault(f"the objective {name} gives", loss, _figures(batch), "log-probabilities", "objective")


def _figures(batch: Batch) -> Iterator[Tensor]:
    """The log-probabilities of all sides and models."""
    for side in (batch.chosen, batch.rejected):
        for log_p in (side.policy, side.reference, side.aligned, side.unaligned) if side is not None else ():
            if log_p is not None:
                yield log_p.tokens
