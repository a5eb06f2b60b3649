"""lengths: how long the answers of each role are, as the share of test rows with at most so many tokens.

A student that writes much longer texts than its supervisor, or runs to the limit, shows at once. Points come from `graded.parquet`.
"""

from typing import TYPE_CHECKING

from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.names import heading
from w2s_cli.results.drawing.style import COLOURS, COLUMN_INCHES, DASHES, legend_above, new_figure, quiet_grid
from w2s_cli.results.graded_table import NAMES
from w2s_cli.results.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = "Share of the test rows whose answer has at most so many tokens, by role (first setting, all its seeds)."


def lengths(run: Run, inches: float | None = None) -> "Figure":
    """The figure; NoDataError without graded answers."""
    import numpy as np

    from w2s_cli.data.artifacts import GRADED
    from w2s_cli.data.artifacts.graded import read_graded_runs

    for entry in run.settings:
        stages = [run.by_key.get(key) for key in entry.evaluations]
        folders = [stage.result for stage in stages if stage is not None and stage.result is not None]
        if folders and all((folder / GRADED).exists() for folder in folders):
            _, _, answers = read_graded_runs(folders)
            break
    else:
        raise NoDataError("no comparison of graded answers (graded.parquet of an evaluate_texts stage)")
    inches = inches or COLUMN_INCHES
    figure = new_figure(inches, 2.5)
    axes = figure.add_subplot()
    handles = []
    for number, (role, own) in enumerate(answers.items()):
        tokens = np.sort((own.tokens / own.samples).ravel())
        share = np.arange(1, len(tokens) + 1) / len(tokens)
        name = NAMES.get(role, role)
        handles += axes.step(
            tokens,
            share,
            where="post",
            color=COLOURS.get(role, "0.45"),
            linestyle=DASHES[number % len(DASHES)],
            label=name,
        )
    axes.set_xlabel("tokens of an answer")
    axes.set_ylabel("share of test rows")
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    quiet_grid(axes, "both")
    legend_above(figure, handles, 2, heading([entry]))
    return figure
