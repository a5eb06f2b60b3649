"""Tables for the terminal: plain aligned text, or rich on a terminal.

* A table is a list of rows of strings; the first row is its header.
* This file imports little, since a cached `w2s train` and `w2s ls` print with it. The function that needs rich imports it.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from w2s_cli.results import graded_table
from w2s_cli.results.escaping import is_figure
from w2s_cli.results.narrow import GAP, blocks, fitted, flowed
from w2s_cli.results.narrow import Rows as Rows
from w2s_cli.statistics import ROLES
from w2s_cli.terminal import console, one_line, visible

if TYPE_CHECKING:
    from rich.table import Table

AGREEMENT = {
    "overall": "agreement with the supervisor",
    "when_weak_right": "  where it is right",
    "when_weak_wrong": "  where it is wrong",
}
SEEDS_SHOWN = 10
NO_GAP = "no gap"  # in the place of a PGR whose gap between weak supervisor and ceiling may be zero, or is negative
REASONS = {  # flag of such a PGR → its reason
    "gap_is_noise": "the ceiling does not beat the weak supervisor, or the method's floor, by more than noise, so every PGR is possible",
    "ceiling_below_weak": "the ceiling is below the weak supervisor, or the method's floor, so PGR has no meaning",
}


def results_table(metrics: Mapping[str, Any]) -> Rows:
    """The table of one result: a header, a row for each role, PGR, the agreement with the supervisor's right and wrong labels, and the
    accuracy of the labels on the student's own rows.

    Args:
        metrics: metrics of an evaluate or summary stage (`w2s_cli.statistics.report`).
    """
    confidence = f"{100 * metrics['confidence']:g} % interval"
    per_seed = 1 < metrics["seeds"] <= SEEDS_SHOWN
    if graded_table.is_graded(metrics):
        return _graded(metrics, confidence, per_seed=per_seed)
    rows = [["", "accuracy", confidence, "AUROC", "ECE", *(["per seed"] if per_seed else [])]]
    for role in ROLES:
        if role in metrics:
            block = metrics[role]
            figures = [
                number(block["accuracy"]),
                bounds(block["interval"]),
                number(block["auroc"]),
                number(block["ece"]),
            ]
            seeds = [" ".join(number(value) for value in block["per_seed"]["accuracy"])] if per_seed else []
            rows.append([role, *figures, *seeds])
    if "pgr" in metrics:
        pgr = metrics["pgr"]
        ratios = pgr["per_seed"] if pgr["interval"] else [None] * metrics["seeds"]
        seeds = [" ".join(number(value, 2) for value in ratios)] if per_seed else []
        rows.append(["PGR", pgr_value(pgr), pgr_bounds(pgr), "", "", *seeds])
    for name, label in AGREEMENT.items():
        if "agreement" in metrics:
            share = metrics["agreement"][name]
            rows.append(
                [
                    label,
                    number(share["value"]),
                    bounds(share["interval"]),
                    "",
                    "",
                    *([""] if per_seed else []),
                ]
            )
    labels = metrics.get("student", {}).get("labels")
    if labels:
        seeds = [" ".join(number(value) for value in labels["per_seed"])] if per_seed else []
        rows.append(["labels of the student's rows", number(labels["accuracy"]), "", "", "", *seeds])
    return rows


def _graded(metrics: Mapping[str, Any], confidence: str, *, per_seed: bool) -> Rows:
    """The table of graded answers."""
    columns = graded_table.heading(metrics)
    rows = [["", "accuracy", confidence, *columns, *(["per seed"] if per_seed else [])]]
    for role, block in graded_table.blocks(metrics).items():
        seeds = [" ".join(number(value) for value in block["per_seed"]["accuracy"])] if per_seed else []
        cells = [number(block["accuracy"]), bounds(block["interval"]), *graded_table.figures(block, columns)]
        rows.append([role, *cells, *seeds])
    if "pgr" in metrics:
        pgr, empty = metrics["pgr"], [""] * len(columns)
        ratios = pgr["per_seed"] if pgr["interval"] else [None] * metrics["seeds"]
        seeds = [" ".join(number(value, 2) for value in ratios)] if per_seed else []
        rows.append([graded_table.ratio_name(metrics), pgr_value(pgr), pgr_bounds(pgr), *empty, *seeds])
    for name, gain in graded_table.gains(metrics).items():
        cells = [f"{gain['value']:+.3f}", bounds(gain["interval"])]
        rows.append([name, *cells, *([""] * len(columns)), *([""] if per_seed else [])])
    return rows


def results_notes(metrics: Mapping[str, Any]) -> list[str]:
    """The notes of a table: the numbers of rows and seeds, and whether the gap may be noise."""
    rows, more = f"{metrics['rows']:,} test rows", ""
    if "majority" in metrics:
        more = f" (the largest class is {metrics['majority']:.3f} of them)"
    if metrics["seeds"] == 1:
        notes = [f"One seed, {rows}{more}: the intervals hold test-row noise only."]
    else:
        notes = [f"{metrics['seeds']} seeds × {rows}{more}: the intervals hold the noise of {metrics['noise']}."]
        if "training rows" not in metrics["noise"]:
            notes.append("All seeds have the same training rows (data.seed): other rows would vary more.")
    pgr = metrics.get("pgr")
    notes += [f"Caution: {NO_GAP}: {REASONS[flag]}." for flag in (pgr["flags"] if pgr else ()) if flag in REASONS]
    pseudolabels = metrics.get("pseudolabels")
    if pseudolabels and pseudolabels["coverage"]["value"] < 1:
        parts = [
            number(pseudolabels[f"student_on_{name}"]["value"])
            for name in ("covered_right", "covered_wrong", "uncovered")
        ]
        notes.append(
            f"The supervisor labels {pseudolabels['coverage']['value']:.0%} of the test rows. The student's accuracy is {parts[0]} where "
            f"it is right, {parts[1]} where it is wrong (correction), {parts[2]} where it abstains (coverage expansion)."
        )
    if pgr and pgr["interval"] and metrics["seeds"] > 1:
        mean = number(pgr["mean_of_ratios"], 2)
        notes.append(f"PGR is the ratio of the means over seeds; the mean of the seeds' ratios is {mean}.")
    return notes


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def bounds(interval: Sequence[float] | None, digits: int = 3) -> str:
    """An interval, or a dash for None."""
    return "-" if interval is None else f"[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def pgr_value(pgr: Mapping[str, Any]) -> str:
    """PGR; "no gap" if the gap may be zero, since the ratio is then noise over noise (results.json has it)."""
    return number(pgr["value"], 2) if pgr["interval"] else NO_GAP


def pgr_bounds(pgr: Mapping[str, Any]) -> str:
    """The interval of PGR; a dash without a gap."""
    return bounds(pgr["interval"], 2)


def plain(rows: Rows) -> str:
    """Aligned text without a trailing newline; columns of figures are right-aligned, all others left-aligned.

    A cell with line breaks makes its row as many lines high.
    """
    rows = [[visible(cell) for cell in row] for row in rows]
    columns = list(zip(*rows, strict=True))
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]
    right = [is_figures(column[1:]) for column in columns]
    lines = []
    for number, row in enumerate(rows):
        split = [cell.split("\n") for cell in row]
        if number == 0:  # the last lines of the headings are beside each other
            split = [[""] * (max(map(len, split)) - len(heading)) + heading for heading in split]
        for parts in zip_longest(*split, fillvalue=""):
            cells = [
                part.rjust(width) if to_right else part.ljust(width)
                for part, width, to_right in zip(parts, widths, right, strict=True)
            ]
            lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def is_figures(cells: Sequence[str]) -> bool:
    """Whether a column has only figures or intervals."""
    lines = (cell.replace("\n", " ") for cell in cells)  # of a cell that was wrapped
    filled = [cell for cell in lines if cell.partition(" n=")[0] not in ("", "-", NO_GAP)]
    return bool(filled) and all(map(is_figure, filled))


def rich_table(rows: Rows, title: str | None = None) -> "Table":
    """The same table for a rich console; a cell may have several lines."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, GAP - 1, 0, 0),  # the box has one character between two columns
    )
    for name, *cells in zip(*rows, strict=True):
        table.add_column(Text(visible(name)), justify="right" if is_figures(cells) else "left", no_wrap=True)
    for row in rows[1:]:
        style = "bold" if row[0] == "PGR" else None
        table.add_row(*(Text(visible(cell)) for cell in row), style=style)  # Text: "[0.1, 0.2]" is no markup
    return table


def print_table(rows: Rows, title: str | None = None, notes: Sequence[str] = ()) -> None:
    """Print to stdout: by rich on a terminal, wrapped to its width where it is too wide, and as plain text elsewhere."""
    if sys.stdout.isatty():
        terminal = console(highlight=False)
        shown = [[visible(cell) for cell in row] for row in rows]
        heading, narrow = title and one_line(title), fitted(shown, terminal.width)
        if heading:
            print()
        if narrow:
            terminal.print(rich_table(narrow, heading))
        else:
            terminal.print(heading or "", blocks(shown, terminal.width), sep="\n", markup=False, soft_wrap=True)
        if notes:
            print()
        for note in notes:
            terminal.print(one_line(note), markup=False, style="yellow" if note.startswith("Caution") else "dim")
        return
    print("\n".join(([title] if title else []) + [plain(rows), *notes]))


def print_items(title: str, items: Sequence[str]) -> None:
    """Print `title: item, item, …`: on a terminal, in lines that end between two items; elsewhere in one line."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    first, *more = items
    print("\n".join(flowed([f"{title}: {first}", *more], width)))
