"""Reward models: the loss is Bradley-Terry, a planted preference is learned, and nothing downstream knows about pairs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.tiny_models import ENCODERS, byte_tokenizer, config_value, make_model
from tests.unit.training.test_models import context, labelled, params, write_rows
from tests.unit.training.test_packed import opened
from w2s_cli.data.artifacts.rows import read_rows
from w2s_cli.errors import UserError
from w2s_cli.losses import load_loss
from w2s_cli.stages import evaluate, features, finetune, label
from w2s_cli.training.batching import ALONE, PADDED, micro_batches, pad
from w2s_cli.training.models.forward_pass import on_rows
from w2s_cli.training.models.reward import class_logits
from w2s_cli.training.tokens import encode, open_tokenizer


def write_pairs(folder: Path, texts: Sequence[str], second: Sequence[str], labels: Sequence[int]) -> Path:
    """A rows artifact of pairs; class 1 = the second is preferred."""
    folder.mkdir(parents=True)
    ids = [f"r{number}" for number in range(len(texts))]
    columns = {"id": ids, "group": ids, "text": list(texts), "label": pa.array(labels, pa.int32())}
    pq.write_table(pa.table({**columns, "second": list(second)}), folder / "rows.parquet")
    (folder / "manifest.json").write_text(json.dumps({"metrics": {"classes": ["first", "second"]}}))
    return folder


def planted(folder: Path, rows: int = 96, seed: int = 0) -> Path:
    """Pairs in which the text with "!" signs is preferred."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(rows) % 2)

    def drawn(letters: str) -> str:
        return "".join(random.choice(list(letters), random.integers(5, 24)))

    good, bad = [drawn("abcde !!") + "!" for _ in labels], [drawn("abcde ") for _ in labels]
    texts = [b if label else g for g, b, label in zip(good, bad, labels, strict=True)]
    second = [g if label else b for g, b, label in zip(good, bad, labels, strict=True)]
    return write_pairs(folder, texts, second, labels.tolist())


@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_on_two_rewards_is_bradley_terry(soft: bool) -> None:
    random = np.random.default_rng(0)
    r = random.normal(size=(64, 2)) * 3  # [pairs, 2]
    y = random.uniform(size=64) if soft else (random.uniform(size=64) > 0.5).astype(float)  # P(second preferred)
    p = 1 / (1 + np.exp(-(r[:, 1] - r[:, 0])))
    expected = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))  # binary cross-entropy of sigmoid(r2 - r1)
    slope = np.stack([y - p, p - y], 1) / 64  # its gradient with respect to (r1, r2)
    logits = torch.tensor(r, requires_grad=True)
    loss = load_loss("xent").function(logits, torch.tensor(np.stack([1 - y, y], 1)), progress=0.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-12)
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), slope, atol=1e-12)
    np.testing.assert_allclose(logits.detach().softmax(-1)[:, 1].numpy(), p, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_a_planted_preference_is_learned_and_holds_on_new_pairs(tmp_path: Path, family: str) -> None:
    base = make_model(tmp_path / "base", family)
    rows, held = planted(tmp_path / "rows"), planted(tmp_path / "held", seed=1)
    trained = context(tmp_path / "trained", model_path=str(base), micro_tokens=2048)
    chosen = params(epochs=6.0, batch_size=8, lr=3e-3)
    metrics = finetune.run(chosen, {"rows": rows}, trained)
    assert metrics["rows"] == 96
    said = label.run(chosen, {"rows": held, "model": trained.result}, context(tmp_path / "labels"))
    assert said["accuracy"] > 0.85  # pairwise
    folder = trained.result / "model"
    assert list(config_value(folder, "id2label").values()) == ["reward"]
    assert "reward model" in (folder / "README.md").read_text()
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.num_labels == 1
    pairs = read_rows(held)
    assert pairs.second is not None
    rewards = []
    for texts in (pairs.texts, pairs.second):
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        batch.pop("token_type_ids", None)
        with torch.inference_mode():
            rewards.append(model(**batch).logits[:, 0].double())
    np.testing.assert_allclose(labelled(tmp_path / "labels"), torch.stack(rewards, 1), atol=5e-5)
    p = torch.sigmoid(rewards[1] - rewards[0])
    np.testing.assert_allclose(labelled(tmp_path / "labels", "p")[:, 1], p, atol=5e-5)


@pytest.mark.parametrize("loss", ["xent", "logconf", "product"])
def test_a_student_learns_from_soft_preferences_and_is_evaluated_like_a_classifier(tmp_path: Path, loss: str) -> None:
    rows = planted(tmp_path / "rows", 24)
    ctx = {name: context(tmp_path / name, model_path=str(make_model(tmp_path / "base", "gpt2"))) for name in "abcd"}
    finetune.run(params(), {"rows": rows}, ctx["a"])
    label.run(params(), {"rows": rows, "model": ctx["a"].result}, ctx["b"])
    taught = params(labels="soft", loss={"name": loss, "args": {}})
    metrics = finetune.run(taught, {"rows": rows, "labels": ctx["b"].result}, ctx["c"])
    assert 0 <= metrics["train_accuracy_vs_labels"] <= 1
    label.run(params(), {"rows": rows, "model": ctx["c"].result}, ctx["d"])
    out = context(tmp_path / "evaluated")
    edges: Any = {"rows": rows, "weak": ctx["b"].result, "student": ctx["d"].result}
    assert "student" in str(evaluate.run({"bootstrap": 20, "confidence": 0.95}, edges, out))


def test_a_reward_model_starts_undecided_and_its_rewards_do_not_depend_on_the_other_text(tmp_path: Path) -> None:
    rows = planted(tmp_path / "rows", 8)
    trained = context(tmp_path / "trained", model_path=str(make_model(tmp_path / "base", "llama")))
    metrics = finetune.run(params(epochs=0.5, batch_size=8), {"rows": rows}, trained)
    assert metrics["final_loss"] == pytest.approx(np.log(2))  # before the first update
    pairs = read_rows(rows)
    assert pairs.second is not None
    swapped = write_pairs(tmp_path / "swapped", pairs.second, pairs.texts, (1 - pairs.labels).tolist())
    for name, folder in (("one", rows), ("other", swapped)):
        label.run(params(), {"rows": folder, "model": trained.result}, context(tmp_path / name))
    np.testing.assert_allclose(labelled(tmp_path / "one"), labelled(tmp_path / "other")[:, ::-1], atol=1e-6)


def test_a_pair_takes_twice_its_longer_text_and_micro_batches_stay_within_the_budget(tmp_path: Path) -> None:
    tokenizer = open_tokenizer(make_model(tmp_path, "gpt2"), "left", trust_remote_code=False)
    random = np.random.default_rng(0)
    texts, second = (["x" * int(n) for n in random.integers(1, 60, 40)] for _ in range(2))
    tokens = encode(tokenizer, texts, 50, second)
    assert tokens.real.tolist() == [min(50, len(a)) + min(50, len(b)) for a, b in zip(texts, second, strict=True)]
    assert tokens.truncated == sum(max(len(a), len(b)) > 50 for a, b in zip(texts, second, strict=True))
    part = tokens.part(3, 5)
    assert part.second is not None
    assert [len(row) for row in part.second] == [min(50, len(text)) for text in second[3:5]]
    for piece in micro_batches(range(40), tokens.lengths, 300):
        assert tokens.second is not None
        ids, _ = pad([tokens.ids[r] for r in piece] + [tokens.second[r] for r in piece], 0)
        assert ids.numel() <= 300 or len(piece) == 1


def test_both_texts_of_a_pair_go_through_in_one_pass(tmp_path: Path) -> None:
    model = opened(tmp_path, "gpt2")
    tokens = encode(byte_tokenizer(), ["a", "bbb"], 50, ["cc", "d"])
    seen = []

    def length(model: Any, ids: torch.Tensor, mask: torch.Tensor, precision: str) -> torch.Tensor:
        seen.append(len(ids))
        return mask.sum(1, keepdim=True).float()  # a "reward"

    assert class_logits(on_rows(model, tokens, [1, 0], PADDED, "fp32", length)).tolist() == [[3, 1], [1, 2]]
    assert seen == [4]
    on_rows(model, tokens, [1, 0], ALONE, "fp32", length)
    assert seen == [4, 1, 1, 1, 1]


def test_a_probe_on_pairs_agrees_with_the_full_model(tmp_path: Path) -> None:
    base, rows = make_model(tmp_path / "base", "qwen2"), planted(tmp_path / "rows")
    stored = context(tmp_path / "features", model_path=str(base))
    assert features.run(params(), {"rows": rows}, stored)["hidden"] == 32
    trained = context(tmp_path / "trained", model_path=str(base))
    edges: Any = {"rows": rows, "features": stored.result}
    finetune.run(params(mode="probe", epochs=20.0, lr=3e-2), edges, trained)
    said = label.run(params(), {**edges, "model": trained.result}, context(tmp_path / "fast"))
    label.run(params(), {"rows": rows, "model": trained.result}, context(tmp_path / "slow"))
    assert said["accuracy"] > 0.8
    np.testing.assert_allclose(labelled(tmp_path / "fast"), labelled(tmp_path / "slow"), atol=1e-4)


@pytest.mark.parametrize("mode", ["full", "probe"])
def test_a_model_for_the_other_form_of_rows_is_refused(tmp_path: Path, mode: str) -> None:
    base = make_model(tmp_path / "base", "gpt2")
    forms = {"pairs": planted(tmp_path / "pairs", 8), "single": write_rows(tmp_path / "single")}
    stored, models = {}, {}
    for form, rows in forms.items():
        ctx = context(tmp_path / f"{form}-features", model_path=str(base))
        features.run(params(), {"rows": rows}, ctx)
        stored[form] = ctx.result
        models[form] = context(tmp_path / f"{form}-model", model_path=str(base))
        more = {"features": ctx.result} if mode == "probe" else {}
        finetune.run(params(mode=mode), {"rows": rows, **more}, models[form])
    for form, other, message in (("pairs", "single", "holds pairs"), ("single", "pairs", "is a reward model")):
        edges: Any = {"rows": forms[form], "model": models[other].result}
        more = {"features": stored[form]} if mode == "probe" else {}
        with pytest.raises(UserError, match=message):
            label.run(params(), {**edges, **more}, context(tmp_path / f"{form}-out"))
        with pytest.raises(UserError, match="outputs"):  # as the base of another training
            finetune.run(params(model=None), edges, context(tmp_path / f"{form}-base"))


def test_features_of_the_other_form_and_pairs_of_three_classes_are_refused(tmp_path: Path) -> None:
    base, pairs = make_model(tmp_path / "base", "gpt2"), planted(tmp_path / "pairs", 10)
    single = write_rows(tmp_path / "single")
    stored = context(tmp_path / "features", model_path=str(base))
    features.run(params(), {"rows": single}, stored)
    edges: Any = {"rows": pairs, "features": stored.result}
    with pytest.raises(UserError, match="pairs of texts"):
        finetune.run(params(mode="probe"), edges, context(tmp_path / "out", model_path=str(base)))
    (pairs / "manifest.json").write_text(json.dumps({"metrics": {"classes": ["a", "b", "c"]}}))
    with pytest.raises(UserError, match="whose classes are two"):
        read_rows(pairs)


@pytest.mark.parametrize("family", [*ENCODERS, "opt"])
def test_pairs_of_every_kind_of_head_give_two_logits(tmp_path: Path, family: str) -> None:
    rows = planted(tmp_path / "rows", 8)
    base = str(make_model(tmp_path / "base", family))
    trained = context(tmp_path / "trained", model_path=base)
    finetune.run(params(mode="lora", epochs=1.0), {"rows": rows}, trained)
    said = label.run(params(), {"rows": rows, "model": trained.result}, context(tmp_path / "labels", base_path=base))
    assert len(said["mean_p"]) == 2
    assert labelled(tmp_path / "labels").shape == (8, 2)
