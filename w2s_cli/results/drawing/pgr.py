"""PGR in figures: the value of the tables, the median over several evaluations, and the axis.

* PGR is None if the gap may be zero. Medians follow the rule of the paper's notebook (openai/weak-to-strong): pairs with a ceiling not
  above the weak supervisor, and pairs of a model with itself, are dropped.
* The axis spans 0 to 1 with the values around it, up to fixed limits: a PGR of −40 over a tiny gap must not flatten the others. A value
  beyond the axis has an arrow at its edge (a small arrow for the end of an interval), and the figure counts such values in words.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from w2s_cli.results.pairs import recovered_over
from w2s_cli.results.reader import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST, MOST = (-0.1, 1.1), (-1.0, 2.0)
Shown = tuple[float | None, Sequence[float] | None]  # PGR and its interval


def shown_pgr(entries: Sequence[Entry]) -> Shown:
    """PGR of one evaluation with its interval, or the median of several without an interval."""
    if len(entries) != 1:
        return median_pgr(entries), None
    pgr: dict[str, Any] | None = entries[0].metrics.get("pgr")
    return (pgr["value"], pgr["interval"]) if pgr and pgr["interval"] else (None, None)


def median_pgr(entries: Sequence[Entry]) -> float | None:
    """Median PGR of several evaluations; None if every pair is dropped."""
    value: float | None = recovered_over(entries)["median"]
    return value


def window(values: Sequence[float]) -> tuple[float, float]:
    """Limits of the axis, which cut intervals."""
    low, high = min([0.0, *values]), max([1.0, *values])
    margin = 0.08 * (min(high, MOST[1]) - max(low, MOST[0]))
    return max(min(LEAST[0], low - margin), MOST[0]), min(max(LEAST[1], high + margin), MOST[1])


def left_out(absent: int, pgrs: Sequence[Shown]) -> str:
    """The counts of values that the axis does not show, in words; '' for none."""
    values = [value for value, _ in pgrs if value is not None]
    low, high = window(values)
    beyond = sum(not low <= value <= high for value in values)
    cut = sum(
        value is not None and low <= value <= high and bool(beyond_of(bounds, low, high)) for value, bounds in pgrs
    )
    words = [f"{absent} of {absent + len(values)} have no gap beyond its noise"] if absent else []
    words += [f"{beyond} beyond the axis (arrows)"] if beyond else []
    words += [f"{cut} interval{'s' if cut > 1 else ''} cut (small arrows)"] if cut else []
    return ", ".join(words)


def beyond_of(bounds: Sequence[float] | None, low: float, high: float) -> list[float]:
    """The edges of the axis that an interval exceeds."""
    if bounds is None:
        return []
    return [*([low] if bounds[0] < low else []), *([high] if bounds[1] > high else [])]


def arrows(axes: "Axes", place: float, pgr: Shown, colour: str, *, across: bool = False) -> None:
    """Draw arrows at the edges of the axis (`across`: the x axis) for a value, or an end of its interval, beyond the axis."""
    value, bounds = pgr
    if value is None:
        return
    low, high = axes.get_xlim() if across else axes.get_ylim()
    outside = beyond_of((value, value), low, high)
    for edge in outside or beyond_of(bounds, low, high):
        marker = ("<" if across else "v") if edge == low else (">" if across else "^")
        x, y = (edge, place) if across else (place, edge)
        axes.plot([x], [y], marker=marker, markersize=5 if outside else 3, color=colour, clip_on=False, zorder=6)
