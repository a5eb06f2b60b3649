"""`w2s config [GROUP | FIELD]… [words]`: the configuration of a run, and where each value comes from; runs nothing.

* The words are those of `w2s train`, composed and checked as there. A word without "=" names the groups or fields to show.
* A single field is shown with its meaning, type, range and default.
* Arguments of the chosen loss and rules that no file sets are shown with the defaults of their code.
* `--reference` prints docs/fields.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from w2s_cli.config import compose
from w2s_cli.config.described import described, literal
from w2s_cli.config.explain import unknown_word
from w2s_cli.config.methods import with_stages
from w2s_cli.config.origins import DEFAULT, Origins, shown
from w2s_cli.config.sweeps import Composed
from w2s_cli.config.words import Words, parse
from w2s_cli.errors import UserError
from w2s_cli.paths import configs_folder
from w2s_cli.pipeline.arguments import REQUIRED, signature
from w2s_cli.plugins import find_code
from w2s_cli.results.fields import flatten
from w2s_cli.results.text_table import print_table
from w2s_cli.values import words as allowed_words

RULES = {
    "loss": "losses",
    "combine": "combining",
    "select": "selection",
    "control": "selection",
    "grader": "graders",
    "objective": "objectives",
}  # group → folder of code
REFERENCE = "--reference"


def run(argv: list[str]) -> int:
    """Print the configuration, or the reference of all fields."""
    if argv == [REFERENCE]:
        from w2s_cli.commands.reference import page

        print(page(), end="")
        return 0
    if REFERENCE in argv:
        raise UserError(f"w2s config {REFERENCE} takes no other word: it prints the page of all fields.")
    if any(word in ("-m", "--multirun") for word in argv):
        raise UserError("w2s config shows one configuration: give it the words of one job, without -m.")
    names, rest = split(argv)
    words = parse(rest)

    def task(jobs: list[Composed], folders: list[Path]) -> int:
        _show(jobs[0], words, folders, names)
        return 0

    return compose.run(rest, task)


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """(names of groups and fields, all other words)."""
    names, rest, waiting = [], [], iter(argv)
    for word in waiting:
        if word in ("--config-dir", "--outputs"):
            rest += [word, next(waiting, "")]
        elif word.startswith(("-", "+", "~")) or "=" in word:
            rest.append(word)
        else:
            names.append(word)
    return names, rest


def _show(job: Composed, words: Words, folders: list[Path], names: list[str]) -> None:
    origins = Origins(words, job.values)
    from_code = dict(arguments(job.values, folders))
    values = dict(flatten(written(job, from_code, folders)))
    rows = [["field", "value", "from"]]
    for name in chosen(values, names, words):
        origin = origins.of(name)
        if origin == DEFAULT and name in from_code:
            origin = f"{DEFAULT} of {shown(from_code[name][2])}"
        rows.append([name, literal(values[name]), origin])
    print_table(rows)
    if len(rows) == 2:
        print("\n" + "\n".join(explained(rows[1][0], from_code)))


def written(job: Composed, from_code: Mapping[str, "Argument"], folders: Sequence[Path]) -> dict[str, Any]:
    """The configuration with all arguments of the chosen rules, and with a method's stages as its files have them: `${strong}`."""
    config = {**job.values}
    method = with_stages({**job.values, "method": job.setting["method"]}, [*folders, configs_folder()])
    for name, argument in from_code.items():
        group = name.partition(".")[0]
        args = {**config[group]["args"]}
        args.setdefault(name.rpartition(".")[2], argument.default)
        config[group] = {**config[group], "args": args}
    return {**config, "method": method}


def chosen(values: Mapping[str, Any], names: Sequence[str], words: Words) -> list[str]:
    """The fields to show: all, or those of the named groups.

    Raises:
        UserError: a name that is no group and no field.
    """
    fields: list[str] = []
    for name in names:
        inside = [field for field in values if field == name or field.startswith(f"{name}.")]
        if not inside:
            if name == "model":
                raise UserError("model is no part of a configuration: the two models are weak and strong.")
            raise UserError(unknown_word(name, words.folder))
        fields += inside
    return list(dict.fromkeys(fields)) if names else list(values)


class Argument(NamedTuple):
    """One argument of the chosen loss or rule of a group."""

    kind: Any
    default: Any
    path: Path


def arguments(config: Mapping[str, Any], folders: Sequence[Path]) -> Iterator[tuple[str, Argument]]:
    """Dotted name → argument, of the chosen loss and rules."""
    for group, folder in RULES.items():
        name = config[group]["rule"] if group == "control" else config[group]["name"]
        if name is not None:
            path = find_code(folder, name, folders)
            for argument, (kind, default) in signature(path, name).items():
                yield f"{group}.args.{argument}", Argument(kind, None if default is REQUIRED else default, path)


def explained(name: str, from_code: Mapping[str, Argument]) -> list[str]:
    """The meaning of one field, its allowed values and its default."""
    if name in from_code:
        kind, default, path = from_code[name]
        return [f"allowed: {allowed_words(kind)}", f"default: {literal(default)} ({shown(path)})"]
    field = next((field for field in described() if field.name == name), None)
    if field is None:
        return []
    meaning = [f"meaning: {field.meaning}"] if field.meaning else []
    return [*meaning, f"allowed: {field.allowed}", f"default: {field.written}"]
