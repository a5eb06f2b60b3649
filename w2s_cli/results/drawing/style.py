"""The style of all figures, and their files.

* Okabe-Ito colours are distinct for colour-blind readers; markers and line styles repeat the distinction for print in grey.
* Widths are those of a paper's column and page, so that figures need no scaling and letters keep their size of at least 7 points.
* Files have no dates and no version of matplotlib, and SVG ids come from a fixed salt: equal metrics give equal bytes.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_cli.errors import UserError
from w2s_cli.results.narrow import wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

COLOURS = {"weak": "#E69F00", "student": "#0072B2", "ceiling": "#009E73"}
MARKERS = {"weak": "^", "student": "o", "ceiling": "s"}
# for lines that are no roles: without yellow, which is pale on paper; black is for the ceiling among such lines
PALETTE = ("#0072B2", "#D55E00", "#CC79A7", "#009E73", "#E69F00", "#56B4E9")
# for the students of several settings beside the other roles: none has the colour of one
STUDENTS = (COLOURS["student"], "#56B4E9", *PALETTE[1:3], "#000000", "#999999")
SHAPES = ("o", "^", "s", "D", "v", "P")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (2, 2)), (0, (7, 2, 1, 2, 1, 2)))
SUFFIXES = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None, "Producer": None}}
COLUMN_INCHES, PAGE_INCHES = 3.25, 6.75
LETTERS_PER_INCH = 16  # of 7-point text; longer titles and names are broken into lines
ROWS_SHOWN = 40  # settings in one figure
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture on every machine
    "font.size": 7,
    "axes.labelsize": 7.5,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "xtick.major.size": 0,
    "xtick.major.width": 0.6,
    "xtick.minor.size": 0,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # TrueType: many publishers refuse matplotlib's default type 3
    "svg.hashsalt": "w2s",
    "savefig.dpi": 300,
}


@contextmanager
def settings() -> Iterator[None]:
    """matplotlib's defaults with STYLE over them, while a figure is drawn or written; files need no backend."""
    # a notebook's names a module that this environment may lack, and then the import fails
    os.environ.pop("MPLBACKEND", None)
    import matplotlib

    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    with matplotlib.rc_context({**defaults, **STYLE}):
        yield


def check_suffix(path: Path) -> None:
    """Refuse (UserError) a path without the suffix of a figure's format."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f'{path}: cannot draw a "{path.suffix}" file; use one of {", ".join(SUFFIXES)}')


def save(figure: "Figure", path: Path) -> None:
    """Write a figure; UserError for an unknown suffix or a path that cannot be written."""
    check_suffix(path)
    with settings():
        try:
            figure.savefig(path, metadata=SUFFIXES[path.suffix.lower()])
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}); choose another path") from error


def new_figure(inches: float, height: float) -> "Figure":
    """An empty figure with a constrained layout."""
    from matplotlib.figure import Figure

    return Figure(figsize=(inches, height), layout="constrained")


def spread(interval: Sequence[float] | None, value: float) -> list[list[float]] | None:
    """matplotlib's error of one point, below and above; None without an interval."""
    if interval is None:
        return None
    low, high = interval
    return [[max(value - low, 0.0)], [max(high - value, 0.0)]]


def cut(text: str, letters: int = 48) -> str:
    """`text` cut to `letters` characters, since users' names can be longer than a figure."""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def fit(text: str, inches: float) -> str:
    """`text` broken into lines of at most `inches` in 7-point letters."""
    return "\n".join(wrapped(text, max(8, int(inches * LETTERS_PER_INCH)), parts=True))


def legend_above(figure: "Figure", handles: Sequence[Any], columns: int, title: str) -> None:
    """Draw the figure's title and a legend above all axes."""
    for handle in handles:
        handle.set_label(fit(cut(str(handle.get_label())), figure.get_figwidth() / columns - 0.35))
    figure.legend(
        handles=list(handles),
        title=fit(cut(title, 200), figure.get_figwidth() - 0.15),
        title_fontsize=8,
        alignment="left",
        loc="outside upper left",
        ncols=columns,
        handlelength=2.2,
        columnspacing=1.2,
        handletextpad=0.5,
        borderaxespad=0.1,
    )


def legend_of_panel(axes: "Axes", title: str, **options: Any) -> "Legend":
    """Draw the title and the legend of one panel above it; `options` are those of matplotlib's `legend`."""
    return axes.legend(
        title=title,
        title_fontsize=7,
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        borderaxespad=0.1,
        labelspacing=0.25,
        **options,
    )


def quiet_grid(axes: "Axes", axis: Any) -> None:
    """Draw a grid of thin lines behind all marks."""
    axes.grid(axis=axis, color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
