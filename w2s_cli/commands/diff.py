"""`w2s diff A B`: the differences between two runs, sweeps or stages: configuration, data, code, environment, stages and results.

* A and B are runs, named as for every command (see `results.runs`), or the first digits of a stage's key.
* Results with the same test rows are compared on them: the interval of the difference is a paired bootstrap over the stored predictions,
  or graded texts. A difference whose interval contains 0 may be noise.
* Two methods differ in all their stages. Their stages take one line; `--all` or `--json` has the fields.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from w2s_cli.commands.options import RUN, parse, parser, stage_of, store_of
from w2s_cli.errors import UserError
from w2s_cli.results.diff import (
    ABSENT,
    Change,
    Side,
    code_changes,
    config_changes,
    data_changes,
    environment_changes,
    matched,
    stage_changes,
)
from w2s_cli.results.reader import SUMMARY, Entry, Run, read_run
from w2s_cli.results.runs import find_run, find_runs
from w2s_cli.results.stages import read_stage, read_upstream
from w2s_cli.results.text_table import NO_GAP, bounds, number, print_table
from w2s_cli.statistics import ROLES
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.store import Store

SHOWN = 40  # largest number of lines of a section
WEAK = ROLES[0]  # from which PGR counts the gap
FIGURES = ("weak_accuracy", "student_accuracy", "ceiling_accuracy", "pgr")


def run(argv: list[str]) -> int:
    """Print the differences."""
    arg_parser = parser("diff", "Show the differences between two runs, sweeps or stages.")
    arg_parser.add_argument("a", metavar="A", help=f"a run ({RUN}), or the first digits of a stage's key")
    arg_parser.add_argument("b", metavar="B")
    arg_parser.add_argument("--json", action="store_true", help="the same as JSON")
    arg_parser.add_argument("--all", action="store_true", help="every field of every stage, however many")
    options = parse(arg_parser, argv)
    store = store_of(options)
    a, b = side(store, options.a), side(store, options.b)
    sections = {
        "config": config_changes(a, b),
        "data": data_changes(a, b),
        "code": code_changes(a, b),
        "environment": environment_changes(a, b),
    }
    results = [_result(one, other) for one, other in matched(a, b)]
    if options.json:
        print(
            json.dumps(
                {"a": a.name, "b": b.name, **sections, "stages": _stages_json(a, b), "results": results}, indent=1
            )
        )
        return 0
    print(f"A: {a.name}\nB: {b.name}")
    for title, changes in sections.items():
        if title == "config" and not (a.configs and b.configs):
            print("\nconfig: only runs have one; the params of a stage are under stages")
        else:
            _section(title, changes if options.all else together(changes), most=None if options.all else SHOWN)
    _stages(a, b)
    _results(results, a, b)
    return 0


def side(store: Store, name: str) -> Side:
    """The run, sweep or stage `name`.

    Raises:
        UserError: no run or stage has this name, or several runs have it.
    """
    key = Path(name).name[-KEY_DIGITS:]
    may_be_key = bool(re.fullmatch(r"[0-9a-f]{3,}", key))
    try:
        runs = find_runs(store.root, name)
    except UserError:
        if not may_be_key:
            raise
        runs = []
    if not runs or (len(runs) > 1 and may_be_key and store.match(key)):
        return _of_stage(store, stage_of(store, name).name[-KEY_DIGITS:])
    folder = find_run(store.root, name)
    run_of = read_run(folder, store)
    stages = {stage.key: stage for stage in run_of.stages if stage.folder}
    return Side(folder.name, run_of.configs, stages, run_of.entries)


def _of_stage(store: Store, key: str) -> Side:
    """The side of one stage and its inputs; the metrics of a comparison are its result."""
    stage = read_stage(store, key)
    entries = []
    if stage.gives == "comparison" and stage.metrics:
        run = Run(Path(), store)
        run.__dict__["compared"] = {key: stage.inputs}
        name = SUMMARY if "seeds" in stage.params else stage.name
        entries = [Entry({}, name, key, list(stage.params.get("seeds", [])), stage.metrics, run)]
    return Side(f"{stage.name} {key}", [], read_upstream(store, [key]), entries)


def together(changes: Sequence[Change]) -> list[Change]:
    """The changes; the stages of two methods are joined to one change after the methods' names."""
    if not any(name == "method.name" for name, *_ in changes):
        return list(changes)  # one method with different fields
    inside = [change for change in changes if change[0].startswith("method.stages.")]
    left = [change for change in changes if change not in inside]
    if len(inside) < 2:
        return list(changes)
    place = next(number for number, (name, *_) in enumerate(left) if name == "method.name")
    stages: list[str] = []
    for side_of in (1, 2):
        names = dict.fromkeys(change[0].split(".")[2] for change in inside if change[side_of] != ABSENT)
        stages.append(f"{len(names)} stages: {', '.join(names)}" if names else ABSENT)
    line = (f"method.stages ({len(inside)} fields; --all)", stages[0], stages[1])
    return [*left[: place + 1], line, *left[place + 1 :]]


def _section(title: str, changes: Sequence[Change], most: int | None = SHOWN) -> None:
    print(f"\n{title}: {'the same' if not changes else ''}".rstrip())
    if changes:
        print_table([["", "A", "B"], *(["  " + name, _cut(old), _cut(new)] for name, old, new in changes[:most])])
    if most and len(changes) > most:
        print(f"  … {len(changes) - most} more; --all or --json lists them")


def _cut(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _stages(a: Side, b: Side) -> None:
    stages_of = stage_changes(a, b)
    alone = f"{len(stages_of.only_a)} only in A, {len(stages_of.only_b)} only in B"
    print(f"\nstages: {len(stages_of.shared)} shared, {alone}, {len(stages_of.changed)} changed")
    for label, stages in (("only in A", stages_of.only_a), ("only in B", stages_of.only_b)):
        for stage in stages[:SHOWN]:
            print(f"  {label}: {stage.name} ({stage.kind} {stage.key})")
    for one, other, params, edges in stages_of.changed[:SHOWN]:
        why = "; ".join(f"{name} {_cut(old, 30)} → {_cut(new, 30)}" for name, old, new in params)
        inputs = f"inputs {', '.join(edges)}" if edges else ""
        print(f"  {one.name} {one.key} → {other.key}: {'; '.join(filter(None, [why, inputs])) or 'kind or version'}")
    if len(stages_of.changed) > SHOWN:
        print(f"  … {len(stages_of.changed) - SHOWN} more; --json lists all")


def _stages_json(a: Side, b: Side) -> dict[str, Any]:
    stages_of = stage_changes(a, b)
    return {
        "shared": [stage.key for stage in stages_of.shared],
        "only_a": [stage.key for stage in stages_of.only_a],
        "only_b": [stage.key for stage in stages_of.only_b],
        "changed": [
            {"name": one.name, "a": one.key, "b": other.key, "params": params, "inputs": edges}
            for one, other, params, edges in stages_of.changed
        ],
    }


def _result(a: Entry, b: Entry) -> dict[str, Any]:
    """Two results side by side, and their paired difference if both have the same test rows."""
    result: dict[str, Any] = {"a": brief(a), "b": brief(b), "difference": None, "note": None}
    from w2s_cli.results.answered import answered
    from w2s_cli.statistics.contrast import contrast

    one, other = answered(a), answered(b)
    if one is None or other is None:
        result["note"] = "no paired interval, since the answers to the test rows are no longer stored"
        return result
    confidence = a.metrics.get("confidence", 0.95)
    same_seeds = a.seeds == b.seeds and len(a.seeds) > 1
    difference = contrast(one, other, same_seeds=same_seeds, confidence=confidence)
    if difference is None:
        result["note"] = "different test rows: the figures are not comparable row by row"
    elif not a.metrics.get("floor", WEAK) == b.metrics.get("floor", WEAK) == WEAK:
        difference.pop("pgr", None)  # the contrast counts the gap from the weak supervisor
    result["difference"] = difference
    return result


def brief(entry: Entry) -> dict[str, Any]:
    """The identity of an entry, and its figures."""
    roles = [role for role in ROLES if role in entry.metrics]
    levels: dict[str, Any] = {f"{role}_accuracy": entry.metrics[role]["accuracy"] for role in roles}
    pgr = entry.metrics.get("pgr")
    return {
        **entry.fields,
        "key": entry.key,
        "seeds": entry.seeds,
        **levels,
        "pgr": pgr["value"] if pgr and pgr["interval"] else None,
    }


def _results(results: Sequence[dict[str, Any]], a: Side, b: Side) -> None:
    print(f"\nresults: {'none to compare' if not results else ''}".rstrip())
    summaries = [pair for pair in results if len(pair["a"]["seeds"]) > 1]  # single seeds are then in --json only
    pairs = summaries or results
    for pair in pairs[:SHOWN]:
        fields = {name: (value, pair["b"].get(name)) for name, value in pair["a"].items() if name not in FIGURES}
        words = [
            f"{name} {value if value == other else f'{value} → {other}'}"
            for name, (value, other) in fields.items()
            if name not in ("key", "seeds") and (value, other) != (None, None)
        ]
        seeds = [", ".join(map(str, pair[s]["seeds"])) for s in ("a", "b")]
        words.append(f"seeds {seeds[0] if seeds[0] == seeds[1] else ' → '.join(seeds)}" if any(seeds) else "")
        rows = [["", "A", "B", "B - A", "interval", ""]]
        for role in FIGURES:
            if role in pair["a"] and role in pair["b"]:
                rows.append(_line(role, pair))
        print_table(rows, "  ".join(filter(None, words)) or f"{pair['a']['key']} → {pair['b']['key']}")
        paired = pair["difference"]
        print(pair["note"] or f"Paired over {paired['rows']:,} test rows; the intervals hold {paired['noise']}.")
    if len(pairs) > SHOWN:
        print(f"… {len(pairs) - SHOWN} more; --json lists all")
    unmatched = len(a.entries) + len(b.entries) - 2 * len(results)
    if unmatched:
        print(f"{unmatched} results have no counterpart on the other side.")


def _line(role: str, pair: dict[str, Any]) -> list[str]:
    old, new = pair["a"][role], pair["b"][role]
    digits = 2 if role == "pgr" else 3
    paired = (pair["difference"] or {}).get(role.removesuffix("_accuracy")) or {}
    interval = paired.get("interval")
    verdict = "" if interval is None else "may be noise" if interval[0] <= 0 <= interval[1] else "differs"
    if interval == [0.0, 0.0]:
        verdict = "the same"
    difference = None if old is None or new is None else new - old
    figures = [_figure(role, pair[side], digits) for side in ("a", "b")]
    cells = [*figures, number(difference, digits), bounds(interval, digits)]
    return ["PGR" if role == "pgr" else role.removesuffix("_accuracy"), *cells, verdict]


def _figure(role: str, side: dict[str, Any], digits: int) -> str:
    """A figure of one side; a PGR that a side with all roles lacks has no gap."""
    no_gap = role == "pgr" and side["pgr"] is None and all(f"{one}_accuracy" in side for one in ROLES)
    return NO_GAP if no_gap else number(side[role], digits)
