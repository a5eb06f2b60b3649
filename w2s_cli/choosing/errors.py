"""errors: a controlled share of wrong solutions among right ones (He, Yin & Peng 2025). Reads the ground truth.

Only rows with both a right and a wrong text take part, so every error rate has the same rows.
"""

from dataclasses import replace
from typing import Annotated

from annotated_types import Ge, Le

from w2s_cli.choosing import Chosen, Place, Texts

NEEDS_TRUTH = True


def errors(texts: Texts, *, rate: Annotated[float, Ge(0), Le(1)] = 0.0, seed: int | None = None) -> Chosen:
    """One text a row: wrong in round(rate · rows) rows, which a draw by row id chooses; a larger rate has the rows of a smaller one too.

    Args:
        texts: one source or more, with grades; the first right and the first wrong text of a row in their order.
        rate: share of wrong texts.
        seed: of the draw; None: the run's.
    """
    right: dict[str, Place] = {}
    wrong: dict[str, Place] = {}
    for number, source in enumerate(texts.sources):
        graded, answers = source.need_right(), source.need_answers()
        for at, row in enumerate(source.ids):
            if graded[at]:
                right.setdefault(row, Place(number, at))
            elif answers[at] is not None:
                wrong.setdefault(row, Place(number, at))
    both = [row for row in texts.rows if row in right and row in wrong]
    drawn = texts if seed is None else replace(texts, seed=seed)
    ranked = sorted(both, key=lambda row: (drawn.chance("error", row), row))
    mistaken = set(ranked[: round(rate * len(both))])
    places = [wrong[row] if row in mistaken else right[row] for row in both]
    return Chosen(places, {"rows with both": len(both), "wrong": len(mistaken)})
