"""Ensemble: the mean probability of the supervisors that vote on the row.

The debate ensemble of Lang et al. 2025 (arXiv 2501.13124), f(x) = (1/K) Σ_k f_k(x, z_k), and the usual baseline.
"""

import numpy as np

from w2s_cli.combining import Combined, Votes, covered, shares


def mean_probability(votes: Votes) -> Combined:
    """p_i(c) = mean of p_ij(c) over the supervisors j that vote on row i."""
    return shares(np.where(votes.voted[..., None], votes.p, 0.0).sum(axis=0), covered(votes), votes)
