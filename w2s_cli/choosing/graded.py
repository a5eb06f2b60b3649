"""graded: only texts with a right answer, or only those with a wrong one (Yuan et al. 2025: W2SR-P and W2SR-N). Reads the ground truth."""

from typing import Literal

from w2s_cli.choosing import Chosen, Place, Texts

NEEDS_TRUTH = True


def graded(texts: Texts, *, keep: Literal["right", "wrong"] = "right") -> Chosen:
    """Texts by their grades.

    Args:
        texts: one source or more, with grades.
        keep: right answers; or wrong ones, where a text without an answer is not right, and not kept either.
    """
    places, dropped = [], 0
    for number, source in enumerate(texts.sources):
        right, answers = source.need_right(), source.need_answers()
        for at in range(len(source.ids)):
            if right[at] if keep == "right" else (not right[at] and answers[at] is not None):
                places.append(Place(number, at))
            else:
                dropped += 1
    return Chosen(places, {f"not {keep}": dropped})
