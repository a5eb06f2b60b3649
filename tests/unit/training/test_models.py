"""Every model family, in the hub's format, through finetune and label; heads, last tokens, and what is said of a bad model."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, modeling_utils

from tests import stage_files
from tests.tiny_hub import COMMIT, tiny_hub
from tests.tiny_models import ENCODERS, END, FAMILIES, config_value, make_hub_cache, make_model
from w2s_cli.errors import UserError
from w2s_cli.stages import features, finetune, label
from w2s_cli.store.context import Context
from w2s_cli.training.batching import pad
from w2s_cli.training.models import classifier, forward_pass
from w2s_cli.training.models.opening import base_folder, hub_folder
from w2s_cli.training.models.saving import merged_model
from w2s_cli.training.tokens import encode, open_tokenizer

CPU = torch.device("cpu")
TEXTS = ["good dog", "bad saw", "!!!!", "good", "bad!", "a good good dog", f"bad {END}", f"{END}{END}", "", "x" * 90]
LABELS = [1, 0, 1, 1, 0, 1, 0, 0, 1, 0]
ROOT = Path(__file__).parents[3]


def write_rows(folder: Path, texts: Sequence[str] = TEXTS, labels: Sequence[int] = LABELS) -> Path:
    """A rows artifact as the rows stage writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"r{number}" for number in range(len(texts))]
    table = pa.table({"id": ids, "group": ids, "text": list(texts), "label": pa.array(labels, pa.int32())})
    pq.write_table(table, folder / "rows.parquet")
    return folder


def params(**changed: Any) -> dict[str, Any]:
    return {
        "model": {"sha256": "0"}, "loss": {"name": "xent", "args": {}}, "mode": "full",
        "lora": {"targets": "all-linear", "r": 4, "alpha": 8, "rslora": False, "dropout": 0.0},
        "labels": "hard", "epochs": 2.0, "lr": 1e-2, "batch_size": 4, "schedule": "cosine", "warmup": 0.0, "optimizer": "adam",
        "betas": [0.9, 0.999], "weight_decay": 0.0, "max_grad_norm": None, "max_length": 48, "precision": "fp32",
        "truncation": "left", "seed": 0, "shard_rows": 4, **changed,
    }  # fmt: skip


def context(folder: Path, **execution: Any) -> Context:
    return stage_files.context(
        folder, **{"device": "cpu", "threads": 1, "micro_tokens": 256, "eval_tokens": 256, **execution}
    )


def whole(trained: Context) -> Path:
    """The folder with the whole model that a training left, its adapters merged."""
    return merged_model(trained.result / "model", trained.folder / "whole", trained.execution)


def labelled(folder: Path, column: str = "logits") -> np.ndarray:
    return np.array(pq.read_table(folder / "result" / "labels.parquet")[column].to_pylist())


@pytest.mark.parametrize("mode", ["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_and_transformers_gives_the_same_logits(tmp_path: Path, family: str, mode: str) -> None:
    base = make_model(tmp_path / "base", family)
    rows = write_rows(tmp_path / "rows")
    trained = context(tmp_path / "trained", model_path=str(base))
    metrics = finetune.run(params(mode=mode), {"rows": rows}, trained)
    assert metrics["truncated"]["rows"] == 1
    reading = context(tmp_path / "labels", base_path=str(base))
    said = label.run(params(), {"rows": rows, "model": trained.result}, reading)
    assert said["rows"] == len(TEXTS)
    assert said["truncated"] == {"rows": 1, "share": 0.1, "limit": 48}
    model = AutoModelForSequenceClassification.from_pretrained(whole(trained)).eval()
    tokenizer = AutoTokenizer.from_pretrained(trained.result / "model")
    texts = [text or END for text in TEXTS] if family not in ENCODERS else TEXTS
    batch = tokenizer(texts, padding=True, truncation=True, max_length=48, return_tensors="pt")
    batch.pop("token_type_ids", None)
    with torch.inference_mode():
        expected = model(**batch).logits.numpy()
    np.testing.assert_allclose(labelled(tmp_path / "labels"), expected, atol=2e-5)
    assert not any("lora" in name for name in load_file(whole(trained) / "model.safetensors"))


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ENCODERS])
def test_a_causal_head_starts_at_zero_and_reads_the_last_real_token(tmp_path: Path, family: str) -> None:
    folder = make_model(tmp_path, family)
    tokenizer = open_tokenizer(folder, "left", trust_remote_code=False)
    model = classifier.open_base(folder, tokenizer, ["a", "b", "c"], 0, CPU, {}, 48).eval()
    rows = encode(tokenizer, ["!", "!!!!!!", "no!", END, "longer than the others"], 48)
    assert rows.ids[1].tolist()[-6:] == [0] * 6  # id 0 is "!"
    ids, mask = pad(rows.ids, tokenizer.pad_token_id)
    assert not (ids[mask.bool()] == tokenizer.pad_token_id).any()
    with torch.inference_mode():
        assert not forward_pass.logits(model, ids, mask, "fp32").any()
        together = forward_pass.last_token_features(model, ids, mask, "fp32")
        for row, alone in enumerate(rows.ids):
            only = torch.from_numpy(alone.astype(np.int64))[None]
            hidden = model.base_model(input_ids=only, attention_mask=torch.ones_like(only)).last_hidden_state[0, -1]
            torch.testing.assert_close(together[row], hidden, atol=1e-5, rtol=1e-5)


def test_dropout_is_off_in_train_mode_and_gradient_checkpointing_is_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_model(tmp_path / "base", "gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    rows = write_rows(tmp_path / "rows")
    calls: list[bool] = []
    plain = modeling_utils.checkpoint

    def counted(*args: Any, **named: Any) -> Any:
        calls.append(True)
        return plain(*args, **named)

    monkeypatch.setattr(modeling_utils, "checkpoint", counted)
    weights: list[dict[str, torch.Tensor]] = []
    for checkpointing in (False, True, False):
        calls.clear()
        ctx = context(tmp_path / f"{len(weights)}", model_path=str(base), gradient_checkpointing=checkpointing)
        finetune.run(params(), {"rows": rows}, ctx)
        assert bool(calls) == checkpointing
        weights.append(load_file(ctx.result / "model" / "model.safetensors"))
    for name in weights[0]:
        assert torch.equal(weights[0][name], weights[2][name])
        one, other = weights[0][name], weights[1][name]
        if name.endswith(
            "c_attn.bias"
        ):  # softmax does not see the keys' bias: its gradient is rounding, which Adam scales up
            query, _, value = one.chunk(3)
            one, other = torch.cat([query, value]), torch.cat([other.chunk(3)[0], other.chunk(3)[2]])
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_probe_gives_the_same_labels_from_features_and_as_a_full_model(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "llama")
    rows = write_rows(tmp_path / "rows")
    stored = context(tmp_path / "features", model_path=str(base))
    found = features.run(params(), {"rows": rows}, stored)
    assert found == {
        "rows": 10,
        "hidden": 32,
        "truncated": {"rows": 1, "share": 0.1, "limit": 48},
        "empty": 2,
    }  # "" and end tokens
    trained = context(tmp_path / "trained", model_path=str(base))
    edges: dict[str, Any] = {"rows": rows, "features": stored.result}
    finetune.run(params(mode="probe", epochs=20.0), edges, trained)
    label.run(params(), {**edges, "model": trained.result}, context(tmp_path / "fast"))
    label.run(params(), {"rows": rows, "model": trained.result}, context(tmp_path / "slow"))
    np.testing.assert_allclose(labelled(tmp_path / "fast"), labelled(tmp_path / "slow"), atol=1e-5)
    before, after = (load_file(p / "model.safetensors") for p in (base, trained.result / "model"))
    assert torch.equal(before["model.layers.0.mlp.up_proj.weight"], after["model.layers.0.mlp.up_proj.weight"])
    assert after["score.weight"].abs().sum() > 0


def test_a_probe_of_an_encoder_is_refused(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "bert")
    with pytest.raises(UserError, match="causal"):
        features.run(params(), {"rows": write_rows(tmp_path / "rows")}, context(tmp_path / "f", model_path=str(base)))


def test_a_finished_model_can_be_the_base_of_another(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "bert")
    rows = write_rows(tmp_path / "rows")
    first = context(tmp_path / "first", model_path=str(base))
    finetune.run(params(), {"rows": rows}, first)
    second = context(tmp_path / "second")
    finetune.run(params(model=None, epochs=1.0), {"rows": rows, "model": first.result}, second)
    assert config_value(second.result / "model", "architectures") == ["BertForSequenceClassification"]


def test_more_than_two_classes_and_bf16(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "qwen2")
    rows = write_rows(tmp_path / "rows", labels=[0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    trained = context(tmp_path / "trained", model_path=str(base))
    finetune.run(params(precision="bf16"), {"rows": rows}, trained)
    said = label.run(params(precision="bf16"), {"rows": rows, "model": trained.result}, context(tmp_path / "labels"))
    assert len(said["mean_p"]) == 3
    tensors = load_file(trained.result / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}  # master weights
    np.testing.assert_allclose(labelled(tmp_path / "labels", "p").sum(1), 1, atol=1e-6)


def test_labels_are_joined_by_id(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "gpt2")
    rows = write_rows(tmp_path / "rows")
    weights = []
    for name, order in (("same", range(10)), ("mixed", [3, 1, 9, 0, 2, 8, 7, 4, 6, 5])):
        folder = tmp_path / name
        folder.mkdir()
        p = [[1 - (row + 1) / 20, (row + 1) / 20] for row in order]
        pq.write_table(pa.table({"id": [f"r{row}" for row in order], "p": p}), folder / "labels.parquet")
        ctx = context(tmp_path / f"{name}-out", model_path=str(base))
        finetune.run(params(labels="soft"), {"rows": rows, "labels": folder}, ctx)
        weights.append((ctx.result / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([[float("nan"), 1.0]] + [[0.5, 0.5]] * 9, "r0"),
        ([[0.5, 0.5]] * 9 + [[1.5, -0.5]], "r9"),
        ([[0.5, 0.2, 0.3]] * 10, "2 classes"),
        ([[0.5, 0.5]] * 9, r"1 missing \(first: r9\)"),
        ([[0.9, 0.1]] * 10, "nothing to learn"),
    ],
)
def test_labels_that_are_none_are_refused_with_file_and_row(tmp_path: Path, p: list[list[float]], message: str) -> None:
    base = make_model(tmp_path / "base", "gpt2")
    rows = write_rows(tmp_path / "rows")
    pq.write_table(pa.table({"id": [f"r{row}" for row in range(len(p))], "p": p}), tmp_path / "labels.parquet")
    with pytest.raises(UserError, match=message):
        finetune.run(params(), {"rows": rows, "labels": tmp_path}, context(tmp_path / "out", model_path=str(base)))


@pytest.mark.parametrize(("labels", "message"), [([0] * 10, "nothing to learn"), ([0, 1, -1] + [0] * 7, "r2")])
def test_ground_truth_that_is_none_is_refused(tmp_path: Path, labels: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        finetune.run(params(), {"rows": write_rows(tmp_path / "rows", labels=labels)}, context(tmp_path / "out"))


def break_nothing(folder: Path) -> None:
    shutil.rmtree(folder)


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def break_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def break_cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def break_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def break_other_architecture(folder: Path) -> None:
    other = make_model(folder.parent / "other", "gpt2")
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")


def break_layer_left_out(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {n: t for n, t in tensors.items() if "layers.1.mlp" not in n}, folder / "model.safetensors", {"format": "pt"}
    )


def break_fewer_layers_in_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1, "layer_types": None}))


def break_other_width(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))


def break_shard_missing(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    index = {"metadata": {}, "weight_map": {name: "model-00002-of-00002.safetensors" for name in tensors}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def break_unknown_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "nothing_known"}))


def break_remote_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    code = {"auto_map": {"AutoConfig": "code.C", "AutoModelForSequenceClassification": "code.M"}, "model_type": "own"}
    (folder / "config.json").write_text(json.dumps({**config, **code}))


def break_pickle_with_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"run": print, "call": Path}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_nothing, "config.json"),
        (break_config, "cannot be loaded"),
        (break_no_config, "config.json"),
        (break_cut_weights, "cut short"),
        (break_no_weights, "no weights"),
        (break_other_architecture, "lacks"),
        (break_layer_left_out, "lacks"),
        (break_fewer_layers_in_config, "its config not"),
        (break_other_width, "another shape|cannot be loaded"),
        (break_shard_missing, "model-00002-of-00002"),
        (break_unknown_type, "nothing_known"),
        (break_remote_code, "trust_remote_code=true"),
        (break_pickle_with_code, r"\.bin"),
    ],
)
def test_a_bad_model_folder_is_refused_with_its_name(tmp_path: Path, damage: Any, message: str) -> None:
    base = make_model(tmp_path / "base", "llama")
    damage(base)
    with pytest.raises(UserError, match=message) as caught:
        finetune.run(params(), {"rows": write_rows(tmp_path / "rows")}, context(tmp_path / "out", model_path=str(base)))
    assert "base" in str(caught.value)


def test_a_hub_model_is_found_in_the_cache_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = make_hub_cache(tmp_path, "Qwen/Qwen2.5-0.5B", "qwen2", COMMIT)
    ctx = context(tmp_path / "stage", offline=True)
    assert base_folder({"id": "Qwen/Qwen2.5-0.5B", "revision": COMMIT}, None, ctx) == snapshot
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        hub_folder("Qwen/Qwen2.5-0.5B", COMMIT, ctx)


def test_a_hub_model_that_is_not_cached_says_what_to_do_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError, match=r"hf download gpt2.*local folder"):
        hub_folder("gpt2", COMMIT, context(tmp_path / "stage", offline=True))


def test_a_cached_hub_model_without_its_tokenizer_is_not_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = make_hub_cache(tmp_path, "org/llama", "llama", COMMIT)
    for path in snapshot.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(
        UserError, match=r"in the hub cache, .* has no tokenizer .*; run the command again with a network"
    ):
        hub_folder("org/llama", COMMIT, context(tmp_path / "stage", offline=True))


def fetched(tmp_path: Path, repos: dict[str, Path | str], repo: str) -> dict[str, Any]:
    """What hub_folder does in a fresh process against a hub on localhost."""
    script = (
        "import json, sys; from pathlib import Path; from w2s_cli.store.context import Context; "
        "from w2s_cli.training.models.opening import hub_folder; "
        "folder, repo, revision = sys.argv[1:]; events = []; "
        "ctx = Context(folder=Path(folder), work=Path(folder), result=Path(folder), emit=events.append)\n"
        "files = sorted(p.name for p in hub_folder(repo, revision, ctx).iterdir())\n"
        "print(json.dumps({'files': files, 'events': events}))"
    )
    with tiny_hub(repos) as address:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment = {**kept, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", script, str(tmp_path), repo, COMMIT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert "%|" not in done.stderr  # no bars beside the live view
    return found


@pytest.mark.slow
def test_a_download_brings_what_is_needed_and_shows_its_progress(tmp_path: Path) -> None:
    llama, opt = make_model(tmp_path / "llama", "llama"), make_model(tmp_path / "opt", "opt")
    for name in ("pytorch_model.bin", "tf_model.h5", "weights.msgpack", "modeling_own.py"):
        (llama / name).write_bytes(b"x" * 10)
    said = fetched(tmp_path, {"org/llama": llama}, "org/llama")
    needed = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert said["files"] == needed
    assert said["events"][-1]["megabytes"] > 0
    assert fetched(tmp_path, {}, "org/llama")["files"] == needed  # from now on the hub is not asked
    for path in (tmp_path / "hf").rglob("tokenizer*"):
        path.unlink()
    assert fetched(tmp_path, {"org/llama": llama}, "org/llama")["files"] == needed  # what is missing is
    assert "pytorch_model.bin" in fetched(tmp_path, {"org/opt": opt}, "org/opt")["files"]  # it has nothing better
