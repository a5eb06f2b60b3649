"""Figures at the width of a paper's column or page: `draw_kind(kind, run)` and `save`.

* A kind of figure is a file in `w2s_cli/results/figures/` with a function of its name; the folder is the list of kinds.
* A kind without data in the run raises `NoDataError` with the missing data; `w2s plot` without a kind then draws the other kinds.
* The same run gives the same bytes of PNG, SVG and PDF: no dates, and ids from a fixed salt.
* The functions import matplotlib; drawing needs no display and does not change the user's settings.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.style import COLUMN_INCHES, PAGE_INCHES, STYLE, SUFFIXES, check_suffix, save, settings
from w2s_cli.results.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAIN = "accuracy"  # the figure with the plain file name
WIDTHS = {"column": COLUMN_INCHES, "full": PAGE_INCHES}

__all__ = [
    "MAIN",
    "STYLE",
    "SUFFIXES",
    "WIDTHS",
    "NoDataError",
    "check_suffix",
    "draw",
    "draw_kind",
    "kinds",
    "plot_run",
    "save",
    "settings",
]


def kinds() -> list[str]:
    """Names of the kinds of figures."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")


def draw_kind(kind: str, run: Run, *, inches: float | None = None, **options: Any) -> "Figure":
    """One figure of a run, to be saved with `save`.

    Args:
        kind: one of `kinds()`.
        run: a run or sweep.
        inches: width; None lets the figure choose between a column and a page.
        options: of this kind (`axis` of scaling: "size" or "compute").

    Raises:
        UserError: an unknown kind.
        NoDataError: the run lacks the data of this figure.
    """
    if kind not in kinds():
        raise UserError(f'there is no figure "{kind}".{did_you_mean(kind, kinds())}')
    with settings():
        function = getattr(importlib.import_module(f"w2s_cli.results.figures.{kind}"), kind)
        figure: Figure = function(run, inches, **options)
    return figure


def draw(runs: Mapping[str, Mapping[str, Any]], title: str = "", inches: float | None = None) -> "Figure":
    """Bars of weak supervisor, student and ceiling in matplotlib's current settings; see `plot_run`."""
    from w2s_cli.results.drawing.bars import bars

    return bars(runs, title, inches)


def plot_run(runs: Mapping[str, Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Draw weak supervisor, student and ceiling with their intervals, and PGR; several runs side by side.

    Args:
        runs: name (of the method, loss, …) → metrics of an evaluate or summary stage; a single run's name is not
            shown.
        path: the picture; its suffix (.png, .svg, .pdf) is its format.

    Raises:
        UserError: an unknown suffix, nothing to draw, or a path that cannot be written.
    """
    check_suffix(path)
    if not runs:
        raise UserError("no finished run to draw; run w2s train first")
    with settings():
        figure = draw(runs, title)
    save(figure, path)
