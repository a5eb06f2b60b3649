"""The table of docs/scale.md: what sweeps of 100 to 10,000 stages cost to plan, to submit to Slurm, and to look at.

python scripts/scale_table.py [STAGES …]      ten minutes; without Slurm (Debian: slurm-wlm, munge) the rows of jobs are left out

* A sweep is `w2s train seeds=N` of bundled models, 10 stages a seed and two of data. It is submitted to a Slurm of one node
  (`scripts/slurm_single_node`) to begin in an hour, so that no job runs meanwhile; then its jobs are cancelled.
* The finished stages are copies of a real run (`scripts/benchmarks/parts/store.py`). The first call of a command there fills the caches
  of commands. Its figures are behind those of the best of three later calls. The caches of the system are those of the machine.
* Memory is the largest resident set of the command's processes; the seconds are wall time, with the start of Python.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from scripts.benchmarks.parts.store import RUN, fill  # noqa: E402
from scripts.benchmarks.processes import Took, run, w2s  # noqa: E402
from scripts.benchmarks.stored import machine  # noqa: E402

SIZES = (100, 1_000, 10_000)
SWEEP = ["train", "debug=tiny", "launcher=slurm", "launcher.gpus=0", "launcher.cpus=1"]
LATER = ['+launcher.additional_parameters={begin: "now+1hour"}', "--detach"]
NO_SLURM = 3  # the exit code of scripts/slurm_single_node on a machine without it
FINISHED = {"ls": ["ls"], "table": ["table"], "plan of a run, all cached": ["plan", *RUN, "seed=3"]}


def main(argv: Sequence[str]) -> int:
    """Measure every size, and print the table."""
    sizes = [int(word) for word in argv] or SIZES
    print("| what | " + " | ".join(f"{size:,} stages" for size in sizes) + " |")
    print("|---" * (len(sizes) + 1) + "|")
    with tempfile.TemporaryDirectory() as temporary:
        columns = [{**waiting(Path(temporary), size), **finished(Path(temporary), size)} for size in sizes]
    for what in columns[0]:
        print(f"| {what} | " + " | ".join(column[what] for column in columns) + " |")
    # after the measurements: it imports torch, and a process begins with the memory of its parent
    print(f"\n{machine()}")
    return 0


def waiting(work: Path, stages: int) -> dict[str, str]:
    """What it costs to plan a sweep, to submit it, to ask for its state and to come back to it."""
    folder = work / f"sweep-{stages}"
    folder.mkdir()
    words = [*SWEEP, f"seeds={stages // 10}"]
    taken = {"w2s plan": w2s(["plan", *words[1:]], 1, folder)}
    names = ("w2s train --detach", "w2s status", "w2s train --detach again")
    logs = [folder / f"took-{number}" for number in range(len(names))]
    command = [str(ROOT / "scripts" / "slurm_single_node"), sys.executable, "-m", "scripts.scale_table", "--inside"]
    run([*command, str(folder), *words, *LATER], 1, folder, codes=(0, NO_SLURM))
    taken |= {
        name: Took(*map(float, log.read_text().split())) for name, log in zip(names, logs, strict=True) if log.exists()
    }
    return {what: told(took) for what, took in taken.items()}


def inside(folder: Path, words: Sequence[str]) -> None:
    """Submit, ask and come back, in a Slurm that is running; what each took goes to a file."""
    for number, command in enumerate((words, ["status"], words)):
        took = w2s(command, 1, folder)
        (folder / f"took-{number}").write_text(f"{took.wall_s} {took.cpu_s} {took.peak_mib}", encoding="utf-8")


def finished(work: Path, stages: int) -> dict[str, str]:
    """What it costs to look at a store of so many finished stages, with warm caches and the first time."""
    folder = work / f"store-{stages}"
    folder.mkdir()
    w2s(["train", *RUN], 1, folder)
    fill(folder / "outputs", stages)
    taken = {}
    for name, words in FINISHED.items():
        first = w2s(words, 1, folder)
        warm = min((w2s(words, 1, folder) for _ in range(3)), key=lambda took: took.wall_s)
        taken[f"w2s {name}"] = f"{told(warm)}; first {told(first)}"
    return taken


def told(took: Took) -> str:
    """'5.6 s, 180 MiB'."""
    seconds = f"{took.wall_s:.2g}" if took.wall_s < 10 else f"{took.wall_s:.0f}"
    return f"{seconds} s, {took.peak_mib:.0f} MiB"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]), sys.argv[3:])
    else:
        sys.exit(main(sys.argv[1:]))
