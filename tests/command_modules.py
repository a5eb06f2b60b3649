"""What a command that plans and runs stages imports, for the server of `tests.forked`. It may import, and may start no thread."""

import gc
from importlib import import_module

from w2s_cli.commands import COMMANDS

CALLED = [import_module(f"w2s_cli.commands.{command.call.partition(':')[0]}") for command in COMMANDS.values()]
MODULES = (
    "hydra",
    "rich.live",
    "w2s_cli.run.progress",
    "w2s_cli.run.scheduler",
    "w2s_cli.results.summary_table",
    "yaml",
)
IMPORTED = [import_module(name) for name in MODULES]
gc.freeze()
