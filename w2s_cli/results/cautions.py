"""The cautions of a result, in the words of its stage's kind (pipeline.contract), for the terminal, tables, pages and `load`."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from w2s_cli.pipeline import kinds
from w2s_cli.pipeline.graph import Stage
from w2s_cli.pipeline.kinds import Kind
from w2s_cli.results.reader import Entry

SHOWN = 6  # cautions under a table of many results


def of_result(entry: Entry, planned: Stage | None = None) -> list[str]:
    """The cautions of a result; `planned` is its stage in the graph of the command, if this command made it."""
    return of_metrics(entry, entry.metrics, entry.seeds, planned)


def of_metrics(
    entry: Entry, metrics: Mapping[str, Any], seeds: Sequence[int], planned: Stage | None = None
) -> list[str]:
    """As `of_result`, for metrics over the `seeds` of several entries, of which `entry` is one."""
    kind = planned.of if planned else _of_package(entry.run.kinds.get(entry.key))
    of_kind = kind.optional("cautions") if kind else None
    if of_kind is None:
        return []
    params, about = (planned.identity["params"], planned.about) if planned else ({}, {})
    lines: list[str] = of_kind(metrics, params, {**about, "seeds": list(seeds)})
    return lines


@cache
def _of_package(name: str | None) -> Kind | None:
    """The package's kind of this name; None for the kind of a user's folder, which a reader of results does not know."""
    return kinds.find(name) if name in kinds.kind_names() else None


def once(cautions: Iterable[tuple[str, list[str]]], at_most: int | None = SHOWN) -> list[str]:
    """The cautions of several results, each line once, with the names of its results unless all results have it."""
    listed = list(cautions)
    names: dict[str, list[str]] = {}
    for name, lines in listed:
        for line in lines:
            names.setdefault(line, []).append(name)
    shown = [
        line if len(of) == len(listed) else f"{line} ({of[0] if len(of) == 1 else f'{len(of)} settings'})"
        for line, of in list(names.items())[:at_most]
    ]
    more = len(names) - len(shown)
    return shown + ([f"Caution: {more} more such lines; w2s report shows all of a run."] if more else [])
