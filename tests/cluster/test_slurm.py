"""`launcher=slurm` on a real Slurm of one node: jobs that die, are preempted, run out of time or fail, and commands that come back."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_resume import artifacts
from w2s_cli.store.claims import is_claimed
from w2s_cli.store.files import read_json

pytestmark = pytest.mark.slow
Start = Callable[..., subprocess.Popen[str]]
Ask = Callable[..., str]
SMALL = ["data.limits={weak_train: 60, strong_train: 60, test: 60}", "bootstrap=200", "strong=wordnet-s"]
# one thread, as the launcher on this machine gives it below: the bytes are compared
ON_SLURM = ["launcher=slurm", "launcher.gpus=0", "launcher.cpus=1", "launcher.poll_seconds=1", "outputs=out"]


# slow as a job only, so that a job runs out of time, and the run without Slurm with which it is compared does not last as long
SLOW = """
import os
import time


def slow(logits, labels, *, progress):
    if "SLURM_JOB_ID" in os.environ:
        time.sleep(0.02)
    return -(labels * logits.log_softmax(-1)).sum(-1).mean()
"""

OURS = """
defaults: [slurm]
partition: main
account: alignment
gpus: 2
cpus: 2
memory_gb: 3
minutes: 90
additional_parameters: {comment: ours}
setup: ["export OURS='of the cluster'", "module() { echo loads $2; }", "module load cuda"]
resources:
  no_model: {gpus: 0, cpus: 1, memory_gb: 0.5, minutes: 30}
  label: {minutes: 20, gpus: 1}
  weak: {gpus: 1, memory_gb: 1.5, minutes: 45, account: small, partition: low}
  ceiling: {gpus: 4, cpus: 4, additional_parameters: {nice: 100}}
"""
# what Slurm is asked for, by the stage's name: partition, account, minutes, memory in MB, CPUs, GPUs, nice
TABLE, WEAK = ("main", "alignment", 30, 512, 1, 0, 0), ("low", "small", 45, 1536, 2, 1, 0)
ASKED = {
    **dict.fromkeys(("rows:weak_train", "rows:strong_train", "rows:test", "pgr"), TABLE),
    **dict.fromkeys(("weak", "labels", "weak_test"), WEAK),  # a role has the last word over a kind
    "student": ("main", "alignment", 90, 2048, 2, 2, 0),
    "student_test": ("main", "alignment", 20, 2048, 2, 1, 0),
    "ceiling": ("main", "alignment", 90, 3072, 4, 4, 100),
    "ceiling_test": ("main", "alignment", 20, 3072, 4, 4, 100),
}


def log(*lines: str) -> None:
    """Shown by `pytest -s`."""
    print(time.strftime("%H:%M:%S"), *lines, sep="\n         ", flush=True)


def end(command: subprocess.Popen[str], code: int, seconds: float = 1500) -> tuple[str, str]:
    """What a command printed, which must end with `code`."""
    out, errors = command.communicate(timeout=seconds)
    log(f"ends with {command.returncode}: w2s {shlex.join(command.args[3:])}", *errors.splitlines()[:2])  # type: ignore[index]
    assert command.returncode == code, f"{command.args} → {command.returncode}\n{out}\n{errors}"
    return out, errors


def until(happens: Callable[[], Any], seconds: float = 240) -> Any:
    """The first true value of `happens()`."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if value := happens():
            return value
        time.sleep(0.1)
    raise AssertionError(f"{happens} did not come in {seconds} s")


def training(outputs: Path, name: str) -> Path | None:
    """A stage in whose training some steps are done."""
    for path in outputs.glob(f"stages/finetune/{name}-*/metrics.jsonl"):
        if path.stat().st_size and (path.parent / "owner.json").exists():
            return path.parent
    return None


def saved(outputs: Path, name: str) -> Path | None:
    """A stage that trains now, and has a checkpoint."""
    claimed = (owner.parent for owner in outputs.glob(f"stages/finetune/{name}/owner.json") if is_claimed(owner.parent))
    return next((folder for folder in claimed if list(folder.glob("work/checkpoint-*"))), None)


def jobs_of(log: Path) -> int:
    """How often a training was continued from a checkpoint."""
    return log.read_text().count("resumed at step")


@pytest.mark.faults  # ten minutes; its log (-s) is in docs/clusters.md
def test_twelve_pipelines_with_a_killed_a_preempted_a_timed_out_and_a_failing_job(
    on_slurm: Start, ask: Ask, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    # ten pipelines up to the weak labels in the partition that makes room for others, long enough to be met while they train
    label = ["label", *SMALL, "weak.epochs=1500"]
    ten = [*label, *ON_SLURM, "seeds=10", "launcher.partition=low", "launcher.checkpoint_seconds=1"]
    # one up to PGR whose student needs longer than its jobs may run, and one whose weak model cannot be trained
    (tmp_path / "own/losses").mkdir(parents=True)
    (tmp_path / "own/losses/slow.py").write_text(SLOW, encoding="utf-8")
    train = ["train", *SMALL, "--config-dir", "own", "loss.name=slow", "seed=20", "student.epochs=1000"]
    long = [*train, *ON_SLURM, "launcher.minutes=2", "launcher.signal_seconds=45", "launcher.log_every=1000"]
    failing = ["label", *SMALL, *ON_SLURM, "seed=21", "weak.lr=1e30"]
    first = time.time()
    out_ten, _ = end(on_slurm(*ten, "--detach"), 0)
    assert "40 stages submitted to slurm in 4 submissions" in out_ten

    killed = until(lambda: saved(out, "weak-*"))
    log(f"SIGKILL to the worker of {killed.name}", ask("squeue", "--format=%i %j %P %T"))
    os.kill(json.loads((killed / "owner.json").read_text())["pid"], signal.SIGKILL)
    failed = until(lambda: read_json(killed / "failed.json"))
    assert "killed by signal 9" in failed["message"]

    until(lambda: saved(out, "weak-*"))  # of a job that the next one takes the node from
    ask("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 3")
    log("a job of the partition high asks for the whole node", ask("squeue", "--format=%i %j %P %T"))
    until(lambda: ask("squeue", "--noheader", "--partition=high").strip() == "")
    commands = [on_slurm(*long), on_slurm(*failing)]

    _, errors = end(commands[1], 2)
    assert "the loss is" in errors
    assert "not run, because they need a failed stage: labels" in errors
    out_long, _ = end(commands[0], 0)
    assert "student" in out_long

    end(on_slurm(*ten), 0)  # comes back to the jobs; the killed one is submitted again, and goes on from its checkpoint
    assert jobs_of(killed / "log.txt") == 1

    resumed = {path.parent: jobs_of(path) for path in out.glob("stages/finetune/*/log.txt") if jobs_of(path)}
    log("resumed from a checkpoint", *(f"{times} × {folder.name}" for folder, times in resumed.items()))
    timed_out = next((folder for folder in resumed if "student" in folder.name), None)
    assert timed_out, "the job ran out of time"
    preempted = next((folder for folder in resumed if "weak" in folder.name and folder != killed), None)
    assert preempted, "a job was preempted"
    records = [json.loads(path.read_text()) for path in out.glob("stages/*/*/record.json")]
    of_key = {record["key"]: record for record in records}
    for record in records:
        assert first <= record["started"] <= record["ended"]
        provenance = record["provenance"]
        assert (provenance["host"], provenance.get("device", "cpu")) == (socket.gethostname(), "cpu")
        assert provenance["command"].startswith("w2s ")
        assert all(of_key[key]["result"] == digest for key, digest in record["inputs"].items()), "made of these results"
    log(f"{len(records)} stages were made, each once")
    assert len(records) == 10 * 4 + 11 + 2  # rows of two pools, weak, labels; all of seed 20; the rows of seed 21
    assert not list(out.glob("stages/*/*/old")), "a stage was made twice"
    # the record ends the command; the job removes its name from the queue after it
    until(lambda: not list(out.glob(".queue/*.json")) and not ask("squeue", "--noheader").strip(), 30)

    seeds = ",".join(re.search(r"-s(\d+)-", folder.name)[1] for folder in (killed, preempted))  # type: ignore[index] # in the name
    alone = ["launcher.threads=1", "outputs=here"]
    # side by side, without Slurm
    commands = [on_slurm(*label, f"seed={seeds}", "-m", *alone), on_slurm(*train, *alone)]
    for command in commands:
        end(command, 0)
    made, made_here = artifacts(out), artifacts(tmp_path / "here")
    assert {folder.name[-12:] for folder in (killed, preempted, timed_out)} <= made_here.keys()
    assert all(made[key] == manifest for key, manifest in made_here.items())
    disturbed = {"killed": killed, "preempted": preempted, "out of time": timed_out}
    log(
        f"{len(made_here)} of them, run here without Slurm, are the same bytes; of these were",
        *(f"{how}: {folder.name}" for how, folder in disturbed.items()),
    )


def test_ctrl_c_saves_running_jobs_and_cancels_the_others(on_slurm: Start, ask: Ask, tmp_path: Path) -> None:
    words = ["label", *SMALL, *ON_SLURM, "weak.epochs=2000"]
    command = on_slurm(*words)
    folder = until(lambda: training(tmp_path / "out", "weak"))
    command.send_signal(signal.SIGINT)
    _, errors = end(command, 75)
    assert "stopped; finished work is saved. Continue with: w2s label" in errors
    assert ask("squeue", "--noheader").strip() == ""
    assert list(folder.glob("work/checkpoint-*"))
    assert not list((tmp_path / "out/.queue").glob("*.json"))
    end(on_slurm(*words), 0)
    assert jobs_of(folder / "log.txt") == 1


def test_a_second_ctrl_c_cancels_the_jobs_without_waiting(on_slurm: Start, ask: Ask, tmp_path: Path) -> None:
    words = ["label", *SMALL, *ON_SLURM, "weak.epochs=2000", "launcher.checkpoint_seconds=1"]
    command = on_slurm(*words)
    folder = until(lambda: training(tmp_path / "out", "weak"))
    until(lambda: list(folder.glob("work/checkpoint-*")))
    for _ in range(2):
        command.send_signal(signal.SIGINT)
        time.sleep(0.3)
    end(command, 75, 60)
    assert not list((tmp_path / "out/.queue").glob("*.json"))
    until(lambda: ask("squeue", "--noheader").strip() == "", 60)
    assert not is_claimed(folder)
    end(on_slurm(*words), 0)
    assert jobs_of(folder / "log.txt") == 1, "from the last checkpoint"


def test_a_stage_that_is_out_of_time_too_often_fails_with_advice_and_its_log_is_followed(
    on_slurm: Start, tmp_path: Path
) -> None:
    words = ["label", *SMALL, *ON_SLURM, "weak.epochs=20000"]
    command = on_slurm(
        *words, "launcher.minutes=1", "launcher.signal_seconds=45", "launcher.timeouts=0", "launcher.log_every=100"
    )
    weak = until(lambda: training(tmp_path / "out", "weak"))
    follower = on_slurm("logs", weak.name[-12:], "-f", "outputs=out")
    _, errors = end(command, 1, 240)
    assert "its job does not go back into the queue" in errors
    assert "raise launcher.minutes or launcher.timeouts; the same command continues from the last checkpoint" in errors
    followed, _ = end(follower, 0, 60)
    assert re.search(r"step\W+\d+", followed), "lines that came while the job ran"
    assert list(weak.glob("work/checkpoint-*"))


def test_a_stage_of_two_processes_is_one_job(on_slurm: Start, tmp_path: Path) -> None:
    words = ["label", *SMALL, *ON_SLURM]
    two = [word for word in words if word != "launcher.cpus=1"]
    end(on_slurm(*two, "launcher.cpus=2", "launcher.processes=2", "launcher.fsdp=true"), 0)
    record = json.loads(next((tmp_path / "out").glob("stages/finetune/weak-*/record.json")).read_text())
    assert (record["execution"]["processes"], record["execution"]["fsdp"]) == (2, True)
    assert "weights lie in parts on them" in next((tmp_path / "out").glob("stages/finetune/weak-*/log.txt")).read_text()
    made = artifacts(tmp_path / "out")
    end(on_slurm(*words), 0)
    assert artifacts(tmp_path / "out") == made, "the keys are those of one process, and nothing is made again"


def test_jobs_outlive_their_command_and_hold_their_stages(on_slurm: Start, ask: Ask, tmp_path: Path) -> None:
    words = ["label", *SMALL, *ON_SLURM, '+launcher.additional_parameters={begin: "now+1hour"}']
    command = on_slurm(*words)
    until(lambda: list((tmp_path / "out/.queue").glob("*.json")))
    time.sleep(1)
    command.send_signal(signal.SIGHUP)  # the terminal is closed
    out, _ = end(command, 75)
    assert "stages are left to the batch system" in out
    out, _ = end(on_slurm("status", "outputs=out"), 0)
    assert out.count("queued") >= 3
    assert "PENDING (BeginTime)" in out
    weak = next(iter((tmp_path / "out/stages/finetune").glob("weak-*")))
    _, errors = end(on_slurm("rm", weak.name[-12:], "outputs=out"), 2)
    assert "slurm job" in errors
    follower = on_slurm("logs", weak.name[-12:], "-f", "outputs=out")
    out, _ = end(on_slurm(*words, "--detach"), 0)
    assert "0 stages submitted" in out
    assert "are in the queue already" in out
    ask("scancel", "--user", str(os.getuid()))
    out, _ = end(on_slurm("status", "outputs=out"), 0)
    assert "queued" not in out
    assert "missing" in out
    assert "it has not begun: slurm job" in end(follower, 0)[0]
    end(on_slurm("rm", weak.name[-12:], "outputs=out"), 0)


def asked(job: str) -> tuple[str, str, int, int, int, int, int]:
    """Of what `scontrol show job` prints: partition, account, minutes, memory in MB, CPUs, GPUs, nice."""
    of = dict(word.partition("=")[::2] for word in job.split())
    hours, minutes, _ = map(int, of["TimeLimit"].split(":"))
    memory = float(of["MinMemoryNode"][:-1]) * {"M": 1, "G": 1024}[of["MinMemoryNode"][-1]]
    gpus = int(of.get("TresPerNode", "gpu:0").rpartition("gpu:")[2])
    cpus = int(of["CPUs/Task"])
    return of["Partition"], of["Account"], hours * 60 + minutes, round(memory), cpus, gpus, int(of["Nice"])


def test_slurm_is_asked_for_the_resources_of_each_role(on_slurm: Start, ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "mine/launcher").mkdir(parents=True)
    (tmp_path / "mine/launcher/our_cluster.yaml").write_text(OURS, encoding="utf-8")
    words = ["train", *SMALL, "seeds=2", "outputs=out", "--config-dir", "mine", "launcher=our_cluster", "--detach"]
    words += ["launcher.resources.student.memory_gb=2", '+launcher.additional_parameters={begin: "now+1hour"}']
    out, _ = end(on_slurm(*words), 0)
    assert "22 stages submitted to slurm" in out
    told: dict[str, list[str]] = {}
    for path in (tmp_path / "out").glob("stages/*/*/stage.json"):
        job = json.loads((tmp_path / f"out/.queue/{path.parent.name[-12:]}.json").read_text())["job"]
        (shown,) = ask("scontrol", "--oneliner", "show", "job", job).splitlines()
        told.setdefault(json.loads(path.read_text())["name"], []).append(shown)
        assert "Comment=ours" in shown
        times = [re.search(rf"{name}=(\S+)", shown)[1] for name in ("SubmitTime", "EligibleTime")]  # type: ignore[index] # always shown
        submitted, eligible = map(datetime.fromisoformat, times)
        assert abs((eligible - submitted).total_seconds() - 3600) < 60
        script = ask("scontrol", "write", "batch_script", job, "-")
        setup = "# setup\nexport OURS='of the cluster'\nmodule() { echo loads $2; }\nmodule load cuda\n"
        assert setup in script.partition("\n# command\n")[0]
    summary = told.pop("summary")
    assert [asked(job) for job in summary] == [TABLE]
    assert {name: [asked(job) for job in jobs] for name, jobs in told.items()} == {
        name: [resources] * 2 if name != "rows:test" else [resources] for name, resources in ASKED.items()
    }
    ask("scancel", "--user", str(os.getuid()))
    until(lambda: not ask("squeue", "--noheader").strip(), 30)


def test_a_refused_job_is_one_message(on_slurm: Start) -> None:
    _, errors = end(on_slurm("label", *SMALL, *ON_SLURM, "launcher.partition=nowhere"), 2)
    assert ("Slurm does not take the job of w2s-" in errors and "nowhere" in errors) or "partition" in errors
    assert "Traceback" not in errors


def test_a_thousand_stages_are_submitted_in_a_minute(on_slurm: Start, ask: Ask, tmp_path: Path) -> None:
    words = ["train", *SMALL, *ON_SLURM, "seeds=101", '+launcher.additional_parameters={begin: "now+1hour"}']
    began = time.monotonic()
    out, _ = end(on_slurm(*words, "--detach"), 0)
    took = time.monotonic() - began
    assert int(re.search(r"(\d+) stages submitted", out)[1]) >= 1000  # type: ignore[index] # else the test fails
    assert took <= 60
    ask("scancel", "--user", str(os.getuid()))
