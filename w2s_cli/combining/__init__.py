"""Combination rules: the labels of several supervisors become one label a row. One file each, with one public function of its name.

    def majority(votes, *, …) -> Combined

* `votes` holds the supervisors' labels. The keyword arguments are the `args` of `configs/combine/<name>.yaml`.
* A supervisor may abstain on a row; its `p` of that row is never read. A row without votes, or dropped by the rule, is not covered: its
  probabilities are the class balance, a number that can be averaged, but no label.
* A vote is the argmax of a supervisor's probabilities. A tie goes to the lower class, as in statistics.figures.
* To add a rule, put `combining/<name>.py` into the package or into a `--config-dir` folder. No list has to be edited.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from w2s_cli.errors import UserError
from w2s_cli.errors import need_one_of as need_one_of  # for the rules
from w2s_cli.plugins import function_of, load_code
from w2s_cli.statistics.figures import SMALLEST as SMALLEST  # for the rules
from w2s_cli.statistics.figures import Booleans, Floats, Integers, predicted

ABSTAINED = -1  # in place of a class


@dataclass(frozen=True)
class Votes:
    """The supervisors' labels of one pool's rows; all supervisors have the same rows and classes in the same order."""

    p: Floats  # [supervisors, rows, classes]; sums to 1 over classes where voted
    voted: Booleans  # [supervisors, rows]; False: the supervisor abstains on the row
    weights: Floats | None = None  # [supervisors], log-odds of a right vote; None: unknown
    student_p: Floats | None = None  # [rows, classes], of the current student
    prior: Floats | None = None  # [classes], the class balance; None: unknown


@dataclass(frozen=True)
class Combined:
    """One label a row, and diagnostics of the rule."""

    p: Floats  # [rows, classes]
    covered: Booleans  # [rows]; False: no label
    diagnostics: Mapping[str, Any] = field(
        default_factory=dict
    )  # JSON; lists over supervisors have the length of votes.p


Rule = Callable[..., Combined]


def load_rule(name: str, folders: Sequence[Path | str] = (), planned: str | None = None) -> Rule:
    """The rule of `<folder>/combining/<name>.py`, else of the package.

    Raises:
        UserError: no rule of that name, code other than `planned` (the hash in the plan), a failing import, or no function of the name.
    """
    return function_of(*load_code("combining", name, folders, planned=planned), "votes, *, …")


def hard(votes: Votes) -> Integers:
    """The vote (class) of each supervisor on each row, or ABSTAINED: [supervisors, rows]."""
    return np.where(votes.voted, predicted(votes.p), ABSTAINED)


def covered(votes: Votes) -> Booleans:
    """Rows with at least one vote, [rows]."""
    return np.asarray(votes.voted.any(axis=0))


def active(votes: Votes) -> Booleans:
    """Supervisors with at least one vote, [supervisors]."""
    return np.asarray(votes.voted.any(axis=1))


def vote_sums(votes: Votes, weights: Floats | None = None) -> Floats:
    """Sums of votes for each class, [rows, classes]; a vote counts 1, or its supervisor's weight of `weights` [supervisors]."""
    chosen = hard(votes)
    sums = np.zeros(votes.p.shape[1:])
    for supervisor, votes_of_one in enumerate(chosen):
        rows = np.flatnonzero(votes_of_one != ABSTAINED)
        sums[rows, votes_of_one[rows]] += 1.0 if weights is None else weights[supervisor]
    return sums


def class_balance(votes: Votes) -> Floats:
    """The prior, or without a prior the mean over supervisors of their mean probabilities, [classes].

    Supervisors' errors pull that mean towards equal classes, so a known prior is better.
    """
    if votes.prior is not None:
        return np.asarray(votes.prior / votes.prior.sum())
    means = [p[voted].mean(axis=0) for p, voted in zip(votes.p, votes.voted, strict=True) if voted.any()]
    classes = votes.p.shape[2]
    return np.mean(means, axis=0) if means else np.full(classes, 1 / classes)


def shares(scores: Floats, covers: Booleans, votes: Votes, diagnostics: Mapping[str, Any] | None = None) -> Combined:
    """Probabilities proportional to `scores` [rows, classes] ≥ 0 on covered rows, the class balance on the others."""
    p = np.tile(class_balance(votes), (len(covers), 1))
    p[covers] = scores[covers] / scores[covers].sum(axis=1, keepdims=True)
    return Combined(p, covers, diagnostics or {})


def from_log(scores: Floats, covers: Booleans, votes: Votes, diagnostics: Mapping[str, Any] | None = None) -> Combined:
    """Probabilities proportional to exp(scores) on covered rows, the class balance on the others."""
    return shares(np.exp(scores - scores.max(axis=1, keepdims=True)), covers, votes, diagnostics)


def smallest_probability(rows: int) -> float:
    """The smallest estimate of P(vote | class), and 1 minus the largest, as in Snorkel: 1 in `rows`, but at most 0.01."""
    return float(min(0.01, 10.0 ** -np.ceil(np.log10(max(rows, 2)))))


def need_supervisors(votes: Votes, least: int, rule: str, why: str) -> None:
    """Refuse fewer than `least` supervisors with a vote."""
    number = int(active(votes).sum())
    if number < least:
        raise UserError(
            f"combine={rule} needs at least {least} supervisors that label rows, there are {number}: {why}. "
            "Add supervisors, or use combine=mean_probability"
        )
