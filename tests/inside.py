"""The command in the process of the test, with all that a command may change put back afterwards.

A command owns its process: it changes the environment, `sys.argv`, `sys.path`, warnings, logging and signal handlers, and Hydra keeps
one configuration for the whole process. `run_inside` gives each command a clean state and puts back the state of the test. Its workers
are processes of their own (`tests.warm`).
"""

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

from tests import warm
from w2s_cli.cli import dispatch
from w2s_cli.run.launchers import local
from w2s_cli.run.signals import ASKING


def run_inside(arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`w2s …` in `folder`; the exit code and what it printed, as of a process.

    What a library reads from the environment when it is imported (HF_ENDPOINT, HF_HUB_OFFLINE by the hub's client) is not read
    again: a command that needs it is called as a process.
    """
    out, errors = io.StringIO(), io.StringIO()
    with (
        tempfile.TemporaryFile() as of_workers,
        restored(folder, environment),
        mock.patch.object(local, "subprocess", warm.processes(of_workers)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        try:
            code = dispatch(list(arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        of_workers.seek(0)
        errors.write(of_workers.read().decode())
    return subprocess.CompletedProcess(list(arguments), code, out.getvalue(), errors.getvalue())


@contextlib.contextmanager
def restored(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A process's state for one command: its folder, its environment, and no configuration of Hydra; the test's state afterwards."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    signals = {number: signal.getsignal(number) for number in ASKING}
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(sys, "argv", ["w2s"]),
        mock.patch.object(sys, "path", list(sys.path)),
        warnings.catch_warnings(),
    ):
        try:
            yield
        finally:
            clear_hydra()
            logger.handlers[:] = handlers
            logger.setLevel(level)
            for number, handler in signals.items():
                signal.signal(number, handler)


def clear_hydra() -> None:
    """Forget the configuration of the command, if it has loaded Hydra."""
    if "hydra" in sys.modules:
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig

        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
