"""Messages for errors of Hydra and OmegaConf and for wrong fields: what is wrong, where, and what to do."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from w2s_cli.config.declared import class_of, declared_fields, fields_named
from w2s_cli.config.notes import now_called
from w2s_cli.config.schema import Config, field_names
from w2s_cli.config.words import (
    CHANGES,
    OTHER_COMMANDS,
    ROLES_FROM_MODELS,
    STAGES,
    Words,
    chosen_files,
    group_names,
    is_argument,
    key,
    options,
    typed,
)
from w2s_cli.errors import UserError, did_you_mean

NO_GRAMMAR = ("mismatched input", "extraneous input", "LexerNoViableAlt", "no viable alternative")


def explain(error: BaseException, folder: Path | None) -> str:
    """The message for an error of Hydra or OmegaConf."""
    text = (
        "\n".join(str(e) for e in (error, error.__cause__) if e)
        .replace(f"++{CHANGES}", STAGES)
        .replace(CHANGES, STAGES)
    )
    match = re.search(r"Could not find '(model|data)/([^']+)'", text)
    if match and os.path.exists(os.path.expanduser(match[2])):  # both without an error for any name
        what, instead = {
            "data": ("data set", f"data=local data.path={match[2]} data.text=COLUMN data.label=COLUMN"),
            "model": ("model", f"weak=local weak.path={match[2]} (or strong)"),
        }[match[1]]
        return f"{match[2]} is a path, and not the name of a {what}. For your own: {instead}."
    if match := re.search(r"Could not find 'model/([^']*/[^']*)'", text):
        return (
            f'unknown model "{match[1]}": its name must be a file of configs/model/. '
            f"For any other model of the hub: weak=local weak.id={match[1]} (or strong)."
        )
    if match := re.search(r"In '(?!config'|hydra/)([^']+)': Could not (?:find|load) '([^']+)'", text):
        return (
            f"{match[1]}.yaml has defaults, and one of them, {match[2]}, is no file of the package or of a --config-dir folder: "
            "leave them out, or name a file."
        )
    if match := re.search(r"In '([^']+)': \w+ raised while composing config:\s+(.*)", text):
        return f"{match[1]}.yaml has another shape than its group: {_of_shape(match[2], match[1].partition('/')[0])}."
    if match := re.search(r"Could not find '((?:hydra/)?[\w@.-]+)/([^']*)'", text):
        group, name = match[1], match[2]
        listed = re.findall(r"^\t(\S+)$", text, re.MULTILINE) or options(group, folder)
        return f'unknown {group} "{name}".{did_you_mean(name, listed, at_most=60)}'
    if match := re.search(r"Could not override '([^']+)'", text):
        inside = re.search(r"full_key: (\S+)", text)
        return unknown_word(inside[1] if inside and inside[1].startswith(f"{match[1]}.") else match[1], folder)
    if match := re.search(r"An item is already at '([^']+)'", text):
        return f"{match[1]} has a value already: write {match[1]}=VALUE without +."
    if match := re.search(r"Could not delete from config\. '([^']+)' does not exist", text):
        if match[1].startswith(f"{STAGES}."):
            return f"~{match[1]}: null removes a stage of a method's base, or a field of a stage: {match[1]}=null."
        return f"~{match[1]}: there is no {match[1]} to delete."
    if match := re.search(r"HydraConfig was not set\s+full_key: (\S+)", text):
        return (
            f"{match[1]}: ${{hydra:…}} has no value in w2s, which does not run Hydra's jobs: write the value itself. "
            "A path is relative to the folder in which w2s is called."
        )
    if match := re.search(r"(.*interpolation.*)\s+full_key: (\S+)", text, re.IGNORECASE):
        return f"{match[2]}: {match[1]}."
    if "Config group override" in text:
        return "a group must have one of its names, not null: see configs/ for the names of weak=, strong=, data=, …"
    if "invalid literal for int()" in text:
        return f"a list has no fields; set the whole list, FIELD=[…] ({text})."
    if any(sign in text for sign in NO_GRAMMAR):
        return _unreadable(getattr(error, "override", None) or text.splitlines()[0])
    if match := re.search(r"Sweep parameters '([^']+)' requires --multirun", text):
        return f"{typed(match[1])}: several values in one word are a sweep: add -m (w2s train -m …)."
    if match := re.search(r"Override (\S+)=(.+?) looks like a config group override", text):
        return f"{typed(f'{match[1]}={match[2]}')}: a group has one of its names, {typed(f'{match[1]}=NAME')}."
    if match := re.search(r"Ambiguous value for argument '(.+?)'\n", text):
        field = key(match[1])
        return (
            f"{typed(match[1])}: several values in one field are a sweep: add -m (w2s train -m {typed(match[1])}). "
            f"A text with a comma needs quotes: '{field}=\"a, b\"'."
        )
    lines = [
        line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("See https", "Set the env"))
    ]
    return " ".join(dict.fromkeys(lines))


def _of_shape(problem: str, group: str) -> str:
    """An error of OmegaConf while a YAML file is merged into its group, in words."""
    if re.search(r"Cannot merge \w+ with \w+", problem):
        return f"a list stands where there are named fields, or the reverse (w2s config {group} shows the fields)"
    return problem


def _unreadable(problem: str) -> str:
    """The message for a word outside of Hydra's grammar; `problem` is the parser's, with the word at its end or without it."""
    word = re.sub(r"^\w+Exception: ", "", problem).rstrip(". ")
    name, sign, value = word.partition("=")
    if not sign or not re.fullmatch(r"[\w.@/+~-]+", name):
        return f"cannot read an override: {word}. Quote a value with special characters: 'data.path=\"my file.jsonl\"'."
    for opened, closed in ("{}", "[]"):
        if value.startswith(opened) and value.count(opened) > value.count(closed):
            return f'cannot read {typed(word)}: a "{opened}" has no "{closed}".'
    inside = value.replace('"', '\\"')
    as_typed = shlex.quote(f'{typed(name)}="{inside}"')
    return f"cannot read {typed(word)}: a value with special characters needs quotes, in a shell {as_typed}."


def unknown_word(name: str, folder: Path | None) -> str:
    """The message for a field or group that a configuration does not have."""
    if is_argument(name):
        group = name.partition(".")[0]
        return f"this {group} has no such argument, {name}. w2s config {group} with the same words lists all."
    declared = set(declared_fields())
    above, last = split_at_unknown(name)
    cls = class_of(above) if above else Config
    if cls is None:
        return f'"{above}" has no "{last}": +{name}=VALUE adds it if "{above}" can have fields of any name.'
    unknown = f"{above}.{last}" if above else last
    rest, within = name.removeprefix(unknown), f"{above}." if above else ""
    if rest and (alike := [field for field in declared if field.startswith(within) and field.endswith(rest)]):
        return f'unknown field "{name}".{did_you_mean(name, alike, at_most=40)}'
    if cls is Config and not rest and (inside := fields_named(last)):
        own = [field for field in field_names(Config) if field == last.lower()]
        return (
            f'unknown field "{last}". Fields have the names of their groups before them: {", ".join([*own, *inside])}.'
        )
    if renamed := now_called(cls, last):
        return f"{unknown} is called {within}{renamed} now."
    groups = group_names(folder) - {*OTHER_COMMANDS, "model"} if cls is Config else set()
    hint = did_you_mean(last, {*groups, *field_names(cls)}, at_most=40)
    whole = hint.replace('mean "', f'mean "{within}', 1)
    return f'unknown field "{unknown}".{whole}'


def refuse_unknown(words: Words) -> None:
    """Refuse `+FIELD`, `++FIELD` and `~FIELD` of a field that no configuration has, as Hydra refuses it without a prefix.

    Raises:
        UserError: names the field.
    """
    for word in words.overrides:
        name = key(word).rpartition("@")[2]
        above, last = split_at_unknown(name)
        added = word.startswith(("+", "~")) and name not in group_names(words.folder) and not name.startswith("hydra")
        if added and last and (not above or class_of(above) is not None):
            raise UserError(f"{typed(word)}: {unknown_word(name, words.folder)}")


def split_at_unknown(name: str) -> tuple[str, str]:
    """The declared beginning of a dotted name, and the part after it: ("loss", "agrs") of loss.agrs.alpha; "" if all is declared."""
    declared = set(declared_fields())
    above, last = name, ""
    while above and above not in declared:
        above, _, last = above.rpartition(".")
    return above, last


def unfitting(misfits: Sequence[str], words: Words) -> str:
    """All misfits of one configuration in one message; for a field that no word sets, with the YAML file that sets it."""
    written = {key(word) for word in words.overrides}
    messages = []
    for misfit in misfits:
        name = re.match(r'(?:unknown field ")?([\w.]+)', misfit)
        group = name[1].partition(".")[0] if name else ""
        on_command_line = name is not None and any(
            name[1] == word or name[1].startswith(f"{word}.") for word in written if "." in word
        )
        file = None if on_command_line or not name else _file(group, words)
        messages.append(f"{misfit} (in {file})" if file else misfit)
    return "\n".join(dict.fromkeys(messages))


def _file(group: str, words: Words) -> Path | None:
    """The YAML file of the chosen option of a group, if it is the user's own."""
    place = "model" if group in ROLES_FROM_MODELS else group
    return next((path for path in chosen_files(words) if path.parent.name == place), None)
