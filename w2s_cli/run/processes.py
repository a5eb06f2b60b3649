"""A worker of several processes: `python -m w2s_cli.run.processes COUNT WORD…`, with the words of `w2s_cli.run.worker`.

* accelerate starts the processes and watches them: it is called here as `accelerate launch --multi_gpu --num_processes COUNT -m
  w2s_cli.run.worker WORD…`, which is the same line by hand. On a machine without GPUs, accelerate's `--multi_gpu` starts processes
  that compute on the CPU; its `--cpu` starts one process.
* Signals that ask for a stop go on to the processes, which save and stop as long as that takes. accelerate would kill them after 30 s.
* This process ends as its processes did: by the signal that killed one of them, or with the exit code of the first that failed.
"""

import logging
import os
import signal
import sys
from contextlib import suppress
from typing import Any

import psutil

from w2s_cli.run import signals
from w2s_cli.run.process import die_with_parent
from w2s_cli.run.workplace import EXIT_AGAIN, EXIT_STOPPED, PROCESSES, WORKER

SERVE = "--serve"


def main(argv: list[str]) -> int:
    """Entry point of the process."""
    count, *words = argv
    if words[:1] == [SERVE]:
        die_with_parent(int(words[1]))
        words[1] = str(os.getpid())  # the parent of the processes
    os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGQUIT"  # torch's launcher leaves the others to `_pass_on`
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as of a worker of one process; each stage sets its own number
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # a stage's failure has its own message
    signals.handle(_pass_on)
    if words[:1] == [SERVE]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    launch = [
        *(
            "--multi_gpu",
            "--gpu_ids",
            "all",
            "--num_processes",
            count,
            "--num_machines",
            "1",
            "--main_process_port",
            "0",
        ),
        *("--mixed_precision", "no", "--dynamo_backend", "no", "--module", WORKER, *words),
    ]
    try:
        launch_command(launch_command_parser().parse_args(launch))
    except ChildFailedError as error:
        code = _end_as(error)
        if code == EXIT_AGAIN:
            os.execv(sys.executable, [sys.executable, "-m", PROCESSES, *argv])
        return code
    return 0


def _pass_on(number: int, _: object) -> None:
    """Signal handler: send the signal on to the processes of the worker; before they are there, end."""
    children = psutil.Process().children()
    if not children:
        raise SystemExit(EXIT_STOPPED)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.send_signal(number)


def _end_as(error: Any) -> int:
    """The exit code of the processes; this process dies by the signal by which one of them died."""
    codes = [failure.exitcode for failure in error.failures.values()]
    killed = [
        -code for code in codes if code < 0 and -code != signal.SIGTERM
    ]  # SIGTERM: torch's launcher ended the rest
    if killed:
        if killed[0] != signal.SIGKILL:
            signal.signal(killed[0], signal.SIG_DFL)
        os.kill(os.getpid(), killed[0])
    for code in (EXIT_STOPPED, EXIT_AGAIN):
        if code in codes:
            return code
    return next((code for code in codes if code > 0), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
