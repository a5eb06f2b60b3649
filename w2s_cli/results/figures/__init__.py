"""Figures at the width of a paper's column or page: `draw_kind(kind, run)` and `save`.

* A kind of figure is a file in `w2s_cli/results/figures/` with a function of its name and its CAPTION; the folder is the list of kinds.
* A kind without data in the run raises `NoDataError` with the missing data; `w2s plot` without a kind then draws the other kinds.
* The same run gives the same bytes of PNG, SVG and PDF: no dates, and ids from a fixed salt.
* The functions import matplotlib; drawing needs no display and does not change the user's settings.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.style import COLUMN_INCHES, PAGE_INCHES, check_suffix, save, settings
from w2s_cli.results.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAIN = "accuracy"  # the figure with the plain file name
WIDTHS = {"column": COLUMN_INCHES, "full": PAGE_INCHES}

__all__ = [
    "MAIN",
    "WIDTHS",
    "NoDataError",
    "caption",
    "check_suffix",
    "draw_kind",
    "kinds",
    "page_inches",
    "save",
    "settings",
]


def kinds() -> list[str]:
    """Names of the kinds of figures."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")


def caption(kind: str) -> str:
    """The caption of a kind of figure: what it shows, in a sentence."""
    return str(_file(kind).CAPTION)


def page_inches(kind: str) -> float | None:
    """The width of a kind of figure on the HTML page; None lets the figure choose."""
    return PAGE_INCHES if getattr(_file(kind), "WIDE", False) else None


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
        figure: Figure = getattr(_file(kind), kind)(run, inches, **options)
    return figure


def _file(kind: str) -> ModuleType:
    return importlib.import_module(f"w2s_cli.results.figures.{kind}")
