"""self_consistency: rows whose samples agree among themselves (Wang et al. 2022); threshold 0: the majority of a model's own samples."""

from typing import Annotated

from annotated_types import Ge, Le

from w2s_cli.choosing import Chosen, Place, Texts, majority


def self_consistency(
    texts: Texts,
    *,
    threshold: Annotated[float, Ge(0), Le(1)] = 0.0,
    most: Annotated[int, Ge(1)] = 1,
    every_row: bool = False,
) -> Chosen:
    """Samples with the modal answer, of rows in which it has at least a share of the samples.

    Args:
        texts: one source with several samples a row, and grades.
        threshold: the smallest share.
        most: different texts of a row, at most.
        every_row: one text of every row, whatever threshold and most say, for texts that are graded; of a row without any answer the first
            sample.
    """
    [source] = texts.need(1, "a stage with several samples")
    places, unsure, without = [], 0, 0
    for samples in source.by_row().values():
        modal = majority(source, samples)
        if every_row:
            places.append(Place(0, (modal.with_it or samples)[0]))
        elif modal.answer is None:
            without += 1
        elif modal.share < threshold:
            unsure += 1
        else:
            distinct = {source.texts[at]: at for at in reversed(modal.with_it)}
            places += [Place(0, at) for at in sorted(distinct.values())[:most]]
    return Chosen(places, {"below the threshold": unsure, "without an answer": without}, with_empty=every_row)
