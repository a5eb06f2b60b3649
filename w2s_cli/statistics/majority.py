"""The majority's answer among the samples of a row: one rule for choosing, pairing and the metric maj@k.

An answer is a text in one spelling (see `graders`). A sample without an answer counts for none.
"""

from collections import Counter
from collections.abc import Sequence


def modal_answer(answers: Sequence[str | None]) -> str | None:
    """The most frequent answer, of answers as frequent the first; None and "" are no answers; None if there is no other."""
    counts = Counter(filter(None, answers))  # in the order of the answers
    return max(counts, key=lambda answer: counts[answer], default=None)
