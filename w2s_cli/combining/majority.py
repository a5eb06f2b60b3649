"""Majority vote: the class with most votes.

* In a tie p is uniform over the tied classes, so that no class wins by its number.
* `output=shares` gives the shares of the votes instead of the winner.
"""

from typing import Literal

import numpy as np

from w2s_cli.combining import Combined, Votes, covered, need_one_of, shares, vote_sums


def majority(votes: Votes, *, output: Literal["hard", "shares"] = "hard") -> Combined:
    """One-hot of the class with most votes (output=hard), or each class's share of the votes (output=shares).

    Diagnostics: tied, the share of the covered rows with a tie.
    """
    need_one_of(output, ("hard", "shares"), "combine.args.output")
    counts = vote_sums(votes)  # [rows, classes]
    winners = counts == counts.max(axis=1, keepdims=True)
    covers = covered(votes)
    tied = winners[covers].sum(axis=1) > 1
    diagnostics = {"tied": float(tied.mean()) if len(tied) else None}
    return shares(winners.astype(np.float64) if output == "hard" else counts, covers, votes, diagnostics)
