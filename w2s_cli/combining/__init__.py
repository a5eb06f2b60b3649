"""Combination rules: several supervisors' labels become one; one file each, with one public function of the file's name.

    def majority(votes, *, …) -> Combined

* `votes` says who labelled what, and how; the keyword arguments are the `args` of `configs/combine/<name>.yaml`.
* A supervisor may abstain on a row; what its `p` holds there is never read. A row on which nobody voted (or that the rule
  drops) is not covered, and has the class balance as its probabilities: a number that can be averaged, but no label.
* A vote is the argmax of a supervisor's probabilities, a tie goes to the lower class, as everywhere (statistics.figures).
* To add one: put `combining/<name>.py` into the package or into a folder given by `--config-dir`. There is no list.
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
    """What the supervisors said about the rows of one pool; rows and classes in one order for all of them."""

    p: Floats  # [supervisors, rows, classes]; rows sum to 1 where voted
    voted: Booleans  # [supervisors, rows]; False: that supervisor abstains there
    weights: Floats | None = None  # [supervisors], log-odds of being right; None: nobody knows
    student_p: Floats | None = None  # [rows, classes], of the current student
    prior: Floats | None = None  # [classes], the class balance if it is known


@dataclass(frozen=True)
class Combined:
    """One label a row, and what the rule found out about the supervisors."""

    p: Floats  # [rows, classes]
    covered: Booleans  # [rows]; False: no label
    diagnostics: Mapping[str, Any] = field(default_factory=dict)  # JSON; lists by supervisor are as long as votes.p


Rule = Callable[..., Combined]


def load_rule(name: str, folders: Sequence[Path | str] = (), planned: str | None = None) -> Rule:
    """The rule of `<folder>/combining/<name>.py`, else of the package.

    Raises:
        UserError: there is none of that name, it is not the code that was `planned` with, its file fails, or it defines no function of
            its name.
    """
    return function_of(*load_code("combining", name, folders, planned=planned), "votes, *, …")


def hard(votes: Votes) -> Integers:
    """Class that each supervisor votes for, ABSTAINED where it does not, [supervisors, rows]."""
    return np.where(votes.voted, predicted(votes.p), ABSTAINED)


def covered(votes: Votes) -> Booleans:
    """Rows on which somebody votes, [rows]."""
    return np.asarray(votes.voted.any(axis=0))


def active(votes: Votes) -> Booleans:
    """Supervisors that vote on some row, [supervisors]."""
    return np.asarray(votes.voted.any(axis=1))


def vote_sums(votes: Votes, weights: Floats | None = None) -> Floats:
    """Votes for each class, each counting 1 or its supervisor's weight [supervisors], [rows, classes]."""
    chosen = hard(votes)
    sums = np.zeros(votes.p.shape[1:])
    for supervisor, votes_of_one in enumerate(chosen):
        rows = np.flatnonzero(votes_of_one != ABSTAINED)
        sums[rows, votes_of_one[rows]] += 1.0 if weights is None else weights[supervisor]
    return sums


def class_balance(votes: Votes) -> Floats:
    """The prior if it is given, else the mean over supervisors of their mean probabilities, [classes].

    Supervisors who err pull that mean towards equal classes: give the prior where it is known.
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
    """What an estimated P(vote | class) is kept away from 0 and 1, as in Snorkel: 1 in `rows`, but at most 0.01."""
    return float(min(0.01, 10.0 ** -np.ceil(np.log10(max(rows, 2)))))


def need_supervisors(votes: Votes, least: int, rule: str, why: str) -> None:
    """Refuse fewer than `least` supervisors with a vote."""
    found = int(active(votes).sum())
    if found < least:
        raise UserError(
            f"combine={rule} needs at least {least} supervisors that label rows, there are {found}: {why}. "
            "Add supervisors, or use combine=mean_probability"
        )
