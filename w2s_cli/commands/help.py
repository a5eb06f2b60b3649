"""`w2s --help` and `w2s COMMAND --help`: examples, commands, the choices of every config group, and the fields of a command.

* Commands are those of `COMMANDS`, choices the YAML files of configs/, fields those of the schema, each with its type, range and default.
* The commands that take a configuration show its fields; the others have the help of their argument parser.
* Lines fit the terminal, and have at most WIDEST characters elsewhere.
"""

import importlib
import shutil
import textwrap
from collections.abc import Mapping, Sequence

from w2s_cli.commands import Command
from w2s_cli.config.described import described, groups, literal
from w2s_cli.config.words import OTHER_COMMANDS, options
from w2s_cli.paths import configs_folder, read_mapping
from w2s_cli.results.fields import flatten

EXAMPLES = {
    "w2s train": "the bundled experiment: real data, real models, no download",
    "w2s train weak=gpt2 strong=qwen": "GPT-2 supervises Qwen2.5-0.5B on the bundled data",
    "w2s train weak=gpt2 strong=qwen data=sciq loss=logconf strong.lr=3e-5 seed=3": "",
    "w2s train seeds=5": "five seeds, mean and interval",
    "w2s train -m loss=xent,logconf seed=0,1,2": "a sweep; stages that its jobs share run once",
    "w2s train -m strong.lr='interval(1e-6,1e-4)' search.trials=20": "a search, by weak labels of validation rows",
    "w2s train data=local data.path=my.jsonl data.text=prompt data.label=is_safe": "",
    "w2s train labels=file labels.path=mine.jsonl": "weak labels from people or from an API model",
    "w2s train weak=local weak.path=ckpt/ strong=qwen": "a checkpoint of your own",
    "w2s plan weak=gpt2 strong=qwen": "the stages with their keys and states; runs nothing",
    "w2s config strong strong.lr=3e-5": "the values of a group, and where each comes from",
    "w2s evaluate": "PGR from finished stages; never trains",
}
OPTIONS = {
    "-m, --multirun": "a sweep: every combination of the values of loss=xent,logconf seed=0,1,2",
    "--config-dir DIR": "a folder with YAML files of your own (and DIR/losses/*.py, …)",
    "--outputs DIR": "the folder of results, as outputs=DIR",
    "--force STAGE": "make a stage again",
    "--detach": "with launcher=slurm: return when the jobs are submitted",
    "--debug": "show the traceback of an error",
    "--reference": "print the page of all fields, docs/fields.md",
}
OVERRIDES = """\
An option is chosen as GROUP=NAME and a field set as FIELD=VALUE, in Hydra's grammar; the folder of results is outputs=DIR.
strong.* sets student and ceiling alike, student.* and ceiling.* one of them, weak.* the weak supervisor.
--config-dir DIR adds your own YAML files (and DIR/losses/*.py); -m runs a sweep.
--force STAGE makes a stage again; --debug shows tracebacks.
Running the same command again continues an interrupted run, or shows its results.
w2s COMMAND --help lists the fields and options of a command, w2s config FIELD says what a field means."""
FIELDS = "fields, set as FIELD=VALUE, with default and allowed values (w2s config FIELD says what one means):"
WIDEST = 118
SHORT = 20  # characters of a column of words with the explanation beside it on any terminal
OWN = {  # command → the groups and top-level fields that it reads; any other command reads all but those of `w2s pretrain`
    "pretrain": ("pretrain", "launcher", "tracker", "outputs", "remotes", "keep_weights"),
    "data": ("data", "weak", "strong", "seed", "seeds"),
}


def show_help(commands: Mapping[str, Command]) -> int:
    """Print the overview."""
    print("w2s: weak-to-strong generalization experiments as resumable stages\n")
    print("usage: w2s COMMAND [GROUP=NAME | FIELD=VALUE]…\n\nexamples:")
    print_pairs(EXAMPLES, 49)
    print("\ncommands:")
    print_pairs({name: command.line for name, command in commands.items()}, 13)
    print("\noptions of each group:")
    for group, names in groups_of_files().items():
        title = {"model": "weak, strong", "table": "w2s table", "experiment": "w2s reproduce"}.get(group, group)
        print_names(title, names)
    print()
    for line in OVERRIDES.splitlines():
        print(textwrap.fill(line, width()))
    return 0


def show_command_help(name: str, commands: Mapping[str, Command]) -> int:
    """Print the help of one command: of its argument parser, or of the configuration that it takes."""
    command = commands[name]
    if "words" not in command.takes:
        module, function = command.call.split(":")
        code: int = getattr(importlib.import_module(f"w2s_cli.commands.{module}"), function)(["--help"])
        return code
    print(textwrap.fill(f"w2s {name}: {command.line}", width()))
    first = {"data": "check ", "config": "[GROUP | FIELD]… "}.get(name, "")
    print(
        f"\nusage: w2s {name} {first}[GROUP=NAME | FIELD=VALUE]…\n\nexample:\n  w2s {name} {command.example}\n\noptions:"
    )
    print_pairs({option: text for option, text in OPTIONS.items() if applies(option, name)}, 20)
    print("\ngroups, chosen as GROUP=NAME:")
    for group, names in groups_of_files().items():
        if group not in OTHER_COMMANDS and reads(name, "weak" if group == "model" else group):
            print_names("weak, strong" if group == "model" else group, names)
    print(textwrap.fill(f"\n{FIELDS}", width(), replace_whitespace=False))
    print_fields(name)
    return 0


def reads(command: str, group: str) -> bool:
    """Whether a command reads a group, or a field that belongs to none."""
    return group in OWN[command] if command in OWN else group != "pretrain"


def applies(option: str, command: str) -> bool:
    """Whether a command has an option of OPTIONS."""
    limited = {
        "--force STAGE": command not in ("data", "config"),
        "--detach": command not in ("data", "config", "plan"),
        "-m, --multirun": command != "config",
        "--reference": command == "config",
    }
    return limited.get(option, True)


def print_fields(command: str) -> None:
    """Print the fields of a command with their defaults and allowed values; groups of the same fields share their lines."""
    alike = {name: names for names in groups().values() for name in names}
    chosen = _of_default_files()
    for field in described():
        top, _, rest = field.name.partition(".")
        names = alike.get(top, [top])
        if names[0] != top or not reads(command, top):
            continue
        name = f"{'|'.join(names)}.{rest}" if rest else top
        written = {chosen.get(f"{each}.{rest}", field.written) for each in names}  # of weak and strong, or of one group
        value = written.pop() if len(written) == 1 else "of its file"
        text = f"  {name:<31} {value:<12}  {field.allowed}"
        print("\n".join(textwrap.wrap(text, width(), subsequent_indent=" " * 8, break_on_hyphens=False)))


def _of_default_files() -> dict[str, str]:
    """Dotted field → its value in the file of its group that is chosen by default."""
    values: dict[str, str] = {}
    for entry in read_mapping(configs_folder() / "config.yaml")["defaults"]:
        for group, name in entry.items() if isinstance(entry, dict) else ():
            folder, _, part = group.partition("@")
            if name and not group.startswith("override"):
                content = read_mapping(configs_folder() / folder / f"{name}.yaml")
                values |= {f"{part or folder}.{field}": literal(value) for field, value in flatten(content)}
    return values


def print_pairs(pairs: Mapping[str, str], column: int) -> None:
    """Print a word and its explanation a line. The explanation begins at a column, or stands below a word of many characters."""
    for word, text in pairs.items():
        line = f"  {word}".ljust(column + 1) + f" {text}"
        if len(line.rstrip()) <= width() or column <= SHORT:
            print("\n".join(textwrap.wrap(line, width(), subsequent_indent=" " * (column + 2))))
        else:
            print(
                "\n".join(
                    [f"  {word}", *textwrap.wrap(text, width(), initial_indent=" " * 6, subsequent_indent=" " * 6)]
                )
            )


def print_names(title: str, names: Sequence[str]) -> None:
    """Print the choices of a group."""
    lines = textwrap.wrap(f"  {title}: {', '.join(names)}", width(), subsequent_indent=" " * 6, break_on_hyphens=False)
    print("\n".join(lines))


def width() -> int:
    """The width of the terminal, at most WIDEST."""
    return min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)


def groups_of_files() -> dict[str, list[str]]:
    """Config group → the names of its files."""
    folders = sorted(path for path in configs_folder().iterdir() if path.is_dir())
    return {folder.name: options(folder.name, None) for folder in folders if options(folder.name, None)}
