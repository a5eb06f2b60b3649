"""The pretrain stage: what it learns, what it writes, and that a resumed run equals an uninterrupted one."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import stage_files
from tests.stage_files import killed
from w2s_cli.errors import UserError
from w2s_cli.stages import pretrain
from w2s_cli.store.context import Context, Stopped
from w2s_cli.training.batching import batches_of_tokens, epoch_order
from w2s_cli.training.corpus import END, hold_out, read_texts, render, token_rows, train_tokenizer

ANIMALS = ["beagle", "hound", "poodle", "terrier", "otter", "badger", "heron", "falcon"]
THINGS = ["hammer", "kettle", "lantern", "wagon", "violin", "anchor", "ladder", "mirror"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    entries = [{"word": w, "hypernyms": ["animal", "being"], "gloss": "it lives"} for w in ANIMALS]
    entries += [{"word": w, "hypernyms": ["tool"], "gloss": ""} for w in THINGS]
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(e) + "\n" for e in entries * 4).encode()))
    return path


def params(**changed: Any) -> dict[str, Any]:
    architecture = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    architecture |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 32}
    return {
        "architecture": architecture,
        "tokenizer": {"vocab_size": 300},
        "corpus": {"sha256": "0", "templates": ["{word}: {hypernyms[0]}", "{word} is {gloss}"]},
        "sequence": "entries", "max_length": 24, "batch_entries": 16, "epochs": 3, "lr": 3e-3, "schedule": "cosine",
        "warmup": 0.1, "optimizer": "adamw", "betas": [0.9, 0.98], "weight_decay": 0.01, "max_grad_norm": 1.0,
        "precision": "fp32", "validation_share": 0.1, "seed": 0, "save_dtype": "fp32", **changed,
    }  # fmt: skip


def context(folder: Path, corpus: Path, **execution: Any) -> Context:
    options = {"device": "cpu", "threads": 1, "micro_tokens": 256, "corpus_path": str(corpus), **execution}
    return stage_files.context(folder, **options)


def artifacts(folder: Path) -> dict[str, bytes]:
    files = {str(p.relative_to(folder)): p.read_bytes() for p in (folder / "result").rglob("*") if p.is_file()}
    return files | {"metrics.jsonl": (folder / "metrics.jsonl").read_bytes()}


def test_loss_falls_and_the_folder_loads_with_its_tokenizer(tmp_path: Path, corpus: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    metrics = pretrain.run(params(epochs=12), {}, context(tmp_path / "a", corpus))
    assert metrics["final_loss"] < 2.5
    assert metrics["validation_loss"] < 3.5
    folder = tmp_path / "a" / "result" / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer("beagle:", return_tensors="pt")["input_ids"]
    assert ids[0, 0] == tokenizer.eos_token_id != tokenizer.pad_token_id
    assert tokenizer.decode(ids[0], skip_special_tokens=True).strip() == "beagle:"
    said = model.generate(ids, max_new_tokens=8, do_sample=False)
    assert "animal" in tokenizer.decode(said[0])


@pytest.mark.parametrize(
    "changed", [{}, {"sequence": "packed"}, {"batch_entries": None, "batch_tokens": 150}, {"precision": "bf16"}]
)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path, corpus: Path, changed: dict[str, Any]) -> None:
    one = pretrain.run(params(**changed), {}, context(tmp_path / "one", corpus))
    ctx = context(tmp_path / "two", corpus)
    answers = iter([False, False, True])
    ctx.stop_requested = lambda: next(answers, False)
    with pytest.raises(Stopped):
        pretrain.run(params(**changed), {}, ctx)
    torch.manual_seed(999)  # another process has another random state
    two = pretrain.run(params(**changed), {}, context(tmp_path / "two", corpus))
    assert one == two
    assert artifacts(tmp_path / "one") == artifacts(tmp_path / "two")


@pytest.mark.parametrize(
    "point",
    ["pretrain.start", "pretrain.step:4", "checkpoint.begin:2", "checkpoint.files-written:2", "checkpoint.renamed:2"],
)
def test_killed_and_run_again_equals_uninterrupted(tmp_path: Path, corpus: Path, point: str) -> None:
    expected = pretrain.run(params(epochs=1), {}, context(tmp_path / "one", corpus))
    folder = tmp_path / "two"
    killed(lambda: pretrain.run(params(epochs=1), {}, context(folder, corpus, checkpoint_seconds=0)), point, tmp_path)
    again = pretrain.run(params(epochs=1), {}, context(folder, corpus))
    assert again == expected
    assert artifacts(tmp_path / "one") == artifacts(folder)


def test_bf16_weights_can_be_saved(tmp_path: Path, corpus: Path) -> None:
    from safetensors.torch import load_file

    pretrain.run(params(epochs=1, save_dtype="bf16"), {}, context(tmp_path, corpus))
    tensors = load_file(tmp_path / "result" / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


def test_templates_skip_missing_fields_join_lists_and_index_them() -> None:
    entry = {"word": "beagle", "hypernyms": ["hound", "dog"], "gloss": "", "count": 3}
    assert render("{word}: {hypernyms[1]} of {hypernyms}", entry) == "beagle: dog of hound, dog"
    assert render("{word} {gloss}", entry) is None
    assert render("{word} {absent}", entry) is None
    assert render("{hypernyms[2]}", entry) is None
    assert render("{count} of {{x}}", entry) == "3 of {x}"
    with pytest.raises(UserError, match="template"):
        render("{word", entry)


def test_rows_have_end_tokens_and_packed_rows_no_padding(corpus: Path) -> None:
    texts = [text for texts in read_texts(corpus, ["{word}: {gloss}", "{word}"]) for text in texts]
    tokenizer = train_tokenizer(texts, 290, True, 16)
    rows = token_rows(tokenizer, texts, "entries", 64, 0)
    end = tokenizer.convert_tokens_to_ids(END)
    assert all(row[0] == end == row[-1] and end not in row[1:-1] for row in rows)
    packed = token_rows(tokenizer, texts, "packed", 16, 0)
    assert {len(row) for row in packed} == {16}
    assert sum(map(len, packed)) > sum(len(row) - 1 for row in rows) - 16


def test_held_out_entries_share_no_text_with_training() -> None:
    train, held = hold_out([[f"a{i}", f"b{i}"] for i in range(100)], 0.2)
    assert len(held) == 40
    assert not set(train) & set(held)


def test_token_batches_are_even_and_cover_every_row() -> None:
    lengths = np.random.default_rng(0).integers(4, 40, 500)
    counts = set()
    for epoch in range(5):
        batches = batches_of_tokens(epoch_order(500, 0, epoch), lengths, 600)
        assert sorted(row for batch in batches for row in batch) == list(range(500))
        assert all(abs(lengths[batch].sum() - 600) < 100 for batch in batches)
        counts.add(len(batches))
    assert len(counts) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architecture": {"model_type": "lama"}}, "Did you mean"),
        ({"architecture": {"model_type": "llama", "hiden_size": 3}}, 'Did you mean "hidden_size"'),
        ({"max_length": 4000}, "positions"),
        ({"sequence": "sorted"}, "packed"),
        ({"corpus": {"templates": ["{wrod}"]}}, "no text"),
        ({"tokenizer": {"vocab_size": 10}}, "258"),
        ({"precision": "tf32"}, "NVIDIA"),
        ({"save_dtype": "int8"}, "save_dtype"),
    ],
)
def test_wrong_params_say_what_to_do(tmp_path: Path, corpus: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pretrain.run(params(**changed), {}, context(tmp_path, corpus))


def test_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.jsonl"):
        pretrain.run(params(), {}, context(tmp_path, tmp_path / "nothing.jsonl"))
