"""samples: the number of samples against accuracy: pass@k, the chance that one of k samples is right, and maj@k, the vote of k samples."""

from typing import TYPE_CHECKING, Any

from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.names import group_names, heading
from w2s_cli.results.drawing.style import COLUMN_INCHES, PALETTE, SHAPES, legend_above, new_figure, quiet_grid
from w2s_cli.results.graded_table import NAMES, blocks
from w2s_cli.results.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = "Share of test rows of which one of k samples is right (pass@k, solid), or the majority of k samples (maj@k, dashed)."
LINES_SHOWN = 6


def samples(run: Run, inches: float | None = None) -> "Figure":
    """The figure; NoDataError without a role that has several samples a row."""
    entries, lines = run.settings, {}
    for entry, setting in zip(entries, group_names(entries), strict=True):
        for role, block in blocks(entry.metrics).items():
            texts = block.get("texts", {})
            if len(texts.get("pass_at", {})) > 1:
                name = NAMES.get(role, role)
                lines[f"{name}: {setting}" if len(entries) > 1 else name] = texts
    if not lines:
        raise NoDataError("no role with several samples a row: generate some (generation.samples, temperature above 0)")
    inches = inches or COLUMN_INCHES
    shown = dict(list(lines.items())[:LINES_SHOWN])
    figure = new_figure(inches, 2.4 + 0.12 * len(shown))
    axes = figure.add_subplot()
    handles = []
    dashed: dict[str, Any] = {"linestyle": "--", "linewidth": 1.0}
    for number, (name, texts) in enumerate(shown.items()):
        ks = [int(k) for k in texts["pass_at"]]
        colour = PALETTE[number % len(PALETTE)]
        handles += axes.plot(
            ks, list(texts["pass_at"].values()), color=colour, marker=SHAPES[number % len(SHAPES)], label=name
        )
        votes = texts.get("majority_at", {})  # an older w2s has the vote of all samples alone
        axes.plot([int(k) for k in votes], list(votes.values()), color=colour, **dashed)
    handles += axes.plot([], [], color="0.4", label="majority of k samples (maj@k)", **dashed)
    axes.set_xscale("log", base=2)
    ticks = sorted({int(k) for texts in shown.values() for k in texts["pass_at"]})
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.minorticks_off()
    axes.set_xlabel("samples k")
    axes.set_ylabel("share of test rows")
    quiet_grid(axes, "y")
    cut = f"; the first {len(shown)} of {len(lines)} lines" if len(lines) > len(shown) else ""
    legend_above(figure, handles, 1, heading(entries) + cut)
    return figure
