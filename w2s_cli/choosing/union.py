"""union: all texts of all sources; equal texts of one row once."""

from w2s_cli.choosing import Chosen, Place, Texts


def union(texts: Texts) -> Chosen:
    """All texts.

    Args:
        texts: one source or more.
    """
    seen: set[tuple[str, str]] = set()
    places, repeated = [], 0
    for number, source in enumerate(texts.sources):
        for at, (row, text) in enumerate(zip(source.ids, source.texts, strict=True)):
            if (row, text) in seen:
                repeated += 1
                continue
            seen.add((row, text))
            places.append(Place(number, at))
    return Chosen(places, {"repeated": repeated})
