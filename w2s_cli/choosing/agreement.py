"""agreement: rows on which two sources have the same answer (Yang, Ma & Liu 2024, stage I: weak model, and strong model's few shots)."""

from typing import Literal

from w2s_cli.choosing import Chosen, Place, Texts


def agreement(texts: Texts, *, keep: Literal["first", "second", "both"] = "first") -> Chosen:
    """The texts of rows whose first samples agree.

    Args:
        texts: two sources with grades.
        keep: whose texts: of the first source (weak solutions), of the second (its own), or of both (hybrid, two texts a row).
    """
    first, second = texts.need(2, "the weak supervisor's texts and the student's")
    answers = [source.need_answers() for source in (first, second)]
    rows = [source.by_row() for source in (first, second)]
    places, counts = [], {"compared": 0, "agreed": 0, "without an answer": 0}
    for row in texts.rows:
        if any(row not in places_of for places_of in rows):
            continue
        counts["compared"] += 1
        pair = [places_of[row][0] for places_of in rows]
        both = [own[at] for own, at in zip(answers, pair, strict=True)]
        if None in both:
            counts["without an answer"] += 1
        elif both[0] == both[1]:
            counts["agreed"] += 1
            places += [Place(source, pair[source]) for source in {"first": [0], "second": [1], "both": [0, 1]}[keep]]
    return Chosen(places, counts)
