"""The typed configuration of launchers (see `schema.py`): where and how stages run. No field changes a result (but see train.lora.dropout).

A field with the note `With("launcher=NAME")` has an effect with that launcher only; the words of a command line are checked for it.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from w2s_cli.config.notes import AnyName, Verbatim, With
from w2s_cli.config.trainings import Count
from w2s_cli.values import Matches

Parallel = Annotated[int, Ge(1), Le(1024)]  # stages or threads at a time
Minutes = Annotated[int, Ge(1), Le(60 * 24 * 366)]
Gibibytes = Annotated[float, Gt(0)]
Number = Annotated[int, Ge(0), Le(1024)]
DEVICE = r"auto|cpu|mps|cuda(:\d+)?"


@dataclass
class ResourcesConfig:
    """Settings of some stages in place of the launcher's own; null: the launcher's. All but the first two are of Slurm's jobs."""

    processes: Parallel | None = None
    fsdp: bool | None = None
    partition: str | None = None
    account: str | None = None
    minutes: Minutes | None = None
    memory_gb: Gibibytes | None = None
    gpu_memory_gb: Gibibytes | None = None
    cpus: Parallel | None = None
    gpus: Number | None = None
    additional_parameters: dict[str, Any] = field(default_factory=dict)


@dataclass
class LauncherConfig:
    """The execution of stages (configs/launcher/*.yaml)."""

    name: str = "local"  # run/launchers/<name>.py
    # number of stages at a time; null: as many as cores and memory, or GPUs, have room for
    jobs: Parallel | None = None
    isolate: bool = False  # a fresh process for every stage
    # that share a stage with a model, started by accelerate: each has a part of every effective batch, on a GPU of its own or on the CPU
    processes: Parallel = 1
    fsdp: bool = False  # weights, gradients and optimizer state of a training lie in parts on its processes (FSDP2)
    # other settings for stages by "no_model", a kind, a role (weak, student, …) or a stage's name, of which the last that fits wins:
    # {ceiling: {processes: 2, fsdp: true}}; with launcher=slurm also partition, account, minutes, memory_gb, cpus, gpus, …
    resources: dict[str, ResourcesConfig] = field(default_factory=dict)
    # auto: every GPU if there is one, else the CPU; or a list of GPUs, [cuda:0,cuda:2]
    device: Annotated[
        Annotated[str, Matches(DEVICE)] | list[Annotated[str, Matches(r"cuda:\d+"), "a GPU, cuda:0"]],
        "auto, cpu, cuda, cuda:1 or mps, or a list of GPUs, [cuda:0,cuda:2]",
    ] = "auto"
    # CPU threads of one stage; null: by its matmuls and by the stages beside it (run/threads.py)
    threads: Parallel | None = None
    micro_tokens: Count = 8192  # padded tokens in a training micro-batch
    eval_tokens: Count = 32768  # … and in an inference batch
    # between two checkpoints, more where writing takes more than a twentieth of the time; 0: a checkpoint after every update
    checkpoint_seconds: Annotated[float, Ge(0)] = 30.0
    # of a GPU that this command cannot ask, as with launcher=slurm and command; a plan compares with it what the stages need
    gpu_memory_gb: Gibibytes | None = None
    offload_optimizer: bool = False  # the optimizer's moments in the host's memory instead of the GPU's; slower
    compile: bool = False  # layers through torch.compile; docs/speed.md has measurements
    log_every: Count = 10  # optimizer steps between two lines of metrics.jsonl
    # how a worker keeps its stage to itself; lease: for a disk without working file locks (w2s doctor), for the whole store from then on
    claims: Literal["lock", "lease"] = "lock"
    # a line of the shell that runs one worker on the cluster and waits for its end, "ssh node7 {worker}"
    template: Annotated[str | None, With("launcher=command"), Verbatim()] = None
    partition: Annotated[str | None, With("launcher=slurm")] = None
    account: Annotated[str | None, With("launcher=slurm")] = None
    minutes: Annotated[Minutes, With("launcher=slurm")] = 240  # time limit of a job; a stage may take several jobs
    memory_gb: Annotated[Gibibytes | None, With("launcher=slurm")] = None  # null: the cluster's default
    cpus: Annotated[Parallel, With("launcher=slurm")] = 4
    gpus: Annotated[Number, With("launcher=slurm")] = 1
    # further options of sbatch, {qos: long, constraint: a100}; without their dashes
    additional_parameters: Annotated[dict[str, Any], With("launcher=slurm"), AnyName()] = field(default_factory=dict)
    # lines of the shell before the worker, ["module load cuda"]
    setup: Annotated[list[str], With("launcher=slurm")] = field(default_factory=list)
    # before the end of a job's time, in which it saves its state
    signal_seconds: Annotated[Annotated[int, Ge(1), Le(65535)], With("launcher=slurm")] = 90
    timeouts: Annotated[Number, With("launcher=slurm")] = 100  # jobs of a stage that may reach their time limit
    array_size: Annotated[Annotated[int, Ge(1)], With("launcher=slurm")] = (
        1000  # jobs of an array; Slurm's MaxArraySize is above it
    )
    poll_seconds: Annotated[Annotated[float, Gt(0)], With("launcher=slurm")] = 5.0  # between two looks at the queue
    detach: Annotated[bool, With("launcher=slurm")] = False  # return after submitting, as --detach does
