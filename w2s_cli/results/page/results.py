"""The top of the page: the results as in the terminal, and the missing parts."""

from typing import Any

from w2s_cli.results.cautions import of_result, once
from w2s_cli.results.environment import difference, of_stages
from w2s_cli.results.graded_table import level_rows
from w2s_cli.results.page.markup import Html, join, rows, tag
from w2s_cli.results.page.stages import detail
from w2s_cli.results.reader import Run
from w2s_cli.results.stages import Stage
from w2s_cli.results.summary_table import below, medians, overview, title
from w2s_cli.results.text_table import bounds, number, pgr_bounds, pgr_value, results_notes, results_table
from w2s_cli.statistics import ROLE_NAMES, ROLES

STAGES_NAMED = 20
TABLES_SHOWN = 4  # the tables of more settings than this are left out


def missing(run: Run, stages: list[Stage]) -> Html:
    """A box with the missing parts of the run; empty for a finished run."""
    lines = list(run.missing)
    undone = [stage for stage in stages if stage.state.word != "done"]
    for stage in undone[:STAGES_NAMED]:
        lines.append(f"{stage.name} {stage.key} is {stage.state.word}: {detail(stage)}")
    if len(undone) > STAGES_NAMED:
        lines.append(f"{len(undone) - STAGES_NAMED} more stages are not done")
    if not lines:
        return Html("")
    return tag(
        "div", tag("b", "Not complete."), tag("ul", *(tag("li", line) for line in lines)), class_="missing", role="note"
    )


def result(run: Run) -> Html:
    """The figures of a single setting in large; for several settings the medians over pairs of models."""
    entries = run.settings
    if not entries:
        return tag("p", "No result yet.")
    if len(entries) > 1:
        lines = [f"{len(entries)} settings.", *medians(entries)]
        return join(*(tag("p", line) for line in lines))
    metrics: dict[str, Any] = entries[0].metrics
    cards = [
        _card(ROLE_NAMES[role], number(metrics[role]["accuracy"]), bounds(metrics[role]["interval"]), role)
        for role in ROLES
        if role in metrics
    ]
    if "pgr" in metrics:
        floor = metrics.get("floor", "weak")
        what = "performance gap recovered" if floor == "weak" else f"gap recovered from {floor}"
        cards.append(_card(what, pgr_value(metrics["pgr"]), pgr_bounds(metrics["pgr"]), "pgr"))
    return tag("div", *cards, class_="cards")


def _card(name: str, value: str, interval: str, kind: str) -> Html:
    return tag("div", tag("span", name), tag("strong", value), tag("span", interval), class_=f"card {kind}")


def table(run: Run) -> Html:
    """The tables of the run, as in the terminal, and whether its stages come from different environments."""
    lines = difference(of_stages(run.stages)) if run.settings else []
    return join(_tables(run), *(tag("p", line, class_="note") for line in lines))


def _tables(run: Run) -> Html:
    """The tables of the run: of several settings first one with a row each."""
    entries = run.settings
    parts: list[Html] = []
    if len(entries) > 1:
        shared, lines = overview(entries)
        notes = once(((title(entry), below(entry)) for entry in entries), at_most=None)
        parts += [tag("p", shared), rows(lines), *(tag("p", note, class_="note") for note in notes)]
    for entry in entries if len(entries) <= TABLES_SHOWN else ():
        parts.append(tag("h3", title(entry)) if len(entries) > 1 else Html(""))
        parts.append(rows(results_table(entry.metrics)))
        if by_level := level_rows(entry.metrics):
            parts.append(rows(by_level))
        parts += [tag("p", note, class_="note") for note in [*results_notes(entry.metrics), *of_result(entry)]]
        parts.append(tag("p", "stage ", tag("a", entry.key, href=f"#stage-{entry.key}"), class_="note"))
    return join(*parts)
