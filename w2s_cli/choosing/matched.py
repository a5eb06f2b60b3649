"""matched: as many texts of the first source as the second has, by rows or by tokens: arms of one size can be compared.

Equal row counts hide unequal token counts, since hard solutions are longer.
"""

from typing import Literal

from w2s_cli.choosing import Chosen, Place, Texts


def matched(texts: Texts, *, by: Literal["rows", "tokens"] = "rows") -> Chosen:
    """Texts of the first source in a drawn order, until they are as many, or as long together, as those of the second.

    Args:
        texts: the source to take from, and the source whose volume is matched.
        by: texts, or tokens.
    """
    source, measure = texts.need(2, "the texts to take from, and those whose volume is matched")
    size = len(measure.ids) if by == "rows" else sum(measure.tokens)
    order = sorted(
        range(len(source.ids)), key=lambda at: (texts.chance(f"volume {source.samples[at]}", source.ids[at]), at)
    )
    places, taken = [], 0
    for at in order:
        length = 1 if by == "rows" else source.tokens[at]
        if taken + length > size:
            break
        places.append(Place(0, at))
        taken += length
    return Chosen(places, {"matched": size, "taken": taken})
