"""The files of a stage run that its context writes."""

import json
from pathlib import Path

from w2s_cli.store.context import Context


def test_the_metrics_after_a_step_and_lines_that_are_none_are_dropped(tmp_path: Path) -> None:
    ctx = Context(tmp_path, tmp_path / "work", tmp_path / "result")
    ctx.cut_metrics(1)  # no file yet
    for step in (1, 2, 3):
        ctx.record_metric(step, loss=0.5)
    path = tmp_path / "metrics.jsonl"
    damaged = [b"5", b"{}", b"[]", b'{"step": "1"}', b'{"step": 1', b"\xff\xfe", b"[" * 100_000, b"null"]
    path.write_bytes(b"\n".join([*damaged, path.read_bytes()]))
    ctx.cut_metrics(2)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"step": n, "loss": 0.5} for n in (1, 2)]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]
