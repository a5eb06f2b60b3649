"""`w2s report [RUN]`: a run or sweep as one HTML page without network access and scripts."""

import os

from w2s_cli.commands.options import RUN, parse, parser, store_of
from w2s_cli.errors import UserError
from w2s_cli.results.runs import LATEST, find_run


def run(argv: list[str]) -> int:
    """Write the page of a run, finished or not."""
    arg_parser = parser(
        "report",
        "Write one self-contained HTML page of a run or sweep (default: the latest): result, tables, figures, plan, every "
        "stage with its log and curve, configuration and provenance. It needs no network and no script. An unfinished run "
        "has a report too.",
    )
    arg_parser.add_argument("run", nargs="?", default=LATEST, metavar="RUN", help=RUN)
    arg_parser.add_argument("--out", metavar="FILE", help="an .html file (default: report.html in the run's folder)")
    options = parse(arg_parser, [f"--{word}" if word.startswith("out=") else word for word in argv])
    from w2s_cli.paths import locate
    from w2s_cli.results.page import page
    from w2s_cli.results.reader import read_run
    from w2s_cli.store.files import write_bytes

    out = locate(options.out) if options.out else None
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{out}: a report is an .html file; write --out NAME.html")
    store = store_of(options)
    reported_run = read_run(find_run(store.root, options.run), store)
    path = out or store.own(reported_run.folder / "report.html")
    text = page(reported_run)
    try:
        write_bytes(path, text.encode("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another file with --out") from error
    print(
        f"report of {os.path.relpath(reported_run.folder)}{'' if reported_run.finished else ', which is not finished'}:"
    )
    print(os.path.relpath(path))
    return 0
