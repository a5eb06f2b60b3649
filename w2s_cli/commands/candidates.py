"""The words that can stand at the end of a command line, for completion.

* What a command takes is in `COMMANDS`; groups and their choices are the YAML files of the package and of --config-dir; fields and values
  are the schema's; arguments are those of the chosen loss or rule; stages and runs are folders of the outputs folder of the line.
* Nothing is composed: no Hydra, and of the store only the names of its folders.
"""

import contextlib
import io
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from w2s_cli.commands import COMMANDS
from w2s_cli.commands.completion import SCRIPTS
from w2s_cli.config.described import choices, described
from w2s_cli.config.words import OPTIONS, OTHER_COMMANDS, ROLES_FROM_MODELS, group_names, options
from w2s_cli.errors import UserError
from w2s_cli.paths import configs_folder
from w2s_cli.plugins import code_names, find_code
from w2s_cli.results.runs import LATEST, run_folders

CODE = {  # field → folder of the Python files that it names
    "loss.name": "losses",
    "combine.name": "combining",
    "select.name": "selection",
    "control.rule": "selection",
    "data.transform": "data/transforms",
    "launcher.name": "run/launchers",
}
OF_MODELS = ("ladder", "ensemble")  # fields with lists of models
RULE = re.compile(r"(loss|combine|select|control)\.args\.")


@dataclass
class Line:
    """A command line up to its last word, which is to be completed."""

    command: str
    words: Sequence[str]  # between the command and the last word
    last: str

    def value(self, *names: str) -> str | None:
        """The value of an option or field of the line: of `--outputs DIR`, `--outputs=DIR`, `outputs=DIR`."""
        latest = None
        for place, word in enumerate(self.words):
            name, sign, value = word.partition("=")
            if name in names:
                latest = value if sign else next(iter(self.words[place + 1 : place + 2]), None)
        return latest

    @cached_property
    def folder(self) -> Path | None:
        """The folder of --config-dir, if there is one."""
        named = self.value("--config-dir")
        folder = Path(named).expanduser() if named else None
        return folder if folder and folder.is_dir() else None

    @cached_property
    def folders(self) -> list[Path]:
        """The user's folders of code."""
        return [self.folder] if self.folder else []

    @cached_property
    def outputs(self) -> Path:
        """The outputs folder."""
        return Path(self.value("outputs", "--outputs") or "outputs").expanduser()


def candidates(text: str) -> list[str]:
    """The words that can stand in place of the last word of a line, which begin as it does."""
    *before, last = _words(text)
    if before and os.path.basename(before[0]) == "w2s":
        before = before[1:]
    if not before:
        offered: Iterator[str] = iter([*COMMANDS, "--help", "--version"])
    elif before[0] in COMMANDS:
        offered = _offered(Line(before[0], before[1:], last))
    else:
        offered = iter(())
    return list(dict.fromkeys(word for word in offered if word.startswith(last)))


def _words(text: str) -> list[str]:
    """The words of a line; the last one is empty after a space."""
    try:
        words = shlex.split(text)
    except ValueError:  # an open quote
        words = text.split()
    return words + ([""] if not words or text[-1:].isspace() else [])


def _offered(line: Line) -> Iterator[str]:
    previous = line.words[-1] if line.words else ""
    if previous in ("--config-dir", "--outputs", "--out", "--to"):
        return  # a path: the shell completes it
    if previous == "--force":
        yield from _stages_of_method(line)
        return
    if line.last.startswith("-"):
        yield from _options(line)
        return
    if line.command == "data" and not line.words:
        yield "check"
        return
    takers: dict[str, Callable[[Line], Iterator[str]]] = {
        "words": _configuration,
        "overrides": _configuration,
        "fields": _fields,
        "stages": _stages,
        "runs": _runs,
        "kinds": lambda line: _folders(line.outputs / "stages"),
        "tables": _tables,
        "experiments": lambda line: iter(options("experiment", line.folder)),
        "figures": lambda line: iter(_figures()),
        "shells": lambda line: iter(SCRIPTS),
    }
    for name in COMMANDS[line.command].takes:
        yield from takers[name](line)
    if "words" not in COMMANDS[line.command].takes and line.last:  # outputs=DIR in place of --outputs DIR
        yield "outputs="


def _options(line: Line) -> Iterator[str]:
    """The options of a command: of its argument parser, by its help."""
    if "words" in COMMANDS[line.command].takes:
        yield from OPTIONS
        return
    from w2s_cli.commands.help import show_command_help

    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        show_command_help(line.command, COMMANDS)
    yield from re.findall(r"(?<![\w-])--?[a-z][\w-]*", text.getvalue().partition("\noptions:")[2])


def _configuration(line: Line) -> Iterator[str]:
    """GROUP=NAME and FIELD=VALUE; with a "+", the arguments that only a rule's code has."""
    prefix = "+" if line.last.startswith("+") else ""
    name, equals, start = line.last[len(prefix) :].partition("=")
    if equals:
        yield from (f"{prefix}{name}={value}" for value in _values(line, name, start))
        return
    if not prefix:
        groups = group_names(line.folder) - {*OTHER_COMMANDS, "model"} | set(ROLES_FROM_MODELS)
        yield from (f"{group}=" for group in sorted(groups))
        yield from (f"{field.name}=" for field in described(meanings=False))
    if ruled := RULE.match(name):
        yield from (f"{prefix}{ruled[0]}{argument}=" for argument in _arguments(line, ruled[1]))


def _values(line: Line, name: str, start: str) -> Iterator[str]:
    """The values of a group or field; of a list, `a,b` or `[a,b`, its values so far with one more."""
    bracket = "[" if start.startswith("[") else ""
    done = start[len(bracket) :].rpartition(",")[0]
    kind = next((field.kind for field in described(meanings=False) if field.name == name), None)
    if name in ROLES_FROM_MODELS or name in OF_MODELS:
        listed = options("model", line.folder)
        bracket = "[" if name in OF_MODELS else bracket
    elif name in group_names(line.folder):
        listed = options(name, line.folder)
    elif name in CODE:
        listed = code_names(CODE[name], line.folders)
    elif ruled := RULE.match(name):
        listed = choices(_arguments(line, ruled[1]).get(name[len(ruled[0]) :]))
    else:
        listed = choices(kind)
    used = done.split(",")
    yield from (f"{bracket}{done}{',' if done else ''}{value}" for value in listed if value not in used)


def _arguments(line: Line, group: str) -> dict[str, object]:
    """Argument → type, of the loss or rule that the line, or configs/config.yaml, chooses for a group."""
    from w2s_cli.pipeline.arguments import signature
    from w2s_cli.store.files import read_yaml

    chosen = line.value(group) or _chosen_by_default(group)
    places = [folder / group / f"{chosen}.yaml" for folder in (configs_folder(), *line.folders)]
    try:
        content = read_yaml(next(path for path in places if path.is_file()).read_text(encoding="utf-8"))
        name = str(content.get("rule") if group == "control" else content.get("name"))
        path = find_code(
            "losses" if group == "loss" else "combining" if group == "combine" else "selection", name, line.folders
        )
        return {argument: kind for argument, (kind, _) in signature(path, name).items()}
    except (StopIteration, OSError, ValueError, UserError):
        return {}


def _chosen_by_default(group: str) -> str:
    written = re.search(rf"^  - {group}: (\S+)$", (configs_folder() / "config.yaml").read_text(), re.MULTILINE)
    return written[1] if written else ""


def _stages_of_method(line: Line) -> Iterator[str]:
    """The names of the stages of the chosen method and its bases."""
    from w2s_cli.store.files import read_yaml

    method: str | None = line.value("method") or _chosen_by_default("method")
    for _ in range(10):  # bases
        places = [folder / "method" / f"{method}.yaml" for folder in (configs_folder(), *line.folders)]
        path = next((path for path in places if path.is_file()), None)
        if path is None:
            return
        content = read_yaml(path.read_text(encoding="utf-8"))
        yield from content.get("stages") or {}
        method = content.get("base")


def _fields(line: Line) -> Iterator[str]:
    """Groups and fields, without "="."""
    if "=" not in line.last:
        for field in described(meanings=False):
            top, dot, _ = field.name.partition(".")
            yield from [top, field.name] if dot else [field.name]


def _tables(line: Line) -> Iterator[str]:
    from w2s_cli.results.table.request import OPTIONS as OF_TABLES

    yield from options("table", line.folder)
    yield from (f"{option}=" for option in OF_TABLES)


def _figures() -> list[str]:
    return code_names("results/figures")


def _stages(line: Line) -> Iterator[str]:
    """The keys of all stages; their folders' names, for a word that begins no key."""
    names = [path.name for path in line.outputs.glob("stages/*/*-*")]
    keys = [name.rpartition("-")[2] for name in names]
    yield from sorted(keys)
    if line.last:
        yield from sorted(names)


def _runs(line: Line) -> Iterator[str]:
    """The names of all runs and sweeps; `latest`, where it is a name; with its date, for a word that begins no other name."""
    folders = run_folders(line.outputs)
    names = [path.name for path in folders]
    yield from [LATEST] if folders and line.command != "rm" else []
    yield from names
    if not any(name.startswith(line.last) for name in names):
        yield from (f"{path.parent.name}/{path.name}" for path in folders)


def _folders(folder: Path) -> Iterator[str]:
    yield from sorted(path.name for path in folder.glob("*") if path.is_dir())
