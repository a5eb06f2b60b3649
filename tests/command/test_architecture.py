"""docs/architecture.md: its paths exist, and its stage kind runs as the page has it."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PLACES = (ROOT / "w2s_cli", ROOT / "configs", ROOT)


def test_every_path_of_the_page_exists() -> None:
    paths = {
        word.partition(":")[0]
        for word in re.findall(r"`([^`\s]+)`", PAGE)
        if re.search(r"\.(py|yaml)\b|/", word) and not re.search(r"NAME|DIR|<|…", word)
    }
    paths |= {word for word in re.findall(r"`(\w+: \w+)`", PAGE) if "/" in word}
    assert len(paths) > 30
    assert [path for path in sorted(paths) if not any((place / path).exists() for place in PLACES)] == []


def probabilities(result: Path) -> np.ndarray:
    """The labels of a stage's result: [rows, classes]."""
    return np.stack(pq.read_table(result / "labels.parquet").column("p").to_pylist()).astype(np.float64)


@pytest.mark.slow
def test_the_stage_kind_of_the_page_runs_as_it_is_written(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name, language in (("stages/temper.py", "python"), ("method/tempered.yaml", "yaml")):
        (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
        (mine / name).parent.mkdir(parents=True)
        (mine / name).write_text(code)
    words = ["--config-dir", str(mine), "method=tempered", *ran]
    assert "strong_train temperature 0.5" in w2s_inside("plan", *words).stdout
    w2s_inside("label", *words)  # everything but the new stage is of the finished run
    stages = tmp_path / "outputs" / "stages"
    (sharp,) = stages.glob("temper/*/result")
    (weak,) = stages.glob("label/*-strong_train-*/result")
    p, before = probabilities(sharp), probabilities(weak)
    np.testing.assert_allclose(p, before**2 / (before**2).sum(axis=1, keepdims=True), atol=1e-6)
