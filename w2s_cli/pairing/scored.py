"""scored: of two samples of a row, the one with the higher score is better (learning by teaching M2, Ning et al. 2024).

Scores come from a `score` or an `exam` stage. With grades the score is added to the answer's correctness (1 or 0), as in the paper's
combination of both; that reads the ground truth. A text without a score, which says nothing, is in no pair.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge

from w2s_cli.choosing import Place, Texts
from w2s_cli.pairing import Paired, PairOf

NEEDS_TRUTH = True


def scored(
    texts: Texts, *, margin: Annotated[float, Ge(0)] = 0.1, most: Annotated[int, Ge(1)] = 1, correctness: bool = False
) -> Paired:
    """Pairs of a row's samples with the largest difference of scores first.

    Args:
        texts: one source with several samples a row, and scores.
        margin: the smallest difference.
        most: pairs of a row, at most, each of two samples that are in no other pair.
        correctness: True: 1 is added to the score of a right answer.
    """
    [source] = texts.need(1, "a stage with several samples")
    scores = source.need_scores() + (source.need_right() if correctness else 0)
    given = np.isfinite(scores)
    pairs, close = [], 0
    for of_row in source.by_row().values():
        samples = [at for at in of_row if given[at]]
        ordered = [samples[at] for at in np.argsort(-scores[samples], kind="stable")]
        made = 0
        while len(ordered) > 1 and made < most and scores[ordered[0]] - scores[ordered[-1]] >= max(margin, 1e-9):
            better, worse = ordered.pop(0), ordered.pop()
            if source.texts[better] != source.texts[worse]:
                pairs.append(PairOf(Place(0, better), Place(0, worse)))
                made += 1
        close += not made
    return Paired(pairs, {"within the margin": close, "texts without a score": int((~given).sum())})
