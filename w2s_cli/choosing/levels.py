"""levels: only texts of rows of some levels: hard tasks, or their easy parts (He, Yin & Peng 2025; easy to hard, Burns et al. 2023)."""

from w2s_cli.choosing import Chosen, Place, Texts
from w2s_cli.errors import UserError, did_you_mean


def levels(texts: Texts, *, keep: list[str]) -> Chosen:
    """Texts by the level of their row.

    Args:
        texts: one source or more; the data set has levels.
        keep: the levels to keep.
    """
    every = sorted(set(texts.levels.values()))
    if not every:
        raise UserError("this rule chooses by level, and the data set has no levels (data.level=COLUMN)")
    for level in map(str, keep):
        if level not in every:
            raise UserError(f'no row has the level "{level}".{did_you_mean(level, every)}')
    wanted = set(map(str, keep))
    places = [
        Place(number, at)
        for number, source in enumerate(texts.sources)
        for at, row in enumerate(source.ids)
        if texts.levels[row] in wanted
    ]
    return Chosen(places, {"of other levels": sum(len(source.ids) for source in texts.sources) - len(places)})
