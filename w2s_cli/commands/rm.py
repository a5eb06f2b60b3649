"""`w2s rm KEY-PREFIX…`: the removal of stages. Stages made from them stay, with `missing` inputs."""

import shutil

from w2s_cli.commands.options import file_size, parse, parser, stage_of, store_of
from w2s_cli.commands.output import guarded
from w2s_cli.errors import UserError
from w2s_cli.results.reader import planned_keys
from w2s_cli.results.runs import run_folders
from w2s_cli.store.claims import claim, owner
from w2s_cli.store.files import files_size


@guarded(needed=False)  # a removal is not broken off where nobody reads of it
def run(argv: list[str]) -> int:
    """Remove the named stages; with --weights only their weights."""
    arg_parser = parser("rm", "Remove stages from the outputs folder.")
    arg_parser.add_argument("keys", nargs="+", metavar="KEY-PREFIX")
    arg_parser.add_argument("--weights", action="store_true", help="remove only the weights; labels and metrics stay")
    options = parse(arg_parser, argv)
    store = store_of(options)
    plans = planned_keys(run_folders(store.root))
    folders = [stage_of(store, prefix) for prefix in options.keys]
    for folder in dict.fromkeys(folders):
        with claim(folder) as claimed:
            if not claimed:
                raise UserError(f"{folder.name} is in use by {owner(folder)}; stop that process first.")
            if options.weights:
                from w2s_cli.store.publishing import prune_weights

                freed = prune_weights(folder)
            else:
                freed = files_size(folder)
                # the record goes first: a kill half-way leaves no stage that looks complete
                (folder / "record.json").unlink(missing_ok=True)
                shutil.rmtree(folder)
        users = sum(folder.name[-12:] in keys for keys in plans)
        note = f"; {users} run{'s' if users > 1 else ''} had it" if users and not options.weights else ""
        print(f"removed {'the weights of ' if options.weights else ''}{folder.name} ({file_size(freed)}){note}")
    return 0
