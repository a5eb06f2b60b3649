"""`w2s plot [KIND] [RUN]`: the figures of a run or sweep; without a kind, all figures that the run has data for.

The figure of accuracies has the plain name (figure.png); the others have their kind in the name (figure-scaling.png), so that
`--out NAME.pdf` names all of them.
"""

import os
from pathlib import Path

from w2s_cli.commands.options import RUN, parse, parser, store_of
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.results.runs import LATEST, find_run
from w2s_cli.store.places import command_line


def run(argv: list[str]) -> int:
    """Draw a run."""
    from w2s_cli.paths import locate
    from w2s_cli.results.drawing import NoDataError
    from w2s_cli.results.figures import MAIN, WIDTHS, caption, check_suffix, draw_kind, kinds, save
    from w2s_cli.results.reader import read_run

    arg_parser = parser(
        "plot",
        "Draw the figures of a run or sweep (default: the latest run, every figure that it has data for). Intervals are those of the "
        f"tables. {' '.join(f'{kind}: {caption(kind)}' for kind in kinds())}",
    )
    arg_parser.add_argument(
        "words",
        nargs="*",
        metavar="[KIND] [RUN]",
        help=f"{', '.join(kinds())}; and a run: {RUN}",
    )
    arg_parser.add_argument(
        "--out", "--to", metavar="FILE", help="png, svg or pdf, or a folder (default: figure.png in the run's folder)"
    )
    arg_parser.add_argument(
        "--width", choices=list(WIDTHS), help="3.25 or 6.75 inches (default: by the number of marks)"
    )
    arg_parser.add_argument(
        "--x", choices=["size", "compute"], default="size", help="the axis of scaling (default: size)"
    )
    options = parse(arg_parser, [f"--{word}" if word.startswith("out=") else word for word in argv])
    named = [word for word in options.words if word in kinds()]
    if len(named) > 1:
        raise UserError(f"w2s plot draws one kind of figure, or without a kind all of them: {' or '.join(named)}?")
    if len(options.words) > 2 or (len(options.words) == 2 and options.words[0] not in kinds()):
        word = options.words[0]
        if options.words[1] in kinds():
            raise UserError(f"w2s plot: the run follows the kind: w2s plot {options.words[1]} {word}")
        raise UserError(
            f'w2s plot: there is no figure "{word}".{did_you_mean(word, kinds())} The run follows the kind.'
        )
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
    plotted_run = read_run(folder, store)
    if not plotted_run.entries and not any(stage.result for stage in plotted_run.stages):
        raise UserError(
            f"{folder} has no results yet: {command_line(store.root, 'status', folder.name)} shows the remaining stages, "
            "and the same w2s train command continues it."
        )
    base = target(out, folder)
    drawn, missing = [], []
    for each_kind in [kind] if kind else kinds():
        axis = {"axis": options.x} if each_kind == "scaling" else {}
        try:
            figure = draw_kind(each_kind, plotted_run, inches=WIDTHS[options.width] if options.width else None, **axis)
        except NoDataError as error:
            if kind:
                raise UserError(f"w2s plot {kind}: {error}") from error
            missing.append(f"no {each_kind}: {error}")
            continue
        path = (
            base
            if each_kind == MAIN or (kind and out is not None and out == base)
            else base.with_stem(f"{base.stem}-{each_kind}")
        )
        save(figure, path if out else store.own(path))
        drawn.append(path)
    if not drawn:
        raise UserError(f"{os.path.relpath(folder)}: nothing to draw; {missing[0]}")
    print(f"figures of {os.path.relpath(folder)}:")
    failed = [stage.name for stage in plotted_run.stages if stage.state.word == "failed"]
    if failed:
        print(f"unfinished: {', '.join(failed)} failed; {command_line(store.root, 'status', folder.name)} says why")
    for line in missing:
        print(line)
    for path in sorted(drawn):
        print(os.path.relpath(path))
    return 0


def target(out: Path | None, folder: Path) -> Path:
    """The file of the main figure; a folder of --out is created."""
    if out is None:
        return folder / "figure.png"
    if out.suffix and not out.is_dir():
        return out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be made ({error.strerror}); choose another folder with --out") from error
    return out / "figure.png"
