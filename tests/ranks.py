"""A stage on several processes: forks of the server of `tests.warm`, with the process group that a launcher gives them."""

import json
import os
import socket
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.stage_files import context
from tests.warm import SERVER

SIZES = {
    "device": "cpu",
    "threads": 1,
    "micro_tokens": 120,
    "eval_tokens": 200,
    "log_every": 1,
    "checkpoint_seconds": 9999,
}
STOPPED, LOST = "Stopped: ", "lost"
WAIT_S = 120


def run_on(
    count: int,
    kind: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, Path],
    folder: Path,
    execution: Mapping[str, Any] | None = None,
    *,
    stop_after: int | None = None,
    stops: int = 0,
    fault: str = "",
) -> list[str]:
    """Run a stage in `folder` on `count` processes; what each of them raised, "" for nothing. `returned` has the metrics.

    Args:
        execution: beside SIZES.
        stop_after: this many questions whether to stop have the answer no, in process `stops` only.
        fault: W2S_FAULT.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started = []
    for rank, group in enumerate(groups(count)):
        job = (
            kind,
            dict(params),
            dict(inputs),
            folder,
            {**SIZES, **(execution or {})},
            stop_after if rank == stops else None,
        )
        started.append(SERVER.Process(target=_work, args=({**group, "W2S_FAULT": fault}, *job)))
        started[-1].start()
    for process in started:
        process.join(WAIT_S)
    stuck = [rank for rank, process in enumerate(started) if process.is_alive()]
    for process in started:
        process.kill()
    assert not stuck, f"processes {stuck} hang"
    return [
        (folder / f"raised-{rank}").read_text() if process.exitcode == 0 else f"exit {process.exitcode}"
        for rank, process in enumerate(started)
    ]


def groups(count: int) -> list[dict[str, str]]:
    """The variables of each of `count` processes of one group, as torchrun sets them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{"RANK": str(rank), **shared} for rank in range(count)]


def returned(folder: Path) -> dict[str, Any]:
    """The metrics that a stage of `run_on` returned."""
    metrics: dict[str, Any] = json.loads((folder / "returned.json").read_text())
    return metrics


def measured(folder: Path) -> dict[str, Any]:
    """What it measured."""
    figures: dict[str, Any] = json.loads((folder / "measured.json").read_text())
    return figures


def curve(folder: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _work(
    environment: dict[str, str],
    kind: str,
    params: dict[str, Any],
    inputs: dict[str, Path],
    folder: Path,
    execution: dict[str, Any],
    stop_after: int | None,
) -> None:
    import torch

    from w2s_cli.pipeline.kinds import find
    from w2s_cli.run.ranks import Group
    from w2s_cli.store.context import Served
    from w2s_cli.store.ranks import Ranks, means_lost_process

    os.environ.update(environment)
    rank, count = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    torch.manual_seed(rank)  # no result may depend on it
    ranks = Group(os.environ).ranks if count > 1 else Ranks()
    ctx = replace(context(folder, **execution), ranks=ranks)
    if rank:
        ctx.result = folder / "scratch"  # nothing may be written there
    answers = iter([False] * stop_after + [True]) if stop_after is not None else None
    ctx.stop_requested = lambda: next(answers) if answers is not None else False
    raised = ""
    try:
        with suppress(Served):
            metrics = find(kind).run(params, inputs, ctx)
            (folder / "returned.json").write_text(json.dumps(metrics))
            (folder / "measured.json").write_text(json.dumps(ctx.measured))
    except Exception as error:
        traceback.print_exc()
        raised = LOST if count > 1 and means_lost_process(error) else f"{type(error).__name__}: {error}"
    if rank:
        assert not (folder / "scratch").exists()
    (folder / f"raised-{rank}").write_text(raised)
    os._exit(0)  # as a worker that has left its stage


def done(raised: Sequence[str]) -> None:
    """Assert that no process raised anything."""
    assert list(raised) == [""] * len(raised)
