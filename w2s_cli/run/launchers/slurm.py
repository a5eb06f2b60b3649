"""Slurm, through submitit: each stage is a job (run/slurm_job.py), alike stages an array, with the dependencies of the graph.

* submitit writes the scripts, submits them, and puts a job back into the queue. Its exchange files are pickles of its own, in a folder of
  the store that nobody else writes (mode 700); nothing of a stage is in them but its folder.
* The state of a job is asked from squeue and scontrol, which every Slurm has; sacct, where accounting is on, only adds how a job that they
  have forgotten ended. Whether a stage is done is read from the stage's own files.
* A job whose input failed is removed by Slurm (kill-on-invalid-dep) instead of waiting for ever.
"""

import contextlib
import io
import re
import shlex
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.pipeline.packages import need
from w2s_cli.run.arrays import Array, Task
from w2s_cli.run.launchers import Submitted
from w2s_cli.run.slurm_job import ASKED, StageJob, ask, state_of
from w2s_cli.run.workplace import worker_environment

HERE = False
# after the worker: a job that a signal ended before its process could handle it goes back into the queue, unless it was cancelled
AGAIN = [
    "code=$?",
    'case $code in 140|143) scontrol --oneliner show job "$SLURM_JOB_ID" | grep -q "JobState=RUNNING " &&',
    '  scontrol requeue "$SLURM_JOB_ID" && sleep 60 ;; esac',
    "exit $code",
]
AT_ONCE = 200  # jobs in one command line
FORGOTTEN = "Invalid job id"


def check(settings: Mapping[str, Any]) -> None:
    """Refuse (UserError) where submitit or Slurm is missing."""
    need("submitit", "launcher=slurm needs")
    if missing := [program for program in ("sbatch", "srun", "squeue", "scancel") if shutil.which(program) is None]:
        raise UserError(
            f"launcher=slurm: {missing[0]} is missing here. Run this on a login node of the cluster, or use launcher=local."
        )


def queue(settings: Mapping[str, Any], folder: Path) -> "Slurm":
    """Slurm for one submission, with submitit's files in `folder`."""
    return Slurm(settings, folder)


@dataclass(frozen=True)
class Slurm:
    """Slurm as a batch system (`launchers.Queue`)."""

    settings: Mapping[str, Any]
    folder: Path

    def submit(self, made: Sequence[Array], stages: Mapping[str, Submitted]) -> Iterator[tuple[str, str, Path]]:
        """Submit the arrays in order; yields (stage, id of its job, log of the job) as soon as Slurm has it.

        Raises:
            UserError: Slurm refuses a job.
        """
        from submitit import SlurmExecutor

        self.folder.mkdir(mode=0o700, parents=True)
        ids: list[list[str]] = []
        for array in made:
            first = stages[array.stages[0]]
            executor = SlurmExecutor(folder=self.folder, max_num_timeout=self.settings["timeouts"])
            with _told(f"the job of {first.name}"):
                executor.update_parameters(**self._parameters(first, dependency(array, ids)))
                with executor.batch():
                    jobs = [executor.submit(_job(stages[key])) for key in array.stages]
            ids.append([str(job.job_id) for job in jobs])
            for key, job in zip(array.stages, jobs, strict=True):
                yield key, str(job.job_id), Path(job.paths.stderr)

    def _parameters(self, stage: Submitted, waits: str | None) -> dict[str, Any]:
        """submitit's parameters of a stage's job; those that are not chosen are Slurm's defaults."""
        chosen = stage.resources
        further = {"kill-on-invalid-dep": "yes", "requeue": True, **chosen["additional_parameters"]}
        if waits is not None:
            further["dependency"] = waits
        exports = [f"export {name}={shlex.quote(value)}" for name, value in worker_environment().items()]
        parameters = {
            "job_name": re.sub(r"[^\w.-]+", "-", stage.name),
            "time": chosen["minutes"],
            "cpus_per_task": chosen["cpus"],
            "gpus_per_node": chosen["gpus"] or None,
            "mem": None if chosen["memory_gb"] is None else f"{round(chosen['memory_gb'] * 1024)}M",
            "partition": chosen["partition"],
            "account": chosen["account"],
            "signal_delay_s": self.settings["signal_seconds"],
            "setup": [*self.settings["setup"], *exports],
            "teardown": AGAIN,
            "array_parallelism": self.settings["array_size"],
            "additional_parameters": further,
        }
        return {name: value for name, value in parameters.items() if value is not None}

    def states(self, jobs: Collection[str]) -> dict[str, str] | None:
        """Those of the jobs that Slurm still has → state; None if it does not answer."""
        of_jobs: dict[str, str] = {}
        for some in _some(sorted({job.partition("_")[0] for job in jobs})):
            done = ask("squeue", "--noheader", "--array", "--format=%i|%T|%r", f"--jobs={','.join(some)}")
            if done is None or (done.returncode and FORGOTTEN not in done.stderr):
                return None
            for line in done.stdout.splitlines():
                job, state, reason = line.split("|", 2)
                if job in jobs:
                    of_jobs[job] = state if reason in ("None", "") else f"{state} ({reason})"
        return of_jobs

    def stop(self, jobs: Collection[str], *, now: bool) -> None:
        """Cancel the jobs; running ones get a signal, save and end, unless `now`."""
        states = {} if now else self.states(jobs) or {}
        running = [job for job in jobs if states.get(job, "").startswith(("RUNNING", "COMPLETING"))]
        for some in _some(running):
            ask("scancel", f"--signal={ASKED.name}", *some)
        for some in _some([job for job in jobs if job not in running]):
            ask("scancel", *some)

    def end_of(self, job: str) -> str:
        """How a job ended: 'TIMEOUT', 'CANCELLED', …; "" if Slurm does not tell."""
        if told := " ".join(word for word in state_of(job) if word):
            return told
        done = ask("sacct", "--noheader", "--parsable2", "--allocations", "--format=State", f"--jobs={job}")
        return "" if done is None or done.returncode else done.stdout.strip().partition("\n")[0]


def _job(stage: Submitted) -> StageJob:
    return StageJob(stage.folder, stage.redo, stage.processes)


def dependency(array: Array, ids: Sequence[Sequence[str]]) -> str | None:
    """Slurm's dependency of an array; `ids` are the ids of the jobs of the arrays before it. None: it waits for nothing."""
    ok = list(array.jobs)
    for number in dict.fromkeys(task.array for task in array.after):
        tasks = [task for task in array.after if task.array == number]
        ok += _whole(tasks, ids[number])
    clauses = [f"afterok:{':'.join(ok)}"] if ok else []
    clauses += [f"aftercorr:{_main(ids[number])}" for number in array.paired]
    return ",".join(clauses) or None


def _whole(tasks: Sequence[Task], ids: Sequence[str]) -> Iterable[str]:
    """Ids of tasks of an array, or the array's own id for all of them."""
    return [_main(ids)] if len(tasks) == len(ids) else [ids[task.index] for task in tasks]


def _main(ids: Sequence[str]) -> str:
    return ids[0].partition("_")[0]


def _some(jobs: Sequence[str]) -> Iterator[Sequence[str]]:
    """The jobs in pieces for one command line each."""
    return (jobs[at : at + AT_ONCE] for at in range(0, len(jobs), AT_ONCE))


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Errors of sbatch, and of parameters that it does not take, as a UserError."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # submitit prints the text that it also raises
            yield
    except Exception as error:  # submitit wraps the program's error in its own
        words = " ".join(str(error).split())
        raise UserError(
            f"Slurm does not take {what}: {words[-400:]}. The settings are launcher.partition, account, minutes, memory_gb, cpus, gpus "
            "and additional_parameters, and those of launcher.resources."
        ) from error
