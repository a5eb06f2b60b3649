"""weak_side: the weak model's text against the student's own samples, by the student's self-consistency (Yang, Ma & Liu 2024, stage II).

If the weak answer is the majority's, the weak text is chosen and a sample with another answer rejected; if the majority is sure and says
otherwise, a sample with its answer is chosen and the weak text rejected. No truth is read.
"""

from typing import Annotated

from annotated_types import Ge, Le

from w2s_cli.choosing import Place, Texts, majority
from w2s_cli.pairing import Paired, PairOf


def weak_side(
    texts: Texts,
    *,
    low: Annotated[float, Ge(0), Le(1)] = 0.6,
    high: Annotated[float, Ge(0), Le(1)] = 0.8,
    most: Annotated[int, Ge(1)] = 1,
) -> Paired:
    """Pairs of rows whose majority is clear.

    Args:
        texts: the weak model's texts, and several samples of the student; both with grades.
        low: the smallest share of the modal answer.
        high: … where the weak text is rejected.
        most: pairs of a row, at most, with different texts.
    """
    weak, own = texts.need(2, "the weak supervisor's texts and several samples of the student")
    answers, weak_rows, own_rows = weak.need_answers(), weak.by_row(), own.by_row()
    pairs: list[PairOf] = []
    counts = dict.fromkeys(("weak chosen", "weak rejected", "no majority", "unsure", "too easy", "no weak answer"), 0)
    for row in texts.rows:
        if row not in weak_rows or row not in own_rows:
            continue
        at = weak_rows[row][0]
        modal = majority(own, own_rows[row])
        if modal.answer is None or modal.share < low:
            counts["no majority"] += 1
        elif answers[at] is None:
            counts["no weak answer"] += 1
        elif answers[at] == modal.answer:
            rejected = _drawn(texts, row, modal.others, most)
            counts["too easy"] += not rejected
            counts["weak chosen"] += len(rejected)
            pairs += [PairOf(Place(0, at), Place(1, other)) for other in rejected]
        elif modal.share < high:
            counts["unsure"] += 1
        else:
            chosen = _drawn(texts, row, modal.with_it, most)
            counts["weak rejected"] += len(chosen)
            pairs += [PairOf(Place(1, better), Place(0, at)) for better in chosen]
    return Paired(pairs, counts)


def _drawn(texts: Texts, row: str, places: list[int], most: int) -> list[int]:
    """Up to `most` of the student's samples at `places`, drawn by row: with different texts, none of them empty."""
    own = texts.sources[1]
    ranked = sorted(places, key=lambda at: texts.chance(f"sample {own.samples[at]}", row))
    first: dict[str, int] = {}
    for at in ranked:
        first.setdefault(own.texts[at], at)
    first.pop("", None)
    return list(first.values())[:most]
