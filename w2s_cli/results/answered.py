"""On which test rows each role of a result is right, from the stored tables of its evaluations: what a paired interval is made of."""

from pathlib import Path

from w2s_cli.data.artifacts import GRADED, PREDICTIONS
from w2s_cli.results.reader import Entry
from w2s_cli.results.stages import Stage, read_stage
from w2s_cli.statistics.contrast import Answered


def answered(entry: Entry) -> Answered | None:
    """The answers of classifiers, or the graded texts, with a seed for each evaluation; None if a table is no longer stored."""
    stages = [read_stage(entry.run.store, key) for key in entry.evaluations]
    if stages and (folders := _with(PREDICTIONS, stages)):
        return _classes(folders)
    if stages and (folders := _with(GRADED, stages)):
        rows = read_stage(entry.run.store, str(stages[0].inputs.get("rows")))
        return _texts(folders, rows.result) if rows.result else None
    return None


def _with(table: str, stages: list[Stage]) -> list[Path]:
    """The result folders of the stages if each has the table, undamaged, else none."""
    folders = [stage.folder / "result" for stage in stages if stage.folder and stage.has(table)]
    return folders if len(folders) == len(stages) else []


def _classes(folders: list[Path]) -> Answered:
    from w2s_cli.data.artifacts.predictions import read_predictions
    from w2s_cli.statistics.figures import predicted

    ids, truth, by_role = read_predictions(folders)
    right = {role: (predicted(own.p) == truth).astype(float) for role, own in by_role.items()}
    return Answered(dict(zip(ids, truth.tolist(), strict=True)), right)


def _texts(folders: list[Path], rows: Path) -> Answered:
    from w2s_cli.data.artifacts.graded import read_graded_runs
    from w2s_cli.data.artifacts.rows import read_problems

    ids, _, by_role = read_graded_runs(folders)
    problems = read_problems(rows)
    answers = dict(zip(problems.ids, problems.need("answer"), strict=True))
    return Answered({row: answers[row] for row in ids}, {role: own.cells for role, own in by_role.items()})
