"""`w2s --help`: examples, then the commands and the options of every config group, read from the folders of YAML files."""

import importlib
import inspect
import textwrap
from collections.abc import Mapping

from w2s_cli.paths import configs_folder

EXAMPLES = """\
examples:
  w2s train                                        the bundled experiment: real data, real models, no download
  w2s train weak=gpt2 strong=qwen                  GPT-2 supervises Qwen2.5-0.5B on the bundled data
  w2s train weak=gpt2 strong=qwen data=sciq loss=logconf strong.lr=3e-5 seed=3
  w2s train seeds=5                                five seeds, mean and interval
  w2s train -m loss=xent,logconf seed=0,1,2        a sweep; stages that its jobs share run once
  w2s train data=local data.path=my.jsonl data.text=prompt data.label=is_safe
  w2s train labels=file labels.path=mine.jsonl     weak labels from people or from an API model
  w2s train weak=local weak.path=ckpt/ strong=qwen a checkpoint of your own
  w2s plan weak=gpt2 strong=qwen                   the stages with their keys and states; runs nothing
  w2s evaluate                                     PGR from finished stages; never trains"""

OVERRIDES = """\
An option is chosen as GROUP=NAME and a field set as FIELD=VALUE, in Hydra's grammar; the folder of results is outputs=DIR.
strong.* sets student and ceiling alike, student.* and ceiling.* one of them, weak.* the weak supervisor.
--config-dir DIR adds your own YAML files (and DIR/losses/*.py); -m runs a sweep.
--force STAGE makes a stage again; --debug shows tracebacks.
Running the same command again continues an interrupted run, or shows its results."""


def show_help(commands: Mapping[str, tuple[str, str]]) -> int:
    """Print the overview."""
    print(
        "w2s: weak-to-strong generalization experiments as resumable stages\n\nusage: w2s COMMAND [GROUP=NAME | FIELD=VALUE]…\n"
    )
    print(EXAMPLES + "\n\ncommands:")
    for name, (_, line) in commands.items():
        print(f"  {name:<11}{line}")
    print("\noptions of each group:")
    for group, names in groups().items():
        title = {"model": "weak, strong", "table": "w2s table", "experiment": "w2s reproduce"}.get(group, group)
        print(textwrap.fill(", ".join(names), 118, initial_indent=f"  {title}: ", subsequent_indent="      "))
    print("\n" + OVERRIDES)
    return 0


def show_command_help(name: str, commands: Mapping[str, tuple[str, str]]) -> int:
    """Print the help of one command: argparse's help if it has options, else the grammar of the overview."""
    module, function = commands[name][0].split(":")
    run = getattr(importlib.import_module(f"w2s_cli.commands.{module}"), function)
    if "parser(" in inspect.getsource(run):
        code: int = run(["--help"])
        return code
    print(
        f"w2s {name}: {commands[name][1]}\n\nusage: w2s {name} [GROUP=NAME | FIELD=VALUE]…\n\n{EXAMPLES}\n\n{OVERRIDES}"
    )
    return 0


def groups() -> dict[str, list[str]]:
    """Config group → the names of its files."""
    names_of = {}
    for folder in sorted(path for path in configs_folder().iterdir() if path.is_dir()):
        names = sorted(path.stem for path in folder.glob("*.yaml"))
        if names:
            names_of[folder.name] = names
    return names_of
