"""`w2s plot [KIND] [RUN]`: the figures of a run or sweep; without a kind, all that the run has data for.

* The figure of the accuracies has the plain name (figure.png); the others have their kind in it (figure-scaling.png), so that `--out
  NAME.pdf` names them all.
"""

import os
from pathlib import Path

from w2s_cli.commands.options import RUN, parse, parser, store_of
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.results.runs import LATEST, find_run


def run(argv: list[str]) -> int:
    """Draw a run."""
    from w2s_cli.paths import locate
    from w2s_cli.results.drawing import NoDataError
    from w2s_cli.results.figures import MAIN, WIDTHS, check_suffix, draw_kind, kinds, save
    from w2s_cli.results.reader import read_run

    made = parser(
        "plot",
        "Draw the figures of a run or sweep (default: the latest, every figure it has data for): accuracy (weak "
        "supervisor, student, ceiling, PGR), scaling (against the strong model's size or compute), datasets, agreement (with right "
        "and wrong weak labels), calibration, curves (of training), theory (misfit and gain). Intervals are those of the tables.",
    )
    made.add_argument(
        "words",
        nargs="*",
        metavar="[KIND] [RUN]",
        help=f"{', '.join(kinds())}; and a run: {RUN}",
    )
    made.add_argument(
        "--out", "--to", metavar="FILE", help="png, svg or pdf, or a folder (default: figure.png in the run's folder)"
    )
    made.add_argument("--width", choices=list(WIDTHS), help="3.25 or 6.75 inches (default: what fits)")
    made.add_argument("--x", choices=["size", "compute"], default="size", help="the axis of scaling (default: size)")
    options = parse(made, [f"--{word}" if word.startswith("out=") else word for word in argv])
    if len(options.words) > 2 or (len(options.words) == 2 and options.words[0] not in kinds()):
        word = options.words[0]
        raise UserError(f'w2s plot: there is no figure "{word}".{did_you_mean(word, kinds())} Then comes the run.')
    kind = options.words[0] if options.words and options.words[0] in kinds() else None
    name = options.words[-1] if len(options.words) == 2 or (options.words and kind is None) else LATEST
    out = locate(options.out) if options.out else None
    if out is not None and out.suffix and not out.is_dir():
        check_suffix(out)
    store = store_of(options)
    try:
        folder = find_run(store.root, name)
    except UserError as error:
        if kind is None and name != LATEST:
            raise UserError(f'{error} "{name}" is no kind of figure either.{did_you_mean(name, kinds())}') from None
        raise
    shown = read_run(folder, store)
    if not shown.entries and not any(stage.result for stage in shown.stages):
        raise UserError(
            f"{folder} has no results yet: w2s status shows what is left, and the same w2s train command goes on with it."
        )
    base = target(out, folder)
    drawn, lacking = [], []
    for one in [kind] if kind else kinds():
        axis = {"axis": options.x} if one == "scaling" else {}
        try:
            figure = draw_kind(one, shown, inches=WIDTHS[options.width] if options.width else None, **axis)
        except NoDataError as error:
            if kind:
                raise UserError(f"w2s plot {kind}: {error}") from error
            lacking.append(f"no {one}: {error}")
            continue
        path = (
            base if one == MAIN or (kind and out is not None and out == base) else base.with_stem(f"{base.stem}-{one}")
        )
        save(figure, path)
        drawn.append(path)
    if not drawn:
        raise UserError(f"{os.path.relpath(folder)}: nothing to draw; {lacking[0]}")
    print(f"figures of {os.path.relpath(folder)}:")
    for line in lacking:
        print(line)
    for path in sorted(drawn):
        print(os.path.relpath(path))
    return 0


def target(out: Path | None, folder: Path) -> Path:
    """The file of the main figure; a folder that was named is made."""
    if out is None:
        return folder / "figure.png"
    if out.suffix and not out.is_dir():
        return out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be made ({error.strerror}); choose another folder with --out") from error
    return out / "figure.png"
