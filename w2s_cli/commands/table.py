"""`w2s table [NAME] [RUN …] [OPTION=VALUE …]`: stored results as a table, by configs/table/NAME.yaml.

* It reads results.json files, so the time depends on the number of figures, not of stages; nothing is trained, hashed or changed.
* The notes under a table state seeds, test rows, kind of interval, exclusions, the command for every missing cell, and the commands that
  trace a figure to records, configurations, rows and commit.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from w2s_cli.commands.help import width
from w2s_cli.commands.options import parser, store_of
from w2s_cli.config.described import comments, literal
from w2s_cli.errors import UserError
from w2s_cli.paths import locate
from w2s_cli.results.cautions import once
from w2s_cli.results.environment import difference, of_entries
from w2s_cli.results.reader import read_entries, read_runs
from w2s_cli.results.runs import find_runs, run_folders
from w2s_cli.results.table.grid import Grid, Values, is_pgr, lay_out, named, select
from w2s_cli.results.table.measures import DOUBT
from w2s_cli.results.table.request import METRIC, OPTIONS, Request, read_request
from w2s_cli.results.table.settings import by_seed, settings
from w2s_cli.results.text_table import NO_GAP, REASONS, Rows, plain, print_table
from w2s_cli.store.places import command_line

if TYPE_CHECKING:
    from w2s_cli.results.table.comparisons import Comparison

COMMANDS_SHOWN = 12
FILL = "Fill it: "
EXAMPLES = """\
examples:
  w2s table                                     one row for each setting with results
  w2s table methods                             the same with one column per field
  w2s table pgr data=sciq,boolq out=pgr.tex     configs/table/pgr.yaml, filtered, as LaTeX (also .md .csv .parquet .json .txt)
  w2s table rows=data columns=method,loss metric=pgr aggregate=median
  w2s table losses tests=logconf:xent           paired t and Wilcoxon over data sets
  w2s table pgr --cells                         the stage keys behind every cell; then w2s show KEY, w2s why KEY"""


def run(argv: list[str]) -> int:
    """Print or write a table."""
    arg_parser = parser("table", "Show stored results as a table.")
    arg_parser.epilog = f"{EXAMPLES}\n\noptions, set as OPTION=VALUE, with their defaults:\n{_options()}"
    arg_parser.formatter_class = argparse.RawDescriptionHelpFormatter
    arg_parser.add_argument(
        "words", nargs="*", metavar="NAME | RUN | OPTION=VALUE", help="a table, runs to read, options"
    )
    arg_parser.add_argument("--cells", action="store_true", help="list the stage keys behind every cell")
    arg_parser.add_argument("--config-dir", metavar="DIR", help="a folder with table/NAME.yaml of your own")
    options = arg_parser.parse_intermixed_args([f"--{word}" if word.startswith("outputs=") else word for word in argv])
    request = read_request(options.words, options.config_dir)
    store = store_of(options)
    folders = dict.fromkeys(folder for name in request.runs for folder in find_runs(store.root, name))
    entries = read_entries(read_runs(folders or run_folders(store.root), store, named=bool(folders)))
    all_settings = []
    if request.baselines == "mean":
        all_runs = read_runs(run_folders(store.root), store, named=False) if folders else []
        all_settings = settings(read_entries(all_runs) if folders else entries, store)
    if not entries:
        raise UserError(
            f"{store.root} holds no results yet; w2s train makes results, w2s status shows the states of the latest run."
        )
    selected = select(entries, request.where)
    grid = lay_out(request, by_seed(selected) if request.by_seed else settings(selected, store), all_settings)
    _write(grid, cells=options.cells, config_dir=options.config_dir, outputs=options.outputs)
    return 0


def _options() -> str:
    """The options of a table with their defaults, as their declaration explains them."""
    meanings, lines = comments(Request), []
    for option in OPTIONS:
        value = getattr(Request(), option)
        default = ",".join(value) or "none" if isinstance(value, list | dict) else literal(value)
        lines += textwrap.wrap(f"  {option:<10} {default:<9} {meanings[option]}", width(), subsequent_indent=" " * 14)
    return "\n".join(lines)


def _write(grid: Grid, *, cells: bool, config_dir: str | None, outputs: str) -> None:
    from w2s_cli.results.table import formats

    request = grid.request
    if request.written_as == "parquet" and not request.out:
        raise UserError("format=parquet needs a file: set out=FILE.parquet")
    tests: list[Comparison] = []
    if request.tests:
        from w2s_cli.results.table.comparisons import compare, notes_of

        tests = compare(grid)
    commands: list[tuple[Values, Values, str | None]] = []
    if grid.missing():
        from w2s_cli.results.table.missing import commands as fill
        from w2s_cli.results.table.missing import left_out

        grid.left_out = left_out(grid)
        commands = fill(grid, config_dir, outputs)
    numbers = {(row, column): place for place, (row, column, _) in enumerate(commands, start=1)}
    notes = [*standing(grid), *(notes_of(tests, ", ".join(grid.row_fields)) if tests else []), *filling(commands)]
    notes += trace(grid) if cells else [_how_to_trace(grid)]
    if request.out:
        path = locate(request.out)
        formats.save(formats.render(grid, title(grid), notes, numbers, tests, commands), path)
        print(os.path.relpath(path))
    elif request.written_as == "text" and sys.stdout.isatty():
        _print(grid, formats.table(grid, numbers), tests, notes)
    else:
        print(formats.render(grid, title(grid), notes, numbers, tests, commands).decode(), end="")


def _print(grid: Grid, rows: Rows, tests: "list[Comparison]", notes: Sequence[str]) -> None:
    """Print the table by rich; a page that rich would cut is printed as plain text, which the terminal wraps."""
    from w2s_cli.results.table.fitting import wide
    from w2s_cli.results.table.formats import page_width, pages, pages_of_tests

    columns = page_width()
    for heading, tables in (
        (title(grid), pages(grid, rows, columns)),
        ("paired tests", pages_of_tests(tests, columns)),
    ):
        for number, page in enumerate(tables):
            first = heading if number == 0 else None
            if wide(page) <= columns:
                print_table(page, first)
            else:
                print("\n".join([*([first] if first else []), plain(page)]))
    for note in notes:  # a command stays in one line, for the clipboard
        print(note if FILL in note else textwrap.fill(note, columns, break_long_words=False, break_on_hyphens=False))


def title(grid: Grid) -> str:
    """'PGR by data set: weak gpt2, strong qwen'"""
    fixed = {
        **grid.shared,
        **{n: ", ".join(v) for n, v in grid.request.where.items() if n not in (*grid.row_fields, *grid.column_fields)},
    }
    shared = ", ".join(f"{name} {grid.brief.get(value, value)}" for name, value in fixed.items() if value != "-")
    metrics = list(dict.fromkeys(named(metric) for metric in grid.request.metric))
    about = grid.request.about
    if METRIC in about:
        about = about.replace(METRIC, ", ".join(metrics))
    elif len(metrics) == 1 and not is_pgr(grid.request.metric[0]):
        about = f"{about} ({metrics[0]})"
    return about + (f": {shared}" if shared else "")


def standing(grid: Grid) -> list[str]:
    """Seeds, rows, intervals, exclusions, flags and cautions."""
    settings_used = [setting for cell in grid.cells.values() for setting in cell]
    seeds = sorted({len(setting.seeds) for setting in settings_used})
    rows = sorted({setting.metrics["rows"] for setting in settings_used})
    confidence = sorted({100 * setting.metrics["confidence"] for setting in settings_used})
    noise = (
        "test rows only"
        if seeds == [1]
        else "seeds and test rows"
        if seeds[0] > 1
        else "test rows, and seeds where there are several"
    )
    number = "n: " if len(seeds) > 1 else ""
    notes = [f"{number}{_range(seeds)} seed{'' if seeds == [1] else 's'} a setting, {_range(rows)} test rows."]
    figures = grid.figures.values()
    if any(figure.interval for figure in figures):
        fixed = "; for PGR the student's, with the baselines held fixed" if grid.request.baselines == "mean" else ""
        method = "" if seeds[0] > 1 else "Wilson's for a share of one seed, else "
        notes.append(
            f"[ , ]: {_range(confidence)} % intervals over {noise} ({method}bootstrap, paired where roles are compared){fixed}."
        )
    if grid.request.baselines == "mean" and any(is_pgr(metric) for metric in grid.request.metric):
        notes.append("Weak supervisor and ceiling of PGR are means over all their stored seeds (baselines=mean).")
    if any(metric.startswith("pgr_auroc") for metric in grid.request.metric):
        notes.append("PGR (AUROC) is the ratio of the mean AUROCs over seeds; it has no interval.")
    counted = [figure.counts for figure in figures if figure.counts]
    if counted:
        rule = {"median": "the median", "median_runs": "the median over runs", "mean": "the mean"}[
            grid.request.aggregate
        ]
        same, below = (sum(c.get(name, 0) for c in counted) for name in ("same_model", "ceiling_not_above_weak"))
        dropped = (
            f" Left out: {same} of a model with itself, {below} without a gap."
            if any(map(is_pgr, grid.request.metric))
            else ""
        )
        what = "runs" if grid.request.aggregate == "median_runs" else "settings"
        notes.append(f"(k): {rule} of k {what}.{dropped}")
    for flag in dict.fromkeys(figure.flag for figure in figures if figure.flag):
        count = sum(figure.flag == flag and not figure.interval_only for figure in figures) or 1
        notes.append(f"{NO_GAP}: {REASONS[flag]} ({count} cell{'s' if count > 1 else ''}).")
    doubtful = sum(figure.doubtful and figure.value is not None for figure in figures)
    if doubtful:
        notes.append(
            f"{DOUBT}: a model behind it has learned nothing that shows, see the cautions ({doubtful} cell{'s' if doubtful > 1 else ''})."
        )
    for rule in dict.fromkeys(grid.left_out.values()):
        count = sum(of_cell == rule for of_cell in grid.left_out.values())
        notes.append(f"–: left out by pairs={rule} ({count} cell{'s' if count > 1 else ''}).")
    notes += [f"{end} is {path}." for path, end in grid.brief.items()]
    notes += grid.notes
    notes += once((", ".join([*r, *c]), setting.warnings()) for (r, c), cell in grid.cells.items() for setting in cell)
    notes += difference(of_entries(run for setting in settings_used for run in setting.runs or [setting.entry]))
    return notes + [f"Caution: {text}." for text in grid.cautions]


def filling(commands: Sequence[tuple[Values, Values, str | None]]) -> list[str]:
    """The command of each missing cell."""
    notes = []
    for place, (row, column, command) in enumerate(commands[:COMMANDS_SHOWN], start=1):
        cell = ", ".join([*row, *column])
        notes.append(f"[{place}] missing: {cell}. {FILL}{command or 'no stored run has this configuration'}")
    if len(commands) > COMMANDS_SHOWN:
        more = len(commands) - COMMANDS_SHOWN
        more_cells = f"{more} more cells are" if more > 1 else "1 more cell is"
        notes.append(f"{more_cells} missing; format=json lists all commands.")
    return notes


def trace(grid: Grid) -> list[str]:
    """The keys of every cell."""
    show, why = (command_line(_root(grid), command, "KEY") for command in ("show", "why"))
    notes = [f"Stages behind each cell ({show}, {why}):"]
    for (row, column), cell in grid.cells.items():
        keys = "  ".join(f"{' '.join(s.keys)} (seeds {', '.join(map(str, s.seeds))})" for s in cell)
        notes.append(f"  {', '.join([*row, *column]) or 'all'}: {keys}")
    return notes


def _how_to_trace(grid: Grid) -> str:
    stored = (
        key
        for cell in grid.cells.values()
        for setting in cell
        for key in setting.keys
        if setting.entry.run.store.folder(key)
    )
    key = next(stored, None)
    if key is None:
        return "The stages behind these figures were removed; the figures are those of the runs' results.json."
    show, why = (command_line(_root(grid), command, key) for command in ("show", "why"))
    return (
        f"Trace a cell: --cells lists the stages behind each; {show} has its record, {why} its inputs, rows and commit."
    )


def _root(grid: Grid) -> Path:
    """The outputs folder of the table's results."""
    return next(iter(grid.cells.values()))[0].entry.run.store.root


def _range(values: Sequence[float]) -> str:
    low, high = f"{values[0]:,.6g}", f"{values[-1]:,.6g}"
    return low if low == high else f"{low} to {high}"
