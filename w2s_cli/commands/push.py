"""`w2s push URL [KEY | RUN …]`: finished stages of this outputs folder, copied to another store.

* Without names, those of the latest run; `--all` has every finished stage. Their inputs go with them, so that the other store can show,
  explain and continue what it gets; `--only` leaves them out.
* A URL of an object store is written by `remotes.send`. A path is a store like this one, perhaps in use, so its side does the work by
  `remotes.fetch`, under its own claims.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from w2s_cli.commands.copies import account, counted, keys_of, named, shown_progress
from w2s_cli.commands.options import parse, parser, store_of
from w2s_cli.commands.output import guarded
from w2s_cli.errors import UserError
from w2s_cli.remotes.address import Remote, open_remote
from w2s_cli.remotes.copying import copy_all
from w2s_cli.remotes.fetch import Outcome, Watch, fetch
from w2s_cli.remotes.listing import complete, listing
from w2s_cli.remotes.offers import Refused
from w2s_cli.remotes.send import send
from w2s_cli.results.runs import LATEST, find_run
from w2s_cli.results.stages import read_upstream
from w2s_cli.store.claims import reading
from w2s_cli.store.files import files_size
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.store import Store, folder_state


@guarded(needed=False)  # a copy is not broken off where nobody reads of it
def run(argv: list[str]) -> int:
    """Copy the chosen stages to a remote and print what was copied."""
    arg_parser = parser(
        "push", "Copy finished stages to another store: a path, s3://, gs://, hf:// or any URL that fsspec opens."
    )
    arg_parser.add_argument("url", metavar="URL", help="the other store; credentials come from the environment")
    arg_parser.add_argument(
        "names",
        nargs="*",
        metavar="KEY|RUN",
        help=f"stages by the beginning of their keys, or runs (default: {LATEST})",
    )
    arg_parser.add_argument("--all", action="store_true", help="every finished stage")
    arg_parser.add_argument("--only", action="store_true", help="without the inputs of the chosen stages")
    options = parse(arg_parser, argv)
    store, remote = store_of(options), open_remote(options.url)
    refuse_same(store, remote)
    if options.all and options.names:
        raise UserError(f"--all means every finished stage, and {named(options.names)} are some: give one of them.")
    if not options.all and not options.names:
        print(f"the latest run: {os.path.relpath(find_run(store.root, LATEST))}", flush=True)
    keys = sorted(store.folders()) if options.all else keys_of(store, options.names or [LATEST])
    if not options.only:
        keys = list(read_upstream(store, keys))
    folders = {key: folder for key in keys if (folder := store.folder(key))}
    finished = [folder for folder in folders.values() if folder_state(folder, verify=False).word == "done"]
    if not finished:
        raise UserError(f"{store.root}: none of the {counted(len(keys))} is finished, so there is nothing to push.")
    if len(finished) < len(keys):
        print(f"{counted(len(keys) - len(finished))} of {len(keys)} not finished here: left out")
    return account("pushed", lambda: _push(finished, store, remote), f"to {remote.url}")


def refuse_same(store: Store, remote: Remote) -> None:
    """Refuse (UserError) the outputs folder itself, or a part of it, as the other store."""
    if remote.folder is not None and Path(remote.root).is_relative_to(os.path.realpath(store.root)):
        raise UserError(f"{remote.url} is the outputs folder itself, or lies in it: name another store.")


def _push(folders: Sequence[Path], store: Store, remote: Remote) -> list[Outcome]:
    with shown_progress("pushing", sum(files_size(folder / "result") for folder in folders)) as watch:
        if remote.folder is None:
            there = listing(remote)

            def out(folder: Path, alive: Watch) -> Outcome:
                return send(folder, remote, there.get(folder.name[-KEY_DIGITS:]), watch=alive)

            return copy_all(folders, _name_of, out, watch, remote.writers)
        other = Store(remote.folder)
        other.make()
        entries = complete(listing(open_remote(os.fspath(store.root))))

        def into_other(folder: Path, alive: Watch) -> Outcome:
            entry = entries.get(folder.name[-KEY_DIGITS:])
            if entry is None:
                raise Refused("not finished", "it has no stage.json, or no manifest")
            with reading(folder):
                return fetch(entry, other, watch=alive)

        return copy_all(folders, _name_of, into_other, watch)


def _name_of(folder: Path) -> tuple[str, str]:
    """The key and the name of a stage's folder."""
    return folder.name[-KEY_DIGITS:], folder.name
