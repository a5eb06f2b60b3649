"""The bundled experiment keeps its promises: it is small, it is real, and the student lies between weak supervisor and ceiling."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from w2s_cli.data.bag_of_words import Features, fit, matrix, vocabulary
from w2s_cli.paths import locate

Run = Callable[..., subprocess.CompletedProcess[str]]
NAMES = ("wordnet-xs", "wordnet-s", "wordnet-m", "wordnet-l")


def results(tmp_path: Path) -> list[dict[str, Any]]:
    """The results of the latest run."""
    found = sorted((tmp_path / "outputs").glob("*/*/*/results.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(found[-1].read_text())["entries"]  # type: ignore[no-any-return]


def rows(tmp_path: Path, pool: str) -> tuple[list[str], np.ndarray]:
    """Texts and labels of a pool of the latest run."""
    table = pq.read_table(next((tmp_path / "outputs").glob(f"stages/rows/*{pool}*/result/rows.parquet")))
    return table["text"].to_pylist(), table["label"].to_numpy()


def size(folder: Path) -> int:
    """Bytes of the files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_data_and_checkpoints_are_small_and_carry_their_licence() -> None:
    data = locate("bundled:data/wordnet")
    assert size(data) < 3e6
    assert "Princeton" in (data / "LICENSE").read_text()
    assert size(locate("bundled:models/wordnet-xs").parent) < 20e6


@pytest.mark.parametrize("name", NAMES)
def test_every_checkpoint_is_a_language_model_in_the_hub_format_with_the_same_tokenizer(name: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = locate(f"bundled:models/{name}")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("wirehair: dog", return_tensors="pt")
    assert model(**ids).logits.shape[-1] == len(tokenizer)
    other = AutoTokenizer.from_pretrained(locate("bundled:models/wordnet-xs"))
    assert tokenizer.get_vocab() == other.get_vocab()


def test_the_default_run_works_on_few_rows_without_a_hub(w2s: Run, tmp_path: Path) -> None:
    out = w2s("train", "debug=tiny").stdout
    assert "wordnet-xs → wordnet-l on wordnet_living" in out
    (entry,) = results(tmp_path)
    assert entry["metrics"]["rows"] == 64


@pytest.mark.slow
def test_the_student_lies_between_weak_supervisor_and_ceiling_over_five_seeds(w2s: Run, tmp_path: Path) -> None:
    w2s("train", "seeds=5", "launcher.jobs=2", timeout=900)
    summary = next(entry["metrics"] for entry in results(tmp_path) if entry["stage"] == "summary")
    accuracy = {role: summary[role]["accuracy"] for role in ("weak", "student", "ceiling")}
    assert summary["rows"] >= 1000
    assert accuracy["weak"] < accuracy["student"] < accuracy["ceiling"]
    assert accuracy["ceiling"] - accuracy["weak"] >= 0.08
    assert summary["pgr"]["interval"][0] > 0


@pytest.mark.slow
def test_the_strong_model_knows_more_than_word_pieces_tell(w2s: Run, tmp_path: Path) -> None:
    """A linear probe on frozen features against a bag of subwords, both trained on the truth of the student's rows."""
    from transformers import AutoTokenizer

    w2s("train", "train=probe")
    (entry,) = results(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(locate("bundled:models/wordnet-l"))
    (texts, labels), (test_texts, test_labels) = rows(tmp_path, "strong_train"), rows(tmp_path, "test")
    bags, test_bags = ([set(tokenizer.tokenize(text)) for text in found] for found in (texts, test_texts))
    weights = vocabulary(bags)
    train, test = (matrix([Features(bag) for bag in found], weights) for found in (bags, test_bags))
    learned, bias = fit(train, labels, columns=len(weights), classes=2)
    guessed = (test.times(learned) + bias).argmax(axis=1)
    assert entry["metrics"]["ceiling"]["accuracy"] >= (guessed == test_labels).mean() + 0.05
