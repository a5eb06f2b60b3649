"""Sample texts of the page: what each role answers to the same test prompts, side by side.

The rows are the first ones of the test pool, whose order is drawn. All text from data and models is escaped by `markup.tag`.
"""

from pathlib import Path

from w2s_cli.errors import UserError
from w2s_cli.results.graded_table import NAMES, is_graded
from w2s_cli.results.page.markup import Html, join, tag
from w2s_cli.results.reader import Entry, Run
from w2s_cli.results.stages import Stage

ROWS_SHOWN = 10
LETTERS_SHOWN = 1500  # of one text
MARKS = {"right": "✓ ", "wrong": "✗ "}


def texts(run: Run) -> Html:
    """The texts of the first setting with graded answers, seed by seed only of the first; empty without any."""
    for entry in run.settings:
        if is_graded(entry.metrics):
            return _of(entry, run)
    return Html("")


def _of(entry: Entry, run: Run) -> Html:
    from w2s_cli.data.artifacts.rows import read_problems

    stage = run.by_key.get(entry.evaluations[0]) if entry.evaluations else None
    rows = _upstream(run, stage, "rows")
    if stage is None or rows is None or rows.result is None:
        return Html("")
    try:
        problems = read_problems(rows.result)
        columns = {
            role: _answers(run, graded, problems.ids[:ROWS_SHOWN])
            for role in NAMES
            if (graded := _upstream(run, stage, role)) is not None
        }
    except UserError as error:  # a file that is gone or damaged
        return tag("p", str(error), class_="note")
    head = tag("tr", *(tag("th", name, scope="col") for name in ("prompt", "answer", *columns)))
    answers = problems.parts.get("answer", [""] * len(problems.ids))
    lines = [
        tag(
            "tr",
            tag("td", _short(problems.prompts[place])),
            tag("td", _short(answers[place])),
            *(tag("td", own.get(name, "–")) for own in columns.values()),
        )
        for place, name in enumerate(problems.ids[:ROWS_SHOWN])
    ]
    seed = f", seed {entry.seeds[0]}" if len(entry.seeds) > 1 else ""
    note = f"The first {len(lines)} test rows{seed}; the first sample of each. ✓ right, ✗ wrong, ? no answer or no verdict."
    table = tag("table", tag("thead", head), tag("tbody", *lines), class_="texts")
    return join(tag("h3", "Sample texts"), tag("p", note, class_="note"), tag("div", table, class_="wide"))


def _upstream(run: Run, stage: Stage | None, edge: str) -> Stage | None:
    """The input `edge` of a stage."""
    key = stage.inputs.get(edge) if stage is not None else None
    return run.by_key.get(key) if isinstance(key, str) else None


def _answers(run: Run, graded: Stage, names: list[str]) -> dict[str, str]:
    """Row id → a role's text with the mark of its grade."""
    from w2s_cli.data.artifacts.completions import read_completions
    from w2s_cli.data.artifacts.grades import read_grades

    written = _upstream(run, graded, "texts")
    folders: list[Path | None] = [written.result if written else None, graded.result]
    if folders[0] is None or folders[1] is None:
        return {}
    completions = read_completions(folders[0])
    grades = read_grades(folders[1], completions)
    first = completions.by_row()
    return {
        name: f"{MARKS.get(grades.outcomes[first[name][0]], '? ')}{_short(completions.texts[first[name][0]])}"
        for name in names
        if name in first
    }


def _short(text: str) -> str:
    return text if len(text) <= LETTERS_SHOWN else f"{text[:LETTERS_SHOWN]}…"
