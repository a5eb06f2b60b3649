"""by_score: of a row's samples, the one that a score prefers: the best, or the best answer by the sum of its samples' scores.

Learning by teaching M1 (Ning et al. 2024): the score of a rationale is how well students solve similar problems when they are shown it
(stage kind `exam`). MAX takes the best rationale, SUM is a vote of answers weighted by the scores.
"""

from math import isnan
from typing import Literal

from w2s_cli.choosing import Chosen, Place, Texts


def by_score(texts: Texts, *, how: Literal["max", "sum"] = "sum", every_row: bool = False) -> Chosen:
    """One sample a row; samples without an answer are passed over.

    Args:
        texts: one source with several samples a row, scores and grades.
        how: the sample with the highest score; or, of the answer with the highest sum of scores, that sample.
        every_row: of a row whose samples all have no answer, the first one, for texts that are graded; else such a row is left out.
    """
    [source] = texts.need(1, "a stage with several samples")
    scores, answers = source.need_scores(), source.need_answers()
    places, without = [], 0
    for samples in source.by_row().values():
        voting = [at for at in samples if answers[at] is not None and not isnan(scores[at])]
        if not voting:
            if every_row:
                places.append(Place(0, samples[0]))
            else:
                without += 1
            continue
        if how == "sum":
            sums: dict[str, float] = {}
            for at in voting:
                answer = str(answers[at])
                sums[answer] = sums.get(answer, 0.0) + float(scores[at])
            first = max(sums, key=lambda answer: sums[answer])
            voting = [at for at in voting if answers[at] == first]
        places.append(Place(0, max(voting, key=lambda at: float(scores[at]))))
    return Chosen(places, {"without an answer": without}, with_empty=every_row)
