"""`w2s ls [KIND]`: the stages in the outputs folder, newest last. It reads records and hashes nothing."""

import time

from w2s_cli.commands.options import parse, parser, store_of
from w2s_cli.errors import UserError, did_you_mean, need_one_of
from w2s_cli.results.text_table import print_table
from w2s_cli.store.store import STATES, folder_state


def run(argv: list[str]) -> int:
    """List stages."""
    arg_parser = parser("ls", "List the stages in the outputs folder, oldest first.")
    arg_parser.add_argument("kind", nargs="?", help="only stages of this kind (finetune, label, …)")
    arg_parser.add_argument("--state", help=f"only stages in this state ({', '.join(STATES)})")
    options = parse(arg_parser, argv)
    store = store_of(options)
    kinds = sorted(path.name for path in store.stages.iterdir() if path.is_dir())
    if options.kind and options.kind not in kinds:
        hint = f" A state is chosen as --state {options.kind}." if options.kind in STATES else ""
        raise UserError(f'w2s ls: there is no stage of kind "{options.kind}".{hint}{did_you_mean(options.kind, kinds)}')
    if options.state:
        need_one_of(options.state, STATES, "--state")
    timed_rows = []
    for key, folder in store.folders().items():
        if options.kind and folder.parent.name != options.kind:
            continue
        # a list of thousands of stages reads their manifests only; who asks for damaged ones waits for their files
        state = folder_state(folder, verify=options.state == "damaged", cache=store.digests)
        if options.state and state.word != options.state:
            continue
        ended = state.record.get("ended", folder.stat().st_mtime)
        figure = state.metrics.get("accuracy")
        timed_rows.append(
            (
                ended,
                [
                    key,
                    folder.parent.name,
                    folder.name.removesuffix(f"-{key}"),
                    state.word
                    + (" (no weights)" if state.pruned else "")
                    + (f" {state.detail}" if state.word == "resumable" else ""),
                    time.strftime("%Y-%m-%d %H:%M", time.localtime(ended)),
                    f"{state.record['wall_s']:.1f}" if "wall_s" in state.record else "",
                    f"{figure:.3f}" if isinstance(figure, float) else "",
                ],
            )
        )
    rows = [row for _, row in sorted(timed_rows, key=lambda pair: pair[0])]
    print_table([["key", "kind", "stage", "state", "when", "seconds", "accuracy"], *rows])
    return 0
