"""The metrics of graded answers: accuracy, PGR or RGR, pass@k, maj@k, by level; of one run, or of several seeds of one setting.

* The accuracy of a row is the mean over its samples; with one greedy text it is right or wrong. The bootstrap over seeds and rows is the
  one of classifiers (`intervals.py`).
* The floor of the ratio is the method's choice: the weak supervisor (PGR, Burns et al. 2023), or the student before the training (RGR,
  Yuan et al. 2025). Every other role is reported beside it, so that a gain over a floor can be told from a gain over prompting.
* pass@k is the unbiased estimate 1 − C(n−c, k)/C(n, k) (Chen et al. 2021). maj@k: the share of groups of k samples, one after another, of
  which the majority's answer is right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2s_cli.statistics import ROLES
from w2s_cli.statistics.figures import Booleans, Floats, Integers, as_json
from w2s_cli.statistics.intervals import bootstrap_means, interval, share_interval
from w2s_cli.statistics.levels import in_order
from w2s_cli.statistics.majority import modal_answer
from w2s_cli.statistics.planning import noise
from w2s_cli.statistics.report import DIFFERENCES, recovered_figures

COUNTS = ("right", "well_formed", "cut", "tokens", "samples")  # fields of `Answers` that are numbers


@dataclass(frozen=True)
class Answers:
    """One role's graded answers; every field but the last is [seeds, rows]."""

    right: Integers  # number of right samples
    well_formed: Integers
    cut: Integers
    tokens: Integers  # of all samples
    samples: Integers
    votes: Floats  # [seeds, rows, sizes] share of groups of samples whose most frequent answer is right, for the sizes of `sizes`

    @property
    def cells(self) -> Floats:
        """The accuracy of each row, [seeds, rows]."""
        return np.asarray(self.right / self.samples, dtype=np.float64)

    def of_rows(self, places: Sequence[int]) -> "Answers":
        """The answers to some of the rows."""
        return Answers(**{name: getattr(self, name)[:, places] for name in (*COUNTS, "votes")})

    @classmethod
    def joined(cls, runs: "Sequence[Answers]") -> "Answers":
        """Runs of one seed each as one table."""
        return cls(**{name: np.concatenate([getattr(run, name) for run in runs]) for name in (*COUNTS, "votes")})


def sizes(samples: int) -> list[int]:
    """The numbers k of samples for which pass@k and maj@k are given; the last one is all samples."""
    return [*(k for k in (1, 2, 5, 10, 20, 50, 100) if k < samples), samples]


def votes_right(answers: NDArray[np.object_], right: Booleans) -> Floats:
    """The share of groups of k samples whose majority is right, [rows, sizes], of [rows, samples]; a group that is not full is left out."""
    count = right.shape[1]
    votes = []
    for k in sizes(count):
        groups = [slice(start, start + k) for start in range(0, count - k + 1, k)]
        votes.append(np.mean([majority_right(answers[:, group], right[:, group]) for group in groups], axis=0))
    return np.stack(votes, axis=1)


def majority_right(answers: NDArray[np.object_], right: Booleans) -> Booleans:
    """Whether the most frequent answer of each row is right, [rows], of [rows, samples]; "" is no answer. Ties go to the first one."""
    results = np.zeros(len(answers), dtype=np.bool_)
    for row, samples in enumerate(answers.tolist()):
        modal = modal_answer(samples)
        if modal is not None:
            results[row] = bool(right[row][samples.index(modal)])
    return results


def pass_at(k: int, right: Integers, samples: Integers) -> Floats:
    """The chance that one of k drawn samples is right, for each entry (Chen et al. 2021, equation 1)."""
    missed = np.ones(right.shape, dtype=np.float64)
    for drawn in range(k):  # C(n−c, k) / C(n, k) as a product
        missed *= np.maximum(samples - right - drawn, 0) / (samples - drawn)
    return 1 - missed


def report(
    answers: Mapping[str, Answers],
    levels: Sequence[str] | None,
    *,
    floor: str,
    draws: int,
    confidence: float,
    redrawn: bool = False,
) -> dict[str, Any]:
    """Metrics of the roles in `answers`; all have the same test rows in the same order.

    Args:
        answers: role → its answers: those of ROLES, and further ones (better, untuned, cot, prompted).
        levels: [rows] level of each test row.
        floor: the role that PGR starts from.
        draws: of the bootstrap.
        confidence: of the intervals.
        redrawn: each seed drew its own training rows.

    Returns:
        rows, seeds, confidence, noise, floor, a block for each role of ROLES, others {role: block}, differences, pgr, levels.
    """
    seeds, rows = next(iter(answers.values())).right.shape
    cells = {role: own.cells for role, own in answers.items()}
    moved = bootstrap_means(np.stack(list(cells.values()), axis=-1), draws)
    sample = dict(zip(cells, moved.T, strict=True))  # role → [draws]
    metrics: dict[str, Any] = {
        "rows": rows,
        "seeds": seeds,
        "confidence": confidence,
        "noise": noise(seeds, redrawn=redrawn),
        "floor": floor,
    }
    blocks = {role: _role(own, cells[role], sample[role], draws, confidence) for role, own in answers.items()}
    metrics |= {role: block for role, block in blocks.items() if role in ROLES}
    metrics["others"] = {role: block for role, block in blocks.items() if role not in ROLES}
    mean = {role: float(cell.mean()) for role, cell in cells.items()}
    further = [("student", role) for role in answers if role not in ROLES]
    metrics["differences"] = {
        f"{more}_minus_{less}": {
            "value": mean[more] - mean[less],
            "interval": list(interval(sample[more] - sample[less], confidence)),
        }
        for more, less in (*DIFFERENCES, *further)
        if more in answers and less in answers
    }
    if all(role in answers for role in (floor, "student", "ceiling")):
        three = {
            "weak": floor,
            "student": "student",
            "ceiling": "ceiling",
        }  # the floor stands where the weak supervisor does
        per_seed = {place: blocks[role]["per_seed"]["accuracy"] for place, role in three.items()}
        metrics["pgr"] = recovered_figures(per_seed, {place: sample[role] for place, role in three.items()}, confidence)
    if levels is not None:
        names = np.array(levels)
        metrics["levels"] = {
            level: {
                "rows": int((names == level).sum()),
                **{role: float(cell[:, names == level].mean()) for role, cell in cells.items()},
            }
            for level in in_order(levels)
        }
    plain: dict[str, Any] = as_json(metrics)
    return plain


def _role(answers: Answers, cells: Floats, sample: Floats, draws: int, confidence: float) -> dict[str, Any]:
    """The block of one role."""
    whole = bool(np.isin(cells, (0.0, 1.0)).all())
    bounds: tuple[float, float] | None
    if whole:
        bounds = share_interval(cells, np.ones_like(cells), confidence, draws)
    else:
        low, high = interval(sample, confidence)
        bounds = (max(low, 0.0), min(high, 1.0))
    accuracies = [float(seed.mean()) for seed in cells]
    nothing = [None] * len(accuracies)
    most = int(answers.samples.min())
    figures: dict[str, Any] = {
        "samples": most,
        "well_formed": float(answers.well_formed.sum() / answers.samples.sum()),
        "cut": float(answers.cut.sum() / answers.samples.sum()),
        "tokens": float(answers.tokens.sum() / answers.samples.sum()),
    }
    if most > 1:
        figures["pass_at"] = {str(k): float(pass_at(k, answers.right, answers.samples).mean()) for k in sizes(most)}
        figures["majority_at"] = {str(k): float(answers.votes[..., at].mean()) for at, k in enumerate(sizes(most))}
        figures["majority"] = figures["majority_at"][str(most)]
    return {
        "accuracy": float(np.mean(accuracies)),
        "auroc": None,
        "ece": None,
        "interval": None if bounds is None else list(bounds),
        "per_seed": {"accuracy": accuracies, "auroc": nothing, "ece": nothing},
        "texts": figures,
    }
