"""`w2s export KEY out=DIR [--push OWNER/NAME]`: a trained model as a plain folder of the hub's format, with a model card.

* KEY is a model, a comparison (its student is meant), or a run with one student.
* A model that is kept as adapters is merged into its base (`merged.py`), so that the folder needs nothing else.
* Every file is compared with its digest while it is copied. The folder appears complete, under a new name or in an empty folder.
* --push also makes a repository of the hub from it. Whether that is possible is asked before anything is copied.
"""

import hashlib
import os
import shutil
from pathlib import Path

from w2s_cli import __version__
from w2s_cli.commands.copies import keys_of, named
from w2s_cli.commands.merged import write_whole
from w2s_cli.commands.options import file_size, parse, parser, stage_of, store_of
from w2s_cli.errors import UserError
from w2s_cli.paths import locate
from w2s_cli.results.exported import card, models_of
from w2s_cli.results.stages import Stage, read_stage
from w2s_cli.store.claims import reading
from w2s_cli.store.files import files_size, give_mode, unique, write_bytes
from w2s_cli.store.places import command_line
from w2s_cli.store.store import Store, folder_state
from w2s_cli.training.models.folder import incomplete, kept_adapters

PART = "model/"  # of a result: the model's files
ADAPTERS = "adapters"  # of an unfinished export: what is merged
CARD = "README.md"


def run(argv: list[str]) -> int:
    """Export one model, and push it if asked to."""
    arg_parser = parser(
        "export", "Export a trained model: weights, config, tokenizer and a model card with the results."
    )
    arg_parser.add_argument(
        "key", metavar="KEY|RUN", help="a model or a comparison by the beginning of its key, or a run with one student"
    )
    arg_parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder; also out=DIR")
    arg_parser.add_argument(
        "--push", metavar="OWNER/NAME", help="also make this repository of the hub, private if it is new"
    )
    arg_parser.add_argument(
        "--base",
        metavar="DIR",
        help="the local model that adapters were trained on, if it is not where the training had it",
    )
    options = parse(arg_parser, [f"--{word}" if word.startswith("out=") else word for word in argv])
    store, out = store_of(options), locate(options.out)
    model = model_of(store, options.key)
    _check_place(out)
    exists = False
    if options.push:
        from w2s_cli.remotes.hub_repo import check_repository, push_model

        exists = check_repository(options.push)
    export(store, model, out, options.base)
    print(f"exported {model.name} {model.key} ({file_size(files_size(out))}) to {os.path.relpath(out)}")
    if options.push:
        print(f"pushed to {push_model(out, options.push, exists=exists)}")
    return 0


def model_of(store: Store, name: str) -> Stage:
    """The one model that a word of the command line names.

    Raises:
        UserError: it names no model, or several; or the model is not finished or has no weights.
    """
    keys = keys_of(store, [name])
    stages = [read_stage(store, key) for key in keys]
    if len(stages) > 1:  # of a run
        stages = [stage for stage in stages if stage.gives == "comparison"]
    models = list({model.key: model for stage in stages for model in models_of(store, stage)}.values())
    if not models:
        what = stages[0].kind if len(stages) == 1 else "run without a finished comparison"
        raise UserError(
            f'"{name}" is no model and has no student ({what}): name a finished training or comparison; '
            f"{command_line(store.root, 'ls', '--state', 'done')} lists them."
        )
    if len(models) > 1:
        raise UserError(
            f'"{name}" has {len(models)} students: name one by its key: {named([model.key for model in models])}.'
        )
    return models[0]


def _check_place(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder: nothing is overwritten; choose another folder.")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        why = "this user may not write there" if above.is_dir() else "it is a file"
        raise UserError(f"{out} cannot be made in {above}: {why}; choose another folder.")


def export(store: Store, model: Stage, out: Path, base: str | None = None) -> None:
    """Write the model's folder; `base` is the folder of a local model that adapters were trained on.

    Raises:
        UserError: the weights were removed, the stage is damaged, or its adapters lack their base.
    """
    folder = stage_of(store, model.key)
    with reading(folder):
        state = folder_state(folder, cache=store.digests)
        again = command_line(store.root, "pull", "URL", model.key)
        if state.word != "done":
            raise UserError(f"{folder.name} is {state.word} ({state.detail}): run its command again, or {again}.")
        if state.pruned:
            raise UserError(
                f"the weights of {folder.name} were removed: run its command with keep_weights=true, or {again}."
            )
        if missing := incomplete(folder / "result" / PART):
            raise UserError(f"{folder / 'result' / PART} {missing}.")
        text = card(store, model, folder / "result" / PART, __version__)
        out.parent.mkdir(parents=True, exist_ok=True)
        staged = copied = out.with_name(f".{out.name}.{unique()}.part")
        if kept_adapters(folder / "result" / PART):
            copied = staged / ADAPTERS
        elif base:
            raise UserError(f"--base is for adapters, and {folder.name} has whole weights: leave it out.")
        try:
            for name, facts in model.manifest["files"].items():
                if name.startswith(PART):
                    _copy(folder / "result" / name, copied / name.removeprefix(PART), facts["sha256"])
            if copied != staged:
                write_whole(store, folder, copied, staged, base)
                shutil.rmtree(copied)
            write_bytes(staged / CARD, text.encode())
            give_mode((file for file in staged.rglob("*") if file.is_file()), like=staged / CARD)
            os.rename(staged, out)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Copy a file and compare its bytes with their digest."""
    target.parent.mkdir(parents=True, exist_ok=True)
    hashed = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while piece := reader.read(1 << 20):
            hashed.update(piece)
            writer.write(piece)
    if hashed.hexdigest() != sha256:
        raise UserError(
            f"{source} was changed since it was made: its stage is damaged; w2s doctor --verify lists such stages."
        )
