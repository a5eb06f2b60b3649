"""docs/reliability.json and docs/reliability.md from the counts of the tests of faults: `scripts/reliability` calls it.

* A line of the counts replaces the stored line of the same kind and object; the others stay, each with its own commit and date. A run of
  all parts (`--whole`) begins anew, so that a fault that no test makes any more has no line.
* The page has one row a kind of fault, with the sums of its lines.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from w2s_cli.pipeline.provenance import processor

DOCS = Path(__file__).parents[1] / "docs"
STORED = ("made", "lost", "wrong", "stuck", "seconds", "commit", "notes")
KINDS = {  # in the order of the page → what a fault is
    "kills": "SIGKILL of a worker, of the command, or of both at a random moment, over the pipelines of all methods",
    "signals": "SIGTERM, SIGINT, SIGUSR1, SIGUSR2 or SIGHUP to a command, to its worker, or to both; SIGINT or SIGTERM twice to a command"
    " whose worker cannot answer",
    "full disks": "a disk that is full from one write on, and the same command again while it still is",
    "read-only stores": "a command in a store on a disk for reading only",
    "shared stores": "a command of one of two users of a group in one store",
    "limits": "a run with at most 16, 24 or 64 descriptors, files of at most 1, 20 or 200 KiB, or at most 1, 8, 64 or 256 MiB more memory"
    " than it has at its start",
    "damage": "a file of a result, a checkpoint, a shard, a run, or the cache of joined seeds, cut, flipped, deleted, edited or swapped",
    "shapes": "a JSON file of a store replaced by one of 50 wrong contents",
    "races": "a command, kill, `w2s rm` or `w2s gc` beside up to 16 commands with overlapping sweeps; owners and clocks of other hosts",
    "fuzz": "a random configuration, label file, data file, or part of a store's JSON",
}
TEXT = """# Reliability

Made by `scripts/reliability`; do not edit. What w2s promises when a machine fails, and how it is shown.

* **Nothing finished is lost.** A stage is finished when its `record.json` is written, and nothing takes it back: no kill, no full disk, no
  other command. `w2s rm` removes what you name, unless a running command planned it.
* **Nothing wrong is shown.** Each file of a result has a digest, and so have checkpoints, shards, and the configuration, plan and results
  of a run. A stage whose bytes changed is *damaged*: a command that reads them says so and shows no figure made of them, and the same
  command makes the stage again. `w2s ls` and `w2s table` do not read them: their figures were written when the stage ended, and have
  a digest of their own (`w2s ls --state damaged` reads all bytes). A figure of a model that has learned nothing that shows is marked with
  `!` in `w2s table`, with a caution below it.
* **Nothing stays stuck.** A claim ends with its process. The same command again continues; there is nothing to clean up first. What a kill
  can leave are temporary files, which `w2s gc` lists.
* **The same bytes.** A run that was killed and continued has the same results, byte for byte, as a run that nobody disturbed.
* **One message.** What you can act on is told in one message, with exit code 2.

## Counted

*lost*: a finished stage that is gone. *wrong*: a result, message or exit code other than the promised one. *stuck*: a stage that nobody can
claim afterwards, or a command that does not end.

{table}

{of}

What each fault is: {kinds}

The parts of each row, with commit and date, are in `docs/reliability.json`. Kills are drawn from a seed that stands there too.

## Not covered

* Weights are compared by size and time of change, and hashed only where the time differs: a bit that a disk flips by itself in a file of
  weights is found when the file is copied, by `w2s pull`, or when it is made again.
* `config.yaml`, `plan.json`, `results.json` and `search.json` of a run have digests, which an edit can change too: they are against damage,
  not against forgery. Of the files of a run of an older w2s only `results.json` has one.
* `record.json` of a stage has no digest. Its figures are times and memory, which `w2s show` and estimates of cost read, and it has versions
  of libraries. The result that it names is compared by its digest, so no edit of it changes an accuracy. `stage.json` has no digest either:
  its content makes the stage's key.
* `progress.json`, `owner.json`, `failed.json` and the logs of a stage have no digest: they tell how a stage goes on, and no result is made
  of them.
* A power cut is not among the faults: files are synced before they are renamed, but the tests cannot take the power away.
* A network file system is not among the disks. `w2s doctor` tells whether its locks work; without them `launcher.claims=lease`.
"""


def main(counts: Path, *, whole: bool = False) -> None:
    """Add the lines of `counts` to the stored ones, or put them in their place, and write the page."""
    path = DOCS / "reliability.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() and not whole else {}
    machine = f"{processor()}, {os.cpu_count()} cores"
    for line in counts.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        date = time.strftime("%Y-%m-%d", time.gmtime(one["ended"]))
        kept = {name: one[name] for name in STORED} | {"date": date, "processor": machine}
        stored.setdefault(one["kind"], {})[one["of"]] = kept
    path.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (DOCS / "reliability.md").write_text(page(stored), encoding="utf-8")
    print(f"{path} and reliability.md are written")


def page(stored: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The page; `stored`: kind → object → counts."""
    rows = [["faults", "made", "lost", "wrong", "stuck"], ["---", "---:", "---:", "---:", "---:"]]
    every: list[Mapping[str, Any]] = []
    for kind in [kind for kind in KINDS if kind in stored]:
        lines = list(stored[kind].values())
        every += lines
        rows.append([kind, *_sums(lines)])
    rows.append(["all", *_sums(every)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    dates, commits = sorted({line["date"] for line in every}), sorted({line["commit"] for line in every})
    machines = sorted({line["processor"] for line in every})
    hours = sum(line["seconds"] for line in every) / 3600
    on = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    of = f"`scripts/reliability` on {on}, at commit {', '.join(commits)}; {'; '.join(machines)}; {hours:.1f} hours of wall time together."
    kinds = "; ".join(f"*{kind}*: {text}" for kind, text in KINDS.items() if kind in stored)
    return TEXT.format(table=table, of=of, kinds=f"{kinds}.")


def _sums(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{sum(line[name] for line in lines):,}" for name in ("made", "lost", "wrong", "stuck")]


if __name__ == "__main__":
    main(Path(sys.argv[1]), whole="--whole" in sys.argv[2:])
