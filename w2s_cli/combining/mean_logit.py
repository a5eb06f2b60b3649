"""Ensemble: the mean log probability (the normalised geometric mean) of the supervisors that vote on the row.

* For two classes this is the mean of the log-odds: a very sure supervisor counts more than in mean_probability.
* A probability of 0 counts as 1e-7, else one supervisor could forbid a class.
"""

import numpy as np

from w2s_cli.combining import SMALLEST, Combined, Votes, covered, from_log


def mean_logit(votes: Votes) -> Combined:
    """p_i(c) ∝ exp(mean of log p_ij(c) over the supervisors j that vote on row i)."""
    logs = np.log(np.where(votes.voted[..., None], np.maximum(votes.p, SMALLEST), 1.0))  # [supervisors, rows, classes]
    voters = votes.voted.sum(axis=0)[:, None]  # [rows, 1]
    return from_log(logs.sum(axis=0) / np.maximum(voters, 1), covered(votes), votes)
