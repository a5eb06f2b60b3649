"""ranked: the text of one source is better than another's, whatever they say (delta learning, Geng et al. 2025; SPIN, Chen et al. 2024).

No judge and no filter: the rank of the writers is the signal. `order=reversed` and `order=tied` are the controls.
"""

from typing import Literal

from w2s_cli.choosing import Place, Texts
from w2s_cli.errors import UserError
from w2s_cli.pairing import Paired, PairOf


def ranked(texts: Texts, *, order: Literal["given", "reversed", "tied"] = "given") -> Paired:
    """One pair a row, of the first samples; rows with two equal texts have none.

    Args:
        texts: the better writer's texts, and the worse one's.
        order: as given; the worse above the better; or tied: two samples of the better writer, the first above the second.
    """
    if order == "tied":
        better = texts.sources[0]
        rows = {row: places for row, places in better.by_row().items() if len(places) > 1}
        if not rows:
            raise UserError(
                "order=tied compares two samples of the first source, and it has one for each row: give it samples ≥ 2"
            )
        couples = {row: (Place(0, places[0]), Place(0, places[1])) for row, places in rows.items()}
    else:
        better, worse = texts.need(2, "the better writer's texts and the worse one's")
        first, second = better.by_row(), worse.by_row()
        couples = {
            row: (Place(0, first[row][0]), Place(1, second[row][0]))
            for row in texts.rows
            if row in first and row in second
        }
    pairs, equal = [], 0
    for chosen, rejected in couples.values():
        if _text(texts, chosen) == _text(texts, rejected):
            equal += 1
        else:
            pairs.append(PairOf(rejected, chosen) if order == "reversed" else PairOf(chosen, rejected))
    return Paired(pairs, {"equal": equal})


def _text(texts: Texts, place: Place) -> str:
    return texts.sources[place.source].texts[place.at]
