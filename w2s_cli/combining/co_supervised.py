"""Co-supervised learning: each row gets the label of the supervisor closest to the current student.

Liu & Alahi 2024 (arXiv 2402.15505): student training and assignment of supervisors alternate, as in EM for a mixture of experts. A
method repeats finetune → label → combine=co_supervised. Our reading:

* Assignment: among the supervisors that vote on the row, the supervisor with the lowest cross-entropy −Σ_c t_c log s_c of the
  student s to its label t (`target=hard`: to the one-hot of its vote); of equal ones the first. The authors' code assigns a
  row to the specialist of the student's class instead, which needs a list of classes for each supervisor.
* Consensus: the assigned supervisor's class is among the student's `top_k` most probable classes, or less than `margin` in
  probability behind them. With two classes only top_k=1 drops rows.
* denoise=consensus drops the rows without consensus. denoise=rate, as in the authors' code, keeps the same number of rows,
  those with the lowest cross-entropy of the student to the assigned supervisor's class (equal rows stay together).
  denoise=none keeps all rows.
"""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from w2s_cli.combining import SMALLEST, Combined, Votes, covered, hard, need_one_of, shares
from w2s_cli.errors import UserError

NEEDS_STUDENT = True


def co_supervised(
    votes: Votes,
    *,
    top_k: Annotated[int, Ge(1)] = 1,
    margin: Annotated[float, Ge(0)] = 0.0,
    target: Literal["soft", "hard"] = "soft",
    denoise: Literal["consensus", "rate", "none"] = "consensus",
) -> Combined:
    """The assigned supervisor's probabilities; dropped rows are not covered.

    Returns:
        diagnostics: assigned (share of the voted rows by supervisor), consensus (share of the voted rows).

    Raises:
        UserError: no student, or unknown options.
    """
    need_one_of(target, ("soft", "hard"), "combine.args.target")
    need_one_of(denoise, ("consensus", "rate", "none"), "combine.args.denoise")
    classes = votes.p.shape[2]
    if not (1 <= top_k <= classes and margin >= 0):
        raise UserError(f"combine=co_supervised: top_k must be 1 to {classes} and margin at least 0")
    if votes.student_p is None:
        raise UserError("combine=co_supervised asks the current student: give the stage `student`, its labels")
    student = votes.student_p
    logs = np.log(np.maximum(student, SMALLEST))  # [rows, classes]
    chosen, rows = hard(votes), np.arange(len(student))
    labels = np.eye(classes)[chosen] if target == "hard" else np.where(votes.voted[..., None], votes.p, 0.0)
    distance = np.where(votes.voted, -np.einsum("src,rc->sr", labels, logs), np.inf)  # [supervisors, rows]
    assigned = distance.argmin(axis=0)  # [rows]
    voted = covered(votes)
    label = np.maximum(chosen[assigned, rows], 0)  # [rows] class of the assigned supervisor
    own = student[rows, label]  # [rows] the student's probability of that class
    last_of_top = np.sort(student, axis=1)[:, classes - top_k]
    consensus = voted & ((own >= last_of_top) | (last_of_top - own < margin))
    kept = voted
    if denoise == "consensus":
        kept = consensus
    elif denoise == "rate" and consensus.any():
        kept = voted & (own >= np.sort(own[voted])[::-1][consensus.sum() - 1])
    diagnostics = {
        "assigned": [float((voted & (assigned == j)).sum() / max(voted.sum(), 1)) for j in range(len(chosen))],
        "consensus": float(consensus.sum() / max(voted.sum(), 1)),
    }
    return shares(votes.p[assigned, rows], kept, votes, diagnostics)
