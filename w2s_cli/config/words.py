"""The words of a command line, with a refusal of words that Hydra would accept without any effect.

* `weak=gpt2` chooses a file of the group `model` for the part `weak`, so it is rewritten to Hydra's `model@weak=gpt2`. An unknown model
  then fails with a list of models instead of becoming a plain string. A dotted `weak.lr=…` is not changed.
* Words of a method's stages go to a field of their own, since Hydra knows only the stages of the method's own file, not those of its base
  (`methods.py`). Words of arguments may name any: the signature of the loss or rule is the check (`pipeline/arguments.py`).
* Double quotes are YAML's: `few_shot.suffix="\\nLabel:"` begins with a new line (`quotes.py`); in single quotes a backslash is itself.
* Refused are two words for one field, of which Hydra would use the last, and Hydra's own settings outside its launchers and sweepers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.config.declared import declared_fields, is_named_by_user, note_on
from w2s_cli.config.notes import Verbatim
from w2s_cli.config.quotes import escaped, quoted, unescaped
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.paths import configs_folder

ROLES_FROM_MODELS = ("weak", "strong")
OPTIONS = ("-m", "--multirun", "--config-dir", "--outputs", "--force", "--debug", "--help")
OTHER_COMMANDS = {"experiment": "w2s reproduce NAME", "table": "w2s table NAME"}  # groups of other commands than runs
PLAIN = r"[\w./-]+"  # a folder that needs no quotes
UNNAMED = "local"  # the file of a group for a model or data set of the user's own
GLOBAL_GROUPS = ("debug",)  # their files set fields of other groups
STAGES, CHANGES = "method.stages", "method.changes"  # as typed, and where Hydra puts it
OF_LAUNCHERS = ("hydra/launcher", "hydra/sweeper", "hydra.launcher.", "hydra.sweeper.", "hydra.sweep.")


@dataclass
class Words:
    """The parts of a command line."""

    overrides: list[str] = field(default_factory=list)
    multirun: bool = False
    folder: Path | None = None  # --config-dir

    @property
    def by_hydra(self) -> bool:
        """Whether a Hydra launcher or sweeper runs the jobs."""
        return any(key(word) in ("hydra/launcher", "hydra/sweeper") for word in self.overrides)


def parse(arguments: list[str]) -> Words:
    """The options and overrides of `arguments`.

    Raises:
        UserError: a word that Hydra would ignore, or refuse with a worse message.
    """
    words = Words()
    waiting = iter(arguments)
    for word in waiting:
        name, sign, value = word.partition("=")
        if name in ("-m", "--multirun"):
            words.multirun = True
        elif name == "--config-dir":
            _take_folder(words, value if sign else next(waiting, ""))
        elif name == "--outputs":  # as the commands that read an outputs folder have it
            folder = value if sign else next(waiting, "")
            if not folder:
                raise UserError("--outputs needs a folder: --outputs DIR, or outputs=DIR.")
            words.overrides.append(f"outputs={folder if re.fullmatch(PLAIN, folder) else quoted(folder)}")
        elif word.startswith("-"):
            raise UserError(_unknown_option(word))
        elif not name.lstrip("+~") or (not sign and not word.startswith("~")):
            example = f"{word}=…" if word in _written() else _choice(word) or "weak=gpt2 or seed=3"
            raise UserError(f'"{word}" is not an override: write GROUP=NAME or FIELD=VALUE, for example {example}.')
        else:
            words.overrides.append(_with_quotes(word) or unescaped(rewrite(word)))
    _refuse_repeated(words)
    _refuse_renaming(words)
    always = group_names(None) | set(ROLES_FROM_MODELS)  # groups of every configuration
    for word in words.overrides:
        _refuse_hydra(word, words)
        _refuse_prefixes(word, always)
    return words


def _unknown_option(word: str) -> str:
    """The message for a word with a dash."""
    name = word.partition("=")[0]
    bare = name.lstrip("-").replace("-", "_")
    if name in OPTIONS:
        return f"{word} has no use in this command: leave it out."
    if bare in _written():
        return f'unknown option "{word}". Groups and fields are written without dashes: {bare}=…'
    return f'unknown option "{word}".{did_you_mean(word, OPTIONS)}'


def _choice(word: str) -> str | None:
    """`data=sciq` of the word "sciq"; None for a word that no group has."""
    groups = sorted(group_names(None) - {*OTHER_COMMANDS, *GLOBAL_GROUPS})
    group = next((group for group in groups if word in options(group, None)), None)
    return group and f"{'weak' if group == 'model' else group}={word}"


def _written() -> set[str]:
    """The names of all fields and groups that stand before a "=" on the command line."""
    return {*declared_fields(), *group_names(None), *ROLES_FROM_MODELS} - {"model", *OTHER_COMMANDS}


def _take_folder(words: Words, folder: str) -> None:
    if not folder:
        raise UserError("--config-dir needs a folder: --config-dir DIR.")
    if words.folder:
        raise UserError(f"--config-dir has two values, {words.folder} and {folder}: set one of them.")
    words.folder = Path(folder).expanduser().absolute()
    if not words.folder.is_dir():
        raise UserError(f"--config-dir: there is no folder {words.folder}.")
    for path in sorted(words.folder.glob("*/*.yaml")):
        ours = configs_folder() / path.relative_to(words.folder)
        if ours.is_file() and path.parent.name not in OTHER_COMMANDS:
            raise UserError(
                f"{path}: {path.parent.name}={path.stem} is a file of w2s already; give yours another name."
            )


def rewrite(word: str) -> str:
    """A word as Hydra shall have it; every other word unchanged.

    `weak=gpt2` → `model@weak=gpt2`, `method.stages.pairs.rows=test` → `++method.changes.pairs.rows=test`, `loss.args.center=0.5` →
    `++loss.args.center=0.5`, and so with `launcher.resources` and `launcher.additional_parameters`.
    """
    name, sign, value = word.partition("=")
    if sign and name in ROLES_FROM_MODELS:
        return f"model@{name}={value}"
    if sign and _is_within(STAGES, name.lstrip("+")):
        return f"++{CHANGES}{name.lstrip('+').removeprefix(STAGES)}={value}"
    return f"++{word}" if sign and _is_new(name) else word


def _with_quotes(word: str) -> str | None:
    """`launcher.template=ssh n7 {worker}` with the quotes that Hydra needs; None of a word that has quotes, or of another field."""
    name, _, value = word.partition("=")
    free = name in declared_fields() and note_on(name, Verbatim) is not None
    return f"{name}={quoted(value)}" if free and value not in ("", "null") and value[0] not in "\"'" else None


def typed(word: str) -> str:
    """A word as the user types it: `model@weak=gpt2` → `weak=gpt2`, and so on (see `rewrite`)."""
    name, sign, value = word.partition("=")
    bare = name.removeprefix("++")
    if name.startswith("++") and _is_within(CHANGES, bare):
        return escaped(f"{STAGES}{bare.removeprefix(CHANGES)}{sign}{value}")
    if name.startswith("++") and _is_new(bare):
        word = f"{bare}{sign}{value}"
    for role in ROLES_FROM_MODELS:
        word = word.replace(f"model@{role}=", f"{role}=", 1) if word.startswith(f"model@{role}=") else word
    return escaped(word)


def _is_within(group: str, name: str) -> bool:
    return name == group or name.startswith(f"{group}.")


def is_argument(name: str) -> bool:
    """Whether a dotted name is one of the arguments of a group's loss or rule: loss.args.alpha."""
    group, _, argument = name.partition(".args.")
    return bool(argument) and f"{group}.args" in declared_fields()


def _is_new(name: str) -> bool:
    """Whether Hydra does not know a dotted name from the schema, where the user chooses it."""
    return is_argument(name) or is_named_by_user(name)


def key(word: str) -> str:
    """The field or group of a word: `+loss.args.alpha=1` → loss.args.alpha."""
    return typed(word).lstrip("+~").partition("=")[0]


def group_names(folder: Path | None) -> set[str]:
    """The config groups of the package and of the user's folder."""
    places = [place for place in (configs_folder(), folder) if place]
    return {path.name for place in places for path in place.iterdir() if path.is_dir()}


def options(group: str, folder: Path | None) -> list[str]:
    """The names of a config group's files."""
    places = [place / group for place in (configs_folder(), folder) if place]
    return sorted({path.stem for place in places for path in place.glob("*.yaml")})


def chosen_files(words: Words) -> Iterator[Path]:
    """The user's own YAML files that words choose: loss=mine, in a sweep loss=mine,xent or loss=glob(m*)."""
    if words.folder is None:
        return
    for word in words.overrides:
        group, value = key(word), word.partition("=")[2]
        place = words.folder / ("model" if group in ROLES_FROM_MODELS else group)
        for path in sorted(place.glob("*.yaml")) if re.fullmatch(r"\w+", group) else []:
            if "glob(" in value or path.stem in re.split(r"[^\w.-]+", value):
                yield path


def _refuse_repeated(words: Words) -> None:
    seen: dict[str, str] = {}
    for word in words.overrides:
        first = seen.setdefault(key(word), word)
        if first != word:
            raise UserError(f"{key(word)} has two values, {typed(first)} and {typed(word)}: set one of them.")


def _refuse_hydra(word: str, words: Words) -> None:
    """Refuse settings of Hydra that would have no effect."""
    name = key(word)
    if not name.startswith(("hydra.", "hydra/")) and name != "hydra":
        return
    if not words.multirun:
        raise UserError(f"{word} has no effect on a single run: use it with -m, or leave it out.")
    if not name.startswith(OF_LAUNCHERS):
        raise UserError(
            f"{word} has no effect in w2s, which uses only Hydra's settings of launchers and sweepers: leave it out."
        )
    if not words.by_hydra:
        raise UserError(
            f"{word} has no effect on w2s' own sweeps: choose a Hydra launcher with it, for example "
            "hydra/launcher=joblib; a sweep needs only a list, seed=0,1."
        )


def _refuse_prefixes(word: str, always: set[str]) -> None:
    """Refuse +GROUP=, ~GROUP and ~FIELD: a group always has one of its names, a field a value."""
    name, sign = key(word), word[: len(word) - len(word.lstrip("+~"))]
    if name in OTHER_COMMANDS:
        raise UserError(f"{word}: the files of configs/{name}/ are for {OTHER_COMMANDS[name]}.")
    if name == "model":
        raise UserError(f"{word}: which role has this model? weak=NAME or strong=NAME.")
    if name in always and "=[" in word:
        names = word.partition("=[")[2].rstrip("]")
        raise UserError(
            f"{typed(word)}: a group has one of its names; for a sweep over several, write -m {name}={names}."
        )
    if not sign:
        return
    bare = typed(word)[len(sign) :]
    if name in always:  # +GROUP=NAME adds a group of the user's own
        least = f"write {bare} without {sign}" if "=" in bare else f"write {name}=NAME"
        raise UserError(f"{word}: a group always has one of its names; {least}.")
    if sign == "~" and name in declared_fields():
        raise UserError(f"{word}: a field cannot be deleted; set it, {name}=VALUE (or null, if null is allowed).")


def _refuse_renaming(words: Words) -> None:
    """Refuse GROUP.name=NAME where GROUP=NAME is meant: the name alone would head the results of another one."""
    chosen = {key(word): word.partition("=")[2] for word in words.overrides}
    for word in words.overrides:
        group, _, last = key(word).partition(".")
        place = "model" if group in ROLES_FROM_MODELS else group
        if last != "name" or place not in ("model", "data", "method") or chosen.get(group) == UNNAMED:
            continue
        names = re.split(r"[^\w.-]+", word.partition("=")[2])
        if place == "method" or set(names) & set(options(place, words.folder)):
            what = {"model": f"{group} model", "data": "data set"}.get(place, place)
            raise UserError(
                f"{word} only renames the results of the {what} that is chosen; {group}={word.partition('=')[2]} chooses another."
            )


def refuse_hidden(words: Words, config: dict[str, Any]) -> None:
    """Refuse words without an effect because of another value of the composed configuration.

    Raises:
        UserError: seed beside seeds, labels.source beside labels, or a field of a recipe that is not chosen.
    """
    written = {key(word) for word in words.overrides}
    if config["seeds"] is not None and "seed" in written:
        last = config["seeds"] - 1
        raise UserError(
            f"seed has no effect beside seeds={config['seeds']}, which runs the seeds 0 to {last}: set one of them."
        )
    if {"labels", "labels.source"} <= written:
        raise UserError("labels=NAME sets labels.source: give one of the two.")
    for word in words.overrides:
        if config["pretrain"] is None and key(word).startswith("pretrain."):
            names = did_you_mean("", options("pretrain", words.folder))
            raise UserError(f"{word} has no effect without a recipe: choose one, pretrain=NAME.{names}")
