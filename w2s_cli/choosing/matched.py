"""matched: as many texts of the first source as the smallest of all sources has, by rows or by tokens: arms of one size can be compared.

Equal row counts hide unequal token counts, since hard solutions are longer.
"""

from typing import Literal

from w2s_cli.choosing import Chosen, Place, Texts
from w2s_cli.errors import UserError


def matched(texts: Texts, *, by: Literal["rows", "tokens"] = "rows") -> Chosen:
    """Texts of the first source in a drawn order, until they are as many, or as long together, as those of the smallest source.

    Args:
        texts: the source to take from, and the sources of the other arms.
        by: texts, or tokens.
    """
    if len(texts.sources) < 2:
        raise UserError(
            "this rule takes the source to take from and those of the other arms: name at least two (texts: […])"
        )
    source = texts.sources[0]
    size = min(len(each.ids) if by == "rows" else sum(each.tokens) for each in texts.sources)
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
