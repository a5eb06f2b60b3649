"""`w2s pull URL [KEY | RUN …]` and `w2s import FOLDER [KEY …]`: finished stages of another store, copied into this outputs folder.

* Without names, every finished stage of the other store. A name is the beginning of a key there, or a run of this outputs folder whose
  stages are wanted. Their inputs come with them, as far as the other store has them; `--only` leaves them out.
* An import is a pull from a folder, which may also be a part of an outputs folder: its stages/, one kind, or one stage.
"""

from collections.abc import Mapping, Sequence

from w2s_cli.commands.copies import account, counted, keys_of, named, shown_progress
from w2s_cli.commands.options import Parser, parse, parser
from w2s_cli.commands.output import guarded
from w2s_cli.commands.push import refuse_same
from w2s_cli.errors import UserError
from w2s_cli.paths import locate
from w2s_cli.remotes.address import Remote, open_remote
from w2s_cli.remotes.copying import copy_all, side_by_side
from w2s_cli.remotes.fetch import Outcome, fetch
from w2s_cli.remotes.listing import Entry, complete, listing
from w2s_cli.remotes.offers import Refused, read_identity
from w2s_cli.store.store import Store


@guarded(needed=False)  # a copy is not broken off where nobody reads of it
def run(argv: list[str]) -> int:
    """Copy stages of a remote into the outputs folder and print what was copied."""
    arg_parser = parser(
        "pull", "Copy finished stages of another store into the outputs folder: a path, s3://, gs://, hf://, …"
    )
    arg_parser.add_argument("url", metavar="URL", help="the other store; credentials come from the environment")
    return _command(arg_parser, argv, "pulled", inside=False)


@guarded(needed=False)
def run_import(argv: list[str]) -> int:
    """The same from a folder, which may be a part of an outputs folder."""
    arg_parser = parser(
        "import",
        "Copy finished stages out of a folder: another outputs folder, its stages/, a kind in it, or one stage.",
    )
    arg_parser.add_argument("url", metavar="FOLDER", help="a path; a stage's folder keeps its name, <slug>-<key>")
    return _command(arg_parser, argv, "imported", inside=True)


def _command(arg_parser: Parser, argv: list[str], verb: str, *, inside: bool) -> int:
    arg_parser.add_argument(
        "names",
        nargs="*",
        metavar="KEY|RUN",
        help="stages by the beginning of their keys there, or runs of this folder (default: all)",
    )
    arg_parser.add_argument("--only", action="store_true", help="without the inputs of the chosen stages")
    arg_parser.add_argument(
        "--no-weights", action="store_true", help="without weights and features: what tables and plots read"
    )
    options = parse(arg_parser, argv)
    store, remote = Store(locate(options.outputs)), open_remote(options.url)
    refuse_same(store, remote)
    offered = complete(listing(remote, inside=inside))
    if not offered:
        raise UserError(
            f"{remote.url} has no finished stage: it must be an outputs folder, whose stages are in stages/<kind>/<slug>-<key>/."
        )
    keys = list(offered) if not options.names else _chosen(offered, options.names, store, remote)
    if options.names and not options.only:
        keys = with_inputs(offered, keys)
    store.make()
    entries = [offered[key] for key in keys]
    whole = not options.no_weights
    return account(verb, lambda: pull(entries, store, whole=whole), f"from {remote.url}")


def pull(entries: Sequence[Entry], store: Store, *, whole: bool) -> list[Outcome]:
    """Copy these stages into the store, under a progress view."""
    with shown_progress("pulling", sum(entry.bytes(whole=whole) for entry in entries)) as watch:
        return copy_all(entries, name_of, lambda entry, alive: fetch(entry, store, whole=whole, watch=alive), watch)


def name_of(entry: Entry) -> tuple[str, str]:
    """The key and folder name of an entry."""
    return entry.key, entry.folder.rpartition("/")[2]


def _chosen(offered: Mapping[str, Entry], names: Sequence[str], store: Store, remote: Remote) -> list[str]:
    """The keys that words of the command line name: of the remote by their beginnings, else those of a run of this store."""
    keys: dict[str, None] = {}
    for name in names:
        fitting = [
            key for key, entry in offered.items() if key.startswith(name.lower()) or name_of(entry)[1].startswith(name)
        ]
        if not fitting and (store.root / "stages").is_dir():
            fitting = _of_store(store, name, offered)
        elif len(fitting) > 1:
            raise UserError(
                f'"{name}" fits {len(fitting)} stages of {remote.url}: {named(fitting)}. Give more digits of the key.'
            )
        if not fitting:
            raise UserError(
                f'{remote.url} has no finished stage whose key begins with "{name}", of {counted(len(offered))}, and {store.root} has no '
                "run of that name."
            )
        keys.update(dict.fromkeys(fitting))
    return list(keys)


def _of_store(store: Store, name: str, offered: Mapping[str, Entry]) -> list[str]:
    try:
        return [key for key in keys_of(store, [name]) if key in offered]
    except UserError:
        return []


def with_inputs(offered: Mapping[str, Entry], keys: Sequence[str]) -> list[str]:
    """The keys and those of all their inputs that are offered; each stage.json is read once, those of one depth side by side."""
    closure: dict[str, None] = {}
    waiting = list(dict.fromkeys(keys))
    while waiting:
        closure.update(dict.fromkeys(waiting))
        inputs = side_by_side([offered[key] for key in waiting], lambda entry, alive: _inputs(entry))
        waiting = list(
            dict.fromkeys(key for of_one in inputs for key in of_one if key in offered and key not in closure)
        )
    return list(closure)


def _inputs(entry: Entry) -> list[str]:
    """The keys of a stage's inputs; none of a damaged stage, which the copy will refuse."""
    try:
        inputs = read_identity(entry)["inputs"].values()
    except Refused:
        return []
    return [key for value in inputs for key in (value if isinstance(value, list) else [value])]
