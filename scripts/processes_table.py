"""The table of docs/runs.md: the same stages on one process, on two, and on two with their weights in parts (FSDP2).

python scripts/processes_table.py [FOLDER]      bundled models and data; minutes. FOLDER keeps the runs, and the next call goes on.

Each process has one thread. Seconds are of the stage, from its start to its result; the first stage of a worker imports libraries too.
A difference is the largest one of all logged losses of a training, of all probabilities of labels, or of log-probabilities of texts.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from w2s_cli.pipeline.kinds import find  # noqa: E402

SETTINGS = {"1": [], "2": ["launcher.processes=2"], "2, FSDP2": ["launcher.processes=2", "launcher.fsdp=true"]}
POOLS = ("weak_train", "strong_train", "test")
RUNS = {  # the words of a run, and the stages that the table shows
    "labels": (
        ["loss=logconf", "weak=wordnet-s", "strong=wordnet-l", *(f"data.limits.{pool}=320" for pool in POOLS)],
        ("weak", "labels", "student", "student_test"),
    ),
    "texts": (
        ["method=w2s_reasoning_pairs", "data=arithmetic", *(f"data.limits.{pool}=160" for pool in POOLS)],
        ("weak", "weak_texts", "student", "samples", "reference", "preferred"),
    ),
}
SAME = ["launcher.device=cpu", "launcher.jobs=1", "launcher.threads=1", "launcher.log_every=1"]


def main(argv: Sequence[str]) -> int:
    """Run what is missing, and print the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(argv[0] if argv else temporary).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        print("| stage | updates or rows | " + " | ".join(f"seconds, {name}" for name in SETTINGS), end=" | ")
        print(" | ".join(f"difference, {name}" for name in list(SETTINGS)[1:]) + " |")
        print("|---" * (2 * len(SETTINGS) + 1) + "|")
        for run, (words, names) in RUNS.items():
            made = {
                name: stages(folder, f"{run}-{number}", [*words, *more])
                for number, (name, more) in enumerate(SETTINGS.items())
            }
            assert len({frozenset(keys) for keys in made.values()}) == 1, "the keys differ"
            for key, stage in made["1"].items():
                if stage["record"]["name"] in names:
                    print(line(key, made), flush=True)
    return 0


def stages(folder: Path, name: str, words: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Key → folder and record of the stages that processes can share, of a run in `folder/name`, in the order of their ends."""
    command = [sys.executable, "-m", "w2s_cli", "train", *words, *SAME, f"outputs={folder / name}"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    records = [(path.parent, json.loads(path.read_text())) for path in (folder / name).glob("stages/*/*/record.json")]
    shared = [(path, record) for path, record in records if find(record["kind"]).traits.shared]
    return {
        record["key"]: {"folder": path, "record": record}
        for path, record in sorted(shared, key=lambda one: one[1]["ended"])
    }


def line(key: str, made: dict[str, dict[str, dict[str, Any]]]) -> str:
    """A line of the table."""
    each = [stages[key] for stages in made.values()]
    record = each[0]["record"]
    manifest = json.loads((each[0]["folder"] / "result" / "manifest.json").read_text())["metrics"]
    seconds = [f"{one['record']['wall_s']:.1f}" for one in each]
    differences = [f"{difference(each[0]['folder'], one['folder']):.0e}" for one in each[1:]]
    count = f"{manifest['steps']:,} updates" if "steps" in manifest else f"{manifest['rows']:,} rows"
    return f"| {record['kind']} {record['name']} | {count} | {' | '.join([*seconds, *differences])} |"


def difference(one: Path, other: Path) -> float:
    """The largest difference of what two stages found."""
    if (one / "metrics.jsonl").exists():
        curves = [
            [json.loads(line)["loss"] for line in (path / "metrics.jsonl").read_text().splitlines()]
            for path in (one, other)
        ]
        return float(np.abs(np.subtract(*curves)).max())
    (file,) = (path.name for path in (one / "result").glob("*.parquet"))
    tables = [pq.read_table(path / "result" / file) for path in (one, other)]
    names = [name for name in tables[0].column_names if name == "p" or name.endswith("log_p")]
    return max(float(np.nanmax(np.abs(np.subtract(*(numbers(table[name]) for table in tables))))) for name in names)


def numbers(column: Any) -> np.ndarray:
    """All numbers of a column, row after row."""
    return np.concatenate([np.ravel(np.asarray(value, dtype=float)) for value in column.to_pylist()])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
