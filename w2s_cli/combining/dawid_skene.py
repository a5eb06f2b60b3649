"""Dawid-Skene label model: each supervisor's confusion matrix and the labels, by EM (Dawid & Skene 1979).

* Hard votes become soft labels. Supervisors are assumed independent given the class. Models of one family trained on the
  same rows are not independent: their estimated accuracies are too high.
* EM starts from the shares of the votes, which ties the classes' names to the majority.
* A prior, if present, is the class balance; else the class balance is estimated too.
* With fewer than three supervisors the votes do not determine the confusion matrices. The result stays near the majority,
  and diagnostics.identifiable is false.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from w2s_cli.combining import ABSTAINED, Combined, Votes, active, class_balance, covered, from_log, hard, vote_sums
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import Floats, Integers


def dawid_skene(
    votes: Votes,
    *,
    smoothing: Annotated[float, Gt(0)] = 0.01,
    tolerance: float = 1e-5,
    iterations: Annotated[int, Ge(1)] = 100,
) -> Combined:
    """Posterior q_i(c) ∝ π_c Π_{j votes on i} θ_j[c, L_ij].

    E step as above; M step θ_j[c, l] = (s + Σ_i q_i(c) 1[L_ij = l]) / (K s + Σ_i q_i(c) 1[j votes on i]), π_c = mean of
    q_i(c) over the rows with a vote.

    Args:
        votes: hard votes of its supervisors.
        smoothing: s > 0, prior votes of each kind for each supervisor.
        tolerance: EM stops when the log-likelihood of all votes changes by less.
        iterations: the largest number.

    Returns:
        diagnostics: iterations, converged, log_likelihood, class_balance [classes], confusion [supervisors, true class,
        vote], estimated_accuracy [supervisors] (Σ_c π_c θ_j[c, c]), identifiable.
    """
    if not smoothing > 0 or iterations < 1:
        raise UserError("combine=dawid_skene: smoothing must be above 0 and iterations at least 1")
    chosen, covers = hard(votes), covered(votes)
    counts = vote_sums(votes)[covers]
    chosen = chosen[:, covers]  # [supervisors, covered rows]
    q = counts / counts.sum(axis=1, keepdims=True)  # [covered rows, classes]
    if not len(q):
        return from_log(np.zeros(votes.p.shape[1:]), covers, votes)
    likelihood, steps, converged = -np.inf, 0, False
    while steps < iterations and not converged:
        steps += 1
        confusion = _confusion(q, chosen, smoothing)
        balance = class_balance(votes) if votes.prior is not None else q.mean(axis=0)
        joint = _log_joint(balance, confusion, chosen)  # [covered rows, classes]
        top = joint.max(axis=1, keepdims=True)
        evidence = np.exp(joint - top).sum(axis=1, keepdims=True)
        q = np.exp(joint - top) / evidence
        before, likelihood = likelihood, float((top + np.log(evidence)).sum())
        converged = abs(likelihood - before) < tolerance
    accuracies = np.einsum("c,scc->s", balance, confusion)
    voters = active(votes)
    diagnostics = {
        "iterations": steps,
        "converged": converged,
        "log_likelihood": likelihood,
        "class_balance": balance.tolist(),
        "confusion": confusion.tolist(),
        "estimated_accuracy": [float(a) if v else None for a, v in zip(accuracies, voters, strict=True)],
        "identifiable": bool(voters.sum() >= 3),
    }
    scores = np.zeros(votes.p.shape[1:])
    scores[covers] = joint
    return from_log(scores, covers, votes, diagnostics)


def _confusion(q: Floats, chosen: Integers, smoothing: float) -> Floats:
    """θ, [supervisors, true class, vote]: the M step."""
    classes = q.shape[1]
    sums = np.stack([[q[votes == vote].sum(axis=0) for vote in range(classes)] for votes in chosen])
    sums = sums.transpose(0, 2, 1) + smoothing
    return np.asarray(sums / sums.sum(axis=2, keepdims=True))


def _log_joint(balance: Floats, confusion: Floats, chosen: Integers) -> Floats:
    """log π_c + Σ_j log θ_j[c, L_ij], [rows, classes]."""
    with np.errstate(divide="ignore"):  # a class of probability 0 stays out: log 0
        joint = np.tile(np.log(balance), (chosen.shape[1], 1))
    for votes, theta in zip(chosen, np.log(confusion), strict=True):
        rows = np.flatnonzero(votes != ABSTAINED)
        joint[rows] += theta[:, votes[rows]].T
    return joint
