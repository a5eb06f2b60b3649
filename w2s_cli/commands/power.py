"""`w2s power [RUN …] [FIELD=VALUE …] [--between A B]`: which further seeds or test rows narrow an interval most, for each hour.

* The figure is one of a single setting (student-weak, pgr, …) or, with --between, its difference between two settings of a sweep. A sweep
  of two settings needs no --between.
* Everything comes from finished results (`results/power.py`). Nothing runs and nothing is changed.
"""

import math
from collections.abc import Sequence
from typing import Any

from w2s_cli.commands.options import parser, store_of
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.results.fields import check_field, shown, value_of
from w2s_cli.results.power import FIGURES, PGR, Choice, Power, power
from w2s_cli.results.reader import Entry, read_entries, read_runs
from w2s_cli.results.runs import LATEST, find_runs
from w2s_cli.results.table.settings import Setting, settings
from w2s_cli.results.text_table import NO_GAP, REASONS, print_table
from w2s_cli.store.places import command_line
from w2s_cli.store.store import Store

LISTED = 12  # settings that a message names
LITTLE = 0.1  # a choice that narrows the interval by a smaller share helps little
FEW = 4  # seeds below which the noise of seeds is a rough estimate
UNITS = {"hour": 3600, "minute": 60, "second": 1}  # of time → seconds
PARTS = {"seed": "seeds", "row": "test rows", "rest": "single answers (a seed on a row)"}


def run(argv: list[str]) -> int:
    """Print the noise of a figure by part, and what further seeds or rows would do."""
    arg_parser = parser(
        "power",
        "Show how far further seeds or test rows would narrow the interval of a difference, and at what cost, from what has been run.",
    )
    arg_parser.add_argument(
        "words",
        nargs="*",
        metavar="RUN | FIELD=VALUE",
        help="runs to read (default: the latest); fields that choose a setting",
    )
    arg_parser.add_argument(
        "--between", nargs=2, metavar=("A", "B"), help="two settings, each by FIELD=VALUE[,FIELD=VALUE]: B minus A"
    )
    arg_parser.add_argument(
        "--figure", choices=FIGURES, help="the figure (default: student-weak; of two settings: student)"
    )
    arg_parser.add_argument(
        "--seeds", type=int, action="append", default=[], metavar="K", help="look at K further seeds (repeatable)"
    )
    arg_parser.add_argument(
        "--rows", type=int, action="append", default=[], metavar="M", help="look at M further test rows (repeatable)"
    )
    options = arg_parser.parse_intermixed_args([f"--{word}" if word.startswith("outputs=") else word for word in argv])
    for name, values in (("seeds", options.seeds), ("rows", options.rows)):
        if any(value < 1 for value in values):
            raise UserError(f"--{name}: a number of further {name}, 1 or more.")
    store = store_of(options)
    names = [word for word in options.words if "=" not in word] or [LATEST]
    folders = dict.fromkeys(folder for name in names for folder in find_runs(store.root, name))
    entries = read_entries(read_runs(folders, store, named=True))
    if not entries:
        raise UserError(f"{' '.join(names)}: no result yet; w2s status shows the stages.")
    offered = _chosen(settings(entries, store), [word for word in options.words if "=" in word], entries)
    sides = _sides(offered, options.between, entries)
    figure = options.figure or ("student" if len(sides) == 2 else "student-weak")
    _refuse_no_gap(sides, figure)
    shared = [seed for seed in sides[0].seeds if all(seed in side.seeds for side in sides)]
    by_seed = [[_of_seed(side, seed) for seed in shared] for side in sides]
    confidence = float(sides[0].metrics["confidence"])
    result = power(by_seed, figure, store, confidence, options.seeds, options.rows)
    _show(result, sides, figure, offered, store)
    return 0


def _of_seed(side: Setting, seed: int) -> Entry:
    return next(entry for entry in side.runs if entry.seeds == [seed])


def _chosen(offered: list[Setting], words: Sequence[str], entries: Sequence[Entry]) -> list[Setting]:
    """The settings with these values of fields.

    Raises:
        UserError: no such field, or no such setting.
    """
    chosen = [setting for setting in offered if setting.runs]
    for word in words:
        name, _, value = word.partition("=")
        check_field(entries, name)
        values = {shown(value_of(setting.entry, name)) for setting in chosen}
        chosen = [setting for setting in chosen if shown(value_of(setting.entry, name)) == value]
        if not chosen:
            raise UserError(f"{word}: no setting has this value.{did_you_mean(value, values)}")
    return chosen


def _sides(offered: list[Setting], between: Sequence[str] | None, entries: Sequence[Entry]) -> list[Setting]:
    """One setting, or the two that are compared."""
    if between:
        return [_one(_chosen(offered, side.split(","), entries), offered, side) for side in between]
    return offered if len(offered) == 2 else [_one(offered, offered, "")]


def _one(chosen: list[Setting], offered: list[Setting], words: str) -> Setting:
    if len(chosen) == 1:
        return chosen[0]
    listed = [f"  {_named(setting, offered)}" for setting in chosen[:LISTED]]
    more = [f"  … {len(chosen) - LISTED} more"] if len(chosen) > LISTED else []
    what = f"{words}: " if words else ""
    lines = "\n".join([*listed, *more])
    raise UserError(f"{what}{len(chosen)} settings. Choose one by FIELD=VALUE, or two by --between A B:\n{lines}")


def _named(setting: Setting, offered: Sequence[Setting]) -> str:
    """A setting by the words in which it differs from the others."""
    words = [[word for word in one.entry.words if word.partition("=")[0] not in ("seed", "seeds")] for one in offered]
    shared = set.intersection(*(set(each) for each in words))
    own = [
        word for word in words[next(place for place, one in enumerate(offered) if one is setting)] if word not in shared
    ]
    return " ".join(own) or f"{setting.entry.fields['weak']} → {setting.entry.fields['strong']}"


def _refuse_no_gap(sides: Sequence[Setting], figure: str) -> None:
    for side in sides:
        pgr = side.metrics.get("pgr")
        if figure == PGR and pgr and not pgr["interval"]:
            reason = next((REASONS[flag] for flag in pgr["flags"] if flag in REASONS), "the gap may be 0")
            raise UserError(f"{NO_GAP}: {reason}. Choose another --figure, such as student-weak.")


def _show(result: Power, sides: Sequence[Setting], figure: str, offered: Sequence[Setting], store: Store) -> None:
    unit, scale = ("", 1.0) if figure == PGR else (" points", 100.0)

    def width(half: float) -> str:
        return f"±{scale * half:.2f}"

    names = [_named(side, offered) for side in sides]
    what = f"{figure}, {names[1]} minus {names[0]}" if len(sides) == 2 else f"{figure} of {_title(sides[0])}"
    unit_of_time = _unit_of_time(result)
    rows: list[list[str]] = [["", "interval", "narrower", f"{unit_of_time}s", f"narrower per {unit_of_time}"]]
    rows.append([f"now: {len(result.seeds)} seeds × {result.rows:,} test rows", width(result.half), "", "", ""])
    for choice in result.choices:
        gain = scale * (result.half - choice.half)
        time = choice.cost.seconds / UNITS[unit_of_time]
        costs = [f"{time:,.3g}", f"{gain / time:,.3g}"] if time else ["-", "-"]
        rows.append([_words(choice), width(choice.half), f"{gain:.2f}", *costs])
    title = f"{what}: {scale * result.value:+.2f}{unit}, expected {result.confidence:.0%} interval {width(result.half)}"
    print_table(_noise(result, scale, unit), title)
    print()
    print_table(rows, notes=_notes(result, width, unit))
    print(_conclusion(result, width, unit))
    _print_commands(result, sides, store)


def _unit_of_time(result: Power) -> str:
    """The largest unit in which the dearest choice is 1 or more."""
    most = max((choice.cost.seconds for choice in result.choices), default=0.0)
    return next((unit for unit, seconds in UNITS.items() if most >= seconds), "second")


def _title(setting: Setting) -> str:
    fields = setting.entry.fields
    return f"{fields['weak']} → {fields['strong']} on {fields['data']}"


def _words(choice: Choice) -> str:
    if choice.seeds:
        return f"{choice.seeds} more seed{'s' if choice.seeds > 1 else ''}"
    return f"{choice.rows:,} more test rows"


def _noise(result: Power, scale: float, unit: str) -> list[list[str]]:
    """The parts of the noise: their deviation, and their share of the variance of the mean."""
    seeds, rows = len(result.seeds), result.rows
    of_mean = {
        "seed": result.parts.seed / seeds,
        "row": result.parts.row / rows,
        "rest": result.parts.rest / (seeds * rows),
    }
    whole = sum(of_mean.values()) or 1.0
    table = [["noise of", f"deviation of one{',' + unit if unit else ''}", "share of the variance now"]]
    for part, label in PARTS.items():
        deviation = scale * math.sqrt(getattr(result.parts, part))
        table.append([label, f"{deviation:.2f}", f"{of_mean[part] / whole:.0%}"])
    return table


def _notes(result: Power, width: Any, unit: str) -> list[str]:
    devices = sorted({device for choice in result.choices for device in choice.cost.devices})
    notes = [
        f"The time is the wall time of the stages that a choice adds, as recorded{' on ' + ', '.join(devices) if devices else ''}. "
        "An interval is the expected one; the spread of the seeds that are drawn makes it narrower or wider."
    ]
    if unknown := max((choice.cost.unknown for choice in result.choices), default=0):
        notes.append(f"Caution: {unknown} stages have no record of their time, so the time is too short.")
    for part in result.parts.negative:
        notes.append(
            f"The estimate for {PARTS[part]} is below 0 and counts as 0: these data show no noise of {PARTS[part]}."
        )
    if len(result.seeds) < FEW:
        notes.append(
            f"Caution: {len(result.seeds)} seeds give a rough estimate of the noise of seeds; look again after some more."
        )
    if result.available is not None and result.available <= result.rows:
        notes.append(f"The data set has no test rows beyond these {result.rows:,}.")
    elif result.available is not None:
        notes.append(f"The data set has up to {result.available:,} test rows.")
    unknown_rows = "row" in result.parts.negative
    endless = "not known, since the noise of test rows is not" if unknown_rows else f"{width(result.endless)}{unit}"
    notes.append(f"Endless seeds on these test rows: {endless}.")
    return notes


def _conclusion(result: Power, width: Any, unit: str) -> str:
    """What to do, in a sentence."""
    best = result.choices[0] if result.choices else None
    if best is None or result.gain(best) <= 0:
        return "No choice narrows the interval."
    per = _unit_of_time(result)
    sentence = (
        f"{_words(best)}: {width(result.half)} → {width(best.half)}{unit}, {best.cost.seconds / UNITS[per]:,.3g} {per}s"
    )
    others = [choice for choice in result.choices if bool(choice.seeds) != bool(best.seeds)]
    if others:
        widest = min(others, key=lambda choice: choice.half)
        little = (
            "help little" if (result.half - widest.half) < LITTLE * result.half else "cost more for what they narrow"
        )
        kind = "more test rows" if best.seeds else "more seeds"
        sentence += f"; {kind} {little} ({_words(widest)}: {width(widest.half)})"
    return f"Most per {per}: {sentence}."


def _print_commands(result: Power, sides: Sequence[Setting], store: Store) -> None:
    """The commands of the first choice, if the seeds are those of seeds=n."""
    if not result.choices or result.seeds != list(range(len(result.seeds))):
        return
    best = result.choices[0]
    for side in sides:
        words = [word for word in side.entry.words if word.partition("=")[0] not in ("seed", "seeds", "outputs")]
        if best.rows:
            words = [word for word in words if not word.startswith("data.limits.test=")] + [
                f"data.limits.test={result.rows + best.rows}"
            ]
        print(command_line(store.root, "train", *words, f"seeds={len(result.seeds) + best.seeds}"))
