"""Sixteen commands with overlapping sweeps in one store, eight times one of them killed, with `w2s gc --yes` and `w2s rm` beside them.

* A stage of the test's own kind notes its beginning and its end in a file, so the runs of a stage are counted from outside of the store. A
  stage may begin again only after its process was killed, or after `w2s rm` removed it.
* A kill counts only if its command was alive. A killed command is started again, and may be killed again; where all commands have ended
  before the last kill, one of them is started again too.
* A command that nobody kills ends with exit code 0: nothing that it planned is removed under it.
"""

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

import pytest

from tests import forked
from tests.conftest import environment
from tests.faults.counting import Tally, left_after_gc, unclaimable
from tests.faults.counting import finished as finished_stages
from w2s_cli.run.runner import Runner
from w2s_cli.store import leases
from w2s_cli.store.claims import claim, is_claimed

Run = Callable[..., subprocess.CompletedProcess[str]]
Command = tuple[BaseProcess, list[str], Path]  # its words, and what it printed
KIND = '''"""racing: a number made from the number of the stage before; each run is noted outside of the store."""

from w2s_cli.pipeline.contract import Edge, Spec, Traits

VERSION = 1
TRAITS = Traits()


def plan(job, *, above: Edge | None = None, number: int = 0) -> Spec:
    return Spec({"seed": job.config["seed"], "number": number}, {"above": above}, slug="racing")


def run(params, inputs, ctx):
    import json
    import os
    import time
    from pathlib import Path

    def note(what):
        line = json.dumps([what, ctx.folder.name, os.getpid(), time.time()]) + "\\n"
        descriptor = os.open(os.environ["RACES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    note("begun")
    before = json.loads((inputs["above"] / "number.json").read_text()) if inputs.get("above") else 0
    time.sleep(0.2)
    (ctx.result / "number.json").write_text(json.dumps(before + params["seed"] + params["number"]))
    note("ended")
    return {"number": before + params["seed"] + params["number"]}
'''
METHOD = """name: racing
stages:
  one: {kind: racing, number: 1}
  two: {kind: racing, above: one, number: 2}
  three: {kind: racing, above: two, number: 3}
  four: {kind: racing, above: one, number: 4}
"""
SEEDS = 8
Removal = tuple[str, float, float]  # a stage that `w2s rm` removed, the command's start and its end


def sweep(folder: Path, drawn: random.Random) -> list[str]:
    """The words of a sweep over some of the seeds."""
    seeds = ",".join(map(str, sorted(drawn.sample(range(SEEDS), 5))))
    return ["train", "-m", "--config-dir", str(folder / "mine"), "method=racing", f"seed={seeds}", "outputs=outputs"]


@pytest.mark.parametrize(
    ("commands", "kills", "seed"),
    [(3, 1, 0), *(pytest.param(16, 8, seed, marks=pytest.mark.faults) for seed in range(3))],
)
def test_commands_side_by_side_make_each_stage_once(tmp_path: Path, commands: int, kills: int, seed: int) -> None:
    tally, drawn = Tally("races", f"{commands} commands, {kills} kills, gc and rm, seed {seed}"), random.Random(seed)
    for place, text in (("stages/racing.py", KIND), ("method/racing.yaml", METHOD)):
        (tmp_path / "mine" / place).parent.mkdir(parents=True)
        (tmp_path / "mine" / place).write_text(text)
    notes, outputs = tmp_path / "notes.jsonl", tmp_path / "outputs"
    quiet = environment(RACES=str(notes))
    running: dict[int, Command] = {}
    for number in range(commands):
        words, log = sweep(tmp_path, drawn), tmp_path / f"{number}.txt"
        running[number] = (forked.start(words, tmp_path, quiet, log), words, log)
    tally.add("commands", commands)
    killed: set[int] = set()
    removals: list[Removal] = []
    end = time.monotonic() + 600
    while tally.notes.get("kills", 0) < kills or any(process.is_alive() for process, _, _ in running.values()):
        assert time.monotonic() < end, "the commands do not end, or are not killed"
        time.sleep(drawn.uniform(0, 0.3))
        alive = [number for number, (process, _, _) in running.items() if process.is_alive()]
        if tally.notes.get("kills", 0) < kills and notes.exists():
            number = drawn.choice(alive or [*running])
            process, words, log = running[number]
            if alive:
                workers = kill(forked.pid_of(process))
            process.join()
            if process.exitcode == -signal.SIGKILL:
                killed |= {forked.pid_of(process), *workers}
                tally.add("kills")
            else:
                tally.wrong += unsuccessful(running[number])
            running[number] = (forked.start(words, tmp_path, quiet, log), words, log)  # again
        if outputs.is_dir() and (stages := sorted(outputs.glob("stages/*/*-*"))):
            stage = drawn.choice(stages).name
            began = time.time()
            for words in (["rm", stage], ["gc", "--yes", "--days", "0"]):
                done = forked.run([*words, "outputs=outputs"], tmp_path, quiet)
                tally.add(words[0])
                with (tmp_path / "removals.txt").open("a") as file:
                    file.write(f"{began} {time.time()} {words} {done.returncode} {done.stdout}\n")
                if done.returncode not in (0, 2) or "Traceback" in done.stdout or "bug in w2s" in done.stdout:
                    tally.wrong.append(f"{words}: {done.returncode}: {done.stdout[-800:]}")
                if words[0] == "rm" and done.returncode == 0:
                    removals.append((stage, began, time.time()))
    assert (tally.notes["commands"], tally.notes["kills"]) == (commands, kills)  # as the name of the line says
    for command in running.values():
        tally.wrong += unsuccessful(command)
    tally.wrong += twice(notes, killed, removals)
    tally.wrong += [f"made twice: {path}" for path in outputs.glob("stages/*/*/old")]
    for record in outputs.glob("stages/*/*/record.json"):
        job = json.loads((record.parent / "stage.json").read_text())
        number = json.loads((record.parent / "result" / "number.json").read_text())
        seeds = {"one": 1, "two": 2, "three": 3, "four": 2}
        added = {"one": 1, "two": 3, "three": 6, "four": 5}
        if number != seeds[job["name"]] * job["params"]["seed"] + added[job["name"]]:
            tally.wrong.append(f"{record.parent.name}: {number}")
    whole = forked.run([*sweep(tmp_path, drawn)[:-2], f"seed=range(0,{SEEDS})", "outputs=outputs"], tmp_path, quiet)
    tally.wrong += [] if whole.returncode == 0 else [whole.stdout]
    ended = {line[1] for line in map(json.loads, notes.read_text().splitlines()) if line[0] == "ended"}
    tally.lost += sorted(ended - finished_stages(outputs).keys() - {name for name, *_ in removals})
    tally.stuck += unclaimable(outputs) + left_after_gc(outputs)
    tally.close()


def kill(pid: int) -> list[int]:
    """Kill a command with all its workers, and return these: it is stopped first, so that it starts none meanwhile."""
    workers = list[int]()
    with suppress(ProcessLookupError):  # it has no group yet, or has ended
        os.killpg(pid, signal.SIGSTOP)
        workers = forked.workers(pid)
        os.killpg(pid, signal.SIGKILL)
    return workers


def unsuccessful(command: Command) -> list[str]:
    """What is wrong with a command that nobody killed."""
    process, words, log = command
    process.join()
    return [] if process.exitcode == 0 else [f"{words}: {process.exitcode}: {log.read_text()[-1500:]}"]


def twice(notes: Path, killed: set[int], removals: list[Removal]) -> list[str]:
    """The stages that began again though their process lived and nobody had removed them."""
    begun: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in notes.read_text().splitlines():
        what, stage, pid, at = json.loads(line)
        if what == "begun":
            begun[stage].append((pid, at))
    wrong = []
    for stage, runs in begun.items():
        for (pid, at), (_, later) in pairwise(runs):
            removed = any(name == stage and at <= end and start <= later for name, start, end in removals)
            if pid not in killed and not removed:
                wrong.append(f"{stage} ran twice")
    return wrong


@pytest.mark.slow
def test_a_claim_of_a_dead_process_of_another_host_stops_nobody(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    tally = Tally("races", "owners and leases of dead hosts, and clocks that differ")
    (folder,) = (tmp_path / "outputs").glob("stages/evaluate/*-*")
    (folder / "record.json").unlink()
    (folder / "owner.json").write_text(json.dumps({"host": f"not-{socket.gethostname()}", "pid": 1, "since": 1.0}))
    tally.add("owner of another host")
    if w2s_inside("train", *ran).returncode or is_claimed(folder) or (folder / "owner.json").exists():
        tally.stuck.append("an owner of another host")
    for host_clock in (-86400.0, -3600.0, 3600.0, 86400.0):  # of this process, against the file system's
        (tmp_path / "outputs" / ".leases").touch()
        (folder / "record.json").unlink()
        now = time.time() + host_clock
        with mock.patch.object(time, "time", lambda now=now: now):
            with leases.exclusive(folder / ".lock", wait=False) as taken, claim(folder) as other:
                tally.add("clock")
                tally.wrong += [] if taken and not other else [f"two claims with a clock {host_clock:+} s off"]
            tally.stuck += [] if Runner(lambda event: None).run(folder) == "done" else [f"a clock {host_clock:+} s off"]
        lease = folder / ".lock.lease"
        lease.write_text("of a dead host")
        os.utime(lease, times=(old := time.time() - leases.STALE_S - 5, old))
        (folder / "record.json").unlink()
        tally.add("lease of a dead host")
        tally.stuck += [] if Runner(lambda event: None).run(folder) == "done" else ["a lease of a dead host"]
    tally.close()
