"""MeTaL label model (Ratner et al. 2019, the label model of Snorkel): accuracies from the frequencies of equal votes.

With one-hot votes, O [supervisors × classes, the same] holds the frequencies of pairs of votes. For supervisors that are
independent given the class, O outside the blocks of one supervisor is μ P μᵀ, where μ[(j, l), c] = P(L_j = l | y = c) and
P = diag(class balance). μ minimises

    ‖mask · (O − μ P μᵀ)‖² + ‖Σ_c μ P − diag(O)‖² + l2 ‖μ − start‖².

* Snorkel takes 100 steps of SGD from a randomly scaled start. Here L-BFGS-B runs to convergence in float64 with μ in
  [ε, 1 − ε]. The start is fixed: every vote is right with probability `start`, as far as the votes' frequencies allow. So
  the result depends only on the votes.
* An abstention is no class: as in Snorkel, one number of μ holds the probability of a vote and of its class.
* The start decides between μ and its mirror image, so most supervisors must be better than chance.
* Two classes only. For more classes, pairs of votes determine μ only up to a rotation; dawid_skene uses whole rows of votes.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Lt
from scipy.optimize import minimize

from w2s_cli.combining import (
    ABSTAINED,
    Combined,
    Votes,
    active,
    class_balance,
    covered,
    from_log,
    hard,
    need_supervisors,
    smallest_probability,
)
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import Floats

NEEDS_THREE = True


def metal(
    votes: Votes,
    *,
    start: Annotated[float, Gt(0.5), Lt(1)] = 0.7,
    l2: Annotated[float, Ge(0)] = 0.0,
    iterations: Annotated[int, Ge(1)] = 10_000,
) -> Combined:
    """Posterior P(y | L) ∝ π_c Π_{j votes on i} μ[(j, L_ij), c].

    Args:
        votes: hard votes of at least three supervisors; votes.prior is the class balance π.
        start: P(y = l | L_j = l) to start from.
        l2: weight of μ's distance from its start.
        iterations: the largest number, of L-BFGS.

    Returns:
        diagnostics: loss, iterations, converged, class_balance, vote_given_class [supervisors, vote, class],
        estimated_accuracy [supervisors], None for one that never votes.

    Raises:
        UserError: more than two classes, fewer than three supervisors, a class balance with a class of 0.
    """
    supervisors, rows, classes = votes.p.shape
    if classes != 2:
        raise UserError(f"combine=metal is for 2 classes, these labels have {classes}; use combine=dawid_skene")
    need_supervisors(votes, 3, "metal", "the votes of two do not tell which of them is right")
    balance = class_balance(votes)
    if not (balance > 0).all():
        raise UserError(f"combine=metal: the class balance {balance.tolist()} has a class that never comes; set prior")
    if not (0.5 < start < 1 and l2 >= 0 and iterations >= 1):
        raise UserError("combine=metal: start must be between 0.5 and 1, l2 at least 0, iterations at least 1")
    chosen = hard(votes)
    one_hot = (chosen.T[:, :, None] == np.arange(classes)).reshape(rows, -1).astype(np.float64)  # [rows, s · classes]
    together = one_hot.T @ one_hot / rows  # O
    between = 1.0 - np.kron(np.eye(supervisors), np.ones((classes, classes)))
    smallest = smallest_probability(rows)
    begin = np.clip(_start(np.diag(together), balance, start), smallest, 1 - smallest)

    def loss(flat: Floats) -> tuple[float, Floats]:
        mu = flat.reshape(-1, classes)
        off = between * (together - (mu * balance) @ mu.T)
        gap = mu @ balance - np.diag(together)
        moved = mu - begin
        slope = -4 * off @ (mu * balance) + 2 * np.outer(gap, balance) + 2 * l2 * moved
        return float((off**2).sum() + (gap**2).sum() + l2 * (moved**2).sum()), slope.ravel()

    bounds = [(smallest, 1 - smallest)] * begin.size
    options = {"maxiter": iterations, "maxfun": 2 * iterations, "ftol": 1e-15, "gtol": 1e-10}
    done = minimize(loss, begin.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    mu = done.x.reshape(supervisors, classes, classes)  # [supervisors, vote, class]
    scores = np.tile(np.log(balance), (rows, 1))
    for votes_of_one, logs in zip(chosen, np.log(mu), strict=True):
        voted = np.flatnonzero(votes_of_one != ABSTAINED)
        scores[voted] += logs[votes_of_one[voted]]
    right: Floats = np.einsum("scc,c->s", mu, balance)
    cast: Floats = np.einsum("slc,c->s", mu, balance)
    voters = active(votes)
    diagnostics = {
        "loss": float(done.fun),
        "iterations": int(done.nit),
        "converged": bool(done.success),
        "class_balance": balance.tolist(),
        "vote_given_class": mu.tolist(),
        "estimated_accuracy": [float(a) if v else None for a, v in zip(right / cast, voters, strict=True)],
    }
    return from_log(scores, covered(votes), votes, diagnostics)


def _start(frequency: Floats, balance: Floats, right: float) -> Floats:
    """μ with P(y = l | L_j = l) = `right` and the votes' own frequencies, [supervisors × classes, classes]."""
    classes = len(balance)
    vote = np.arange(len(frequency)) % classes
    own = np.minimum(frequency * right / balance[vote], 1.0)  # P(L_j = l | y = l)
    rest = (frequency - balance[vote] * own) / (1 - balance[vote])  # for the other classes, so that Σ_c μ P = frequency
    start = np.tile(rest[:, None], (1, classes))
    start[np.arange(len(vote)), vote] = own
    return start
