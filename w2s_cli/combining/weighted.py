"""Weighted ensemble: supervisors have weights by their scores (boosting rounds, or accuracies).

The weights a_j are log-odds of a right vote: a boosting round's a_t = log((1−ε)/ε) + log(K−1), or log((K−1) a/(1−a)) of an
accuracy a. The choices of `pool`:

* mean (default): p ∝ Σ_j a_j p_j, the token-probability combination of EnsemW2S (Agrawal et al. 2024, arXiv 2410.04571).
* vote: p ∝ Σ_j a_j 1[vote of j is c]; its argmax is the classifier of AdaBoost (SAMME).
* log: p ∝ Π_j p_j^(a_j / Σa), the log-opinion pool; with equal weights it is mean_logit.
* bayes: p ∝ π_c exp(Σ_j a_j 1[vote of j is c]), the posterior for independent supervisors with errors spread evenly over the
  other classes (naive Bayes).

A supervisor worse than chance has a negative weight. In bayes this is evidence against its vote. In the other pools, where a
negative weight would make negative probabilities, it counts as 0. A row whose voters all have the weight 0 is not covered.
"""

from typing import Literal

import numpy as np

from w2s_cli.combining import SMALLEST, Combined, Votes, active, class_balance, from_log, need_one_of, shares, vote_sums
from w2s_cli.errors import UserError

NEEDS_SCORES = True


def weighted(votes: Votes, *, pool: Literal["mean", "vote", "log", "bayes"] = "mean") -> Combined:
    """The supervisors' labels pooled by `votes.weights`; diagnostics: weights.

    Raises:
        UserError: no weights, or no supervisor with a weight above 0 (bayes: other than 0).
    """
    need_one_of(pool, ("mean", "vote", "log", "bayes"), "combine.args.pool")
    if votes.weights is None:
        raise UserError(
            "combine=weighted needs scores of the supervisors: use method=weighted_ensemble (accuracies) or "
            "method=ensemw2s (boosting)"
        )
    weights = votes.weights if pool == "bayes" else np.maximum(votes.weights, 0.0)
    if not (weights[active(votes)] != 0).any():
        raise UserError(
            f"combine=weighted: no supervisor is better than chance (weights {votes.weights.tolist()}); "
            "use better supervisors, or combine=mean_probability"
        )
    counts = (weights != 0)[:, None] & votes.voted  # [supervisors, rows]
    covered, diagnostics = counts.any(axis=0), {"weights": votes.weights.tolist()}
    each = weights[:, None] * counts  # [supervisors, rows]
    if pool == "mean":
        return shares(
            np.einsum("sr,src->rc", each, np.where(counts[..., None], votes.p, 0.0)), covered, votes, diagnostics
        )
    if pool == "vote":
        return shares(vote_sums(votes, weights), covered, votes, diagnostics)
    if pool == "log":
        logs = np.log(np.where(counts[..., None], np.maximum(votes.p, SMALLEST), 1.0))
        total = np.where(covered, each.sum(axis=0), 1.0)[:, None]
        return from_log(np.einsum("sr,src->rc", each, logs) / total, covered, votes, diagnostics)
    balance = np.log(np.maximum(class_balance(votes), SMALLEST))
    return from_log(balance + vote_sums(votes, weights), covered, votes, diagnostics)
