"""The process that runs stages: `python -m w2s_cli.run.worker [--wait] [--redo RUN] STAGE_DIR…`

* With --serve it reads jobs from standard input, one JSON object {"folder", "redo"} per line, and dies with its parent. Events go to
  standard output as JSON lines; the output of libraries goes to the stage's log.
* With --wait, as a job of a cluster, it waits while another process has the stage, and begins again where a stage asks for a new process.
  A file `stop` in the stage's folder asks it to save and stop, because no signal crosses machines.
* A signal of `signals.py`: the running stage saves its state and stops, and so does every later one. The parent handles Ctrl-C.
* Several processes may be one worker (`ranks.py`, `processes.py`): rank 0 takes the jobs.
"""

import argparse
import gc
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from w2s_cli.run import ranks, signals
from w2s_cli.run.process import die_with_parent, keep_memory
from w2s_cli.run.runner import Runner
from w2s_cli.run.workplace import EXIT_AGAIN, EXIT_STOPPED, WORKER

BUSY_WAIT_S = 2.0


def main(argv: list[str]) -> int:
    """Entry point of the process."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)

    def send(event: dict[str, Any]) -> None:
        channel.write(json.dumps(event) + "\n")

    serving = argv[:1] == ["--serve"]
    if serving:
        die_with_parent(int(argv[1]))
    options = None if serving else _options(argv)
    runner = Runner(send, group := ranks.group(), alone=options is not None and options.wait)
    keep_memory()
    signals.handle(runner.stop)
    if serving:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    follows = group is not None and group.ranks.rank > 0
    outcomes = [runner.follow()] if follows else _serve(runner) if options is None else _run(runner, options)
    code = int(any(outcome not in ("done", "cached") for outcome in outcomes))
    if "stopped" in outcomes or (runner.alone and "busy" in outcomes):
        code = EXIT_STOPPED
    elif runner.alone and "restart" in outcomes:
        code = EXIT_AGAIN
    if runner.torn:
        channel.flush()
        os._exit(code or 1)  # the connections to the others close, which ends them
    if group is not None:
        group.end()
    elif code == EXIT_AGAIN:
        channel.flush()
        os.execv(sys.executable, [sys.executable, "-m", WORKER, *argv])
    return code


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="worker")
    parser.add_argument("--wait", action="store_true", help="wait while another process has the stage")
    parser.add_argument("--redo", help="run id of a finished result to replace")
    parser.add_argument("folders", nargs="+", type=lambda word: Path(word).absolute())
    return parser.parse_args(argv)


def _serve(runner: Runner) -> list[str]:
    """Run the jobs of standard input; returns the outcome of the one after which this worker has to end, if any."""
    for line in sys.stdin:
        job = json.loads(line)
        outcome = runner.run(Path(job["folder"]), redo=job["redo"])
        if runner.torn:
            return [outcome]
    return []


def _run(runner: Runner, options: argparse.Namespace) -> list[str]:
    """Run the stages of the command line, up to the first that is not made; returns the outcomes."""
    outcomes = []
    for folder in options.folders:
        outcome = runner.run(folder, redo=options.redo)
        asked = runner.asked_to_stop(folder)
        while outcome == "busy" and options.wait and not asked():
            time.sleep(BUSY_WAIT_S)
            outcome = runner.run(folder, redo=options.redo)
        outcomes.append(outcome)
        if outcome not in ("done", "cached", "busy"):
            break
    return outcomes


if __name__ == "__main__":
    code = main(sys.argv[1:])
    signals.ignore()
    gc.freeze()  # else the interpreter's last collections go through all of torch and transformers: a CPU second
    sys.exit(code)
