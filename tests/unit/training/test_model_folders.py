"""A model's folder: all that is loaded is hashed, nothing outside of it is loaded, and what would be replaced in silence is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests.conftest import sentences, write_jsonl
from tests.tiny_hub import COMMIT
from tests.tiny_models import byte_tokenizer, make_hub_cache, make_model
from tests.unit.training.test_models import context, params, write_rows
from w2s_cli.errors import UserError
from w2s_cli.paths import locate
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.stages import finetune, label
from w2s_cli.stages._cautions import unread_texts
from w2s_cli.store.store import Store
from w2s_cli.training.models.folder import files, incomplete, unusable
from w2s_cli.training.prompting import encode_with_suffix
from w2s_cli.training.tokens import encode, open_tokenizer


def key(folder: Path, *, code: bool = False) -> str:
    """The identity of a local model, as a plan computes it."""
    store = Store(folder.parent / "outputs")
    identity, _ = Resolver(store).model({"name": "local", "path": str(folder), "trust_remote_code": code})
    return str(identity["sha256"])


def edit(path: Path, **fields: Any) -> None:
    """Set fields of a JSON file."""
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **fields}))


def sharded(folder: Path, shard: str) -> None:
    """The weights in a file `shard`, which an index names."""
    tensors = load_file(folder / "model.safetensors")
    (folder / shard).parent.mkdir(exist_ok=True)
    save_file(tensors, folder / shard, {"format": "pt"})
    (folder / "model.safetensors").unlink()
    edit(folder / "model.safetensors.index.json", metadata={}, weight_map=dict.fromkeys(tensors, shard))


def outside_shard(folder: Path) -> None:
    sharded(folder, "../outside/model.safetensors")


def outside_absolute_shard(folder: Path) -> None:
    sharded(folder, str(folder.parent / "outside" / "model.safetensors"))


def outside_link(folder: Path) -> None:
    (folder.parent / "outside").mkdir()
    shutil.move(folder / "model.safetensors", folder.parent / "outside" / "weights")
    (folder / "model.safetensors").symlink_to("../outside/weights")


def outside_tokenizer(folder: Path, name: str, **fields: Any) -> None:
    (folder.parent / "outside").mkdir()
    shutil.move(folder / "tokenizer.json", folder.parent / "outside" / "tokenizer.4.0.0.json")
    edit(folder / name, **fields)


def outside_map(folder: Path) -> None:
    outside_tokenizer(folder, "special_tokens_map.json", tokenizer_file="outside/tokenizer.4.0.0.json")


def outside_versions(folder: Path) -> None:
    outside_tokenizer(folder, "tokenizer_config.json", fast_tokenizer_files=["../outside/tokenizer.4.0.0.json"])


def outside_index(folder: Path) -> None:
    """An index in a subfolder, named by the config of a part."""
    sharded(folder, "../outside/model.safetensors")
    (folder / "parts").mkdir()
    index = "parts/model.safetensors.index.json"
    shutil.move(folder / "model.safetensors.index.json", folder / index)
    (folder / "model.safetensors").write_bytes(b"")
    edit(folder / "config.json", text_config={"transformers_weights": index})


def adapter(folder: Path) -> None:
    edit(folder / "adapter_config.json", peft_type="LORA", base_model_name_or_path=str(folder), r=2)


def quantised(folder: Path) -> None:
    edit(folder / "config.json", quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]})


def no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (outside_shard, r"outside of itself \(model.safetensors.index.json names ../outside/model.safetensors\)"),
        (outside_absolute_shard, r"outside of itself \(model.safetensors.index.json names"),
        (outside_link, r"outside of itself \(model.safetensors is a link to .*weights\)"),
        (outside_map, r"the field tokenizer_file in special_tokens_map.json"),
        (outside_versions, r"outside of itself \(tokenizer_config.json names ../outside"),
        (outside_index, r"the field transformers_weights in config.json"),
        (adapter, "adapter_config.json.* merge it"),
        (quantised, r"quantised weights \(fp8\).* without quantisation"),
        (no_tokenizer, r"has no tokenizer .*save_pretrained"),
    ],
)
def test_a_folder_that_would_be_read_in_another_way_than_it_looks_is_refused_by_the_plan_and_the_stage(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    base = make_model(tmp_path / "base", "llama")
    damage(base)
    with pytest.raises(UserError, match=message):
        key(base)
    with pytest.raises(UserError, match=message):
        finetune.run(params(), {"rows": write_rows(tmp_path / "rows")}, context(tmp_path / "out", model_path=str(base)))


def test_a_bundled_models_copy_without_its_tokenizer_trains_nothing(w2s_inside: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(locate("bundled:models/wordnet-xs"), copy)
    no_tokenizer(copy)
    data = write_jsonl(tmp_path / "good.jsonl", sentences(40))
    task = ["data=local", f"data.path={data}", "data.text=text", "data.label=label"]
    for verb in ("plan", "train"):
        said = w2s_inside(verb, *task, "weak=local", f"weak.path={copy}", code=2)
        assert "has no tokenizer" in said.stderr
        assert "Traceback" not in said.stderr


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "gpt_neox", "opt", "bert", "deberta-v2", "roberta"])
def test_a_tokenizer_that_transformers_made_of_special_tokens_alone_is_refused(tmp_path: Path, family: str) -> None:
    base = make_model(tmp_path / "base", family)
    no_tokenizer(base)
    edit(base / "special_tokens_map.json", eos_token="<|endoftext|>")
    with pytest.raises(UserError, match=r"has no vocabulary|cannot be loaded by AutoTokenizer"):
        open_tokenizer(base, "left", trust_remote_code=False)


@pytest.mark.parametrize("more", [0, 1])
def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path, more: int) -> None:
    base = make_model(tmp_path / "base", "llama")
    tokenizer = byte_tokenizer("<|mine|>")  # with a pad token nothing has to be added to the model
    tokenizer.add_tokens(["dog", "saw"][: more + 1])
    tokenizer.save_pretrained(base)
    ctx = context(tmp_path / "out", model_path=str(base))
    rows = write_rows(tmp_path / "rows")  # one of its texts has "dog"
    with pytest.raises(UserError, match="tokenizer of another model"):
        finetune.run(params(), {"rows": rows}, ctx)


@pytest.mark.parametrize("pad_id", [-1, 257, 300])
def test_a_pad_id_outside_of_the_vocabulary_gives_way_to_the_tokenizers_pad_token(tmp_path: Path, pad_id: int) -> None:
    base = make_model(tmp_path / "base", "llama")
    edit(base / "config.json", pad_token_id=pad_id)
    rows = write_rows(tmp_path / "rows")
    trained = context(tmp_path / "trained", model_path=str(base))
    finetune.run(params(epochs=1.0), {"rows": rows}, trained)
    saved = trained.result / "model"
    assert (
        json.loads((saved / "config.json").read_text())["pad_token_id"]
        == AutoTokenizer.from_pretrained(saved).pad_token_id
    )
    before, after = (load_file(folder / "model.safetensors") for folder in (base, saved))
    end = "model.embed_tokens.weight", 256  # with the pad id -1 torch freezes the last row
    assert not torch.equal(before[end[0]][end[1]], after[end[0]][end[1]])


def test_whatever_is_loaded_is_in_the_key(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "llama")
    sharded(base, "parts/model.dat.safetensors")  # of a subfolder, as the index names it
    (base / "additional_chat_templates").mkdir()
    names = [
        "parts/model.dat.safetensors",
        "chat_template.jinja",
        "additional_chat_templates/tools.jinja",
        "spiece.model",
    ]
    names += ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json", "qwen.tiktoken"]
    before = key(base)
    for name in names:
        with (base / name).open("a") as file:
            file.write("\n")
        after = key(base)
        assert after != before, name
        before = after
    for name in ("README.md", "training.jsonl", "plot.png"):
        (base / name).write_text("x")
        assert key(base) == before


def test_code_is_in_the_key_where_it_runs(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "llama")
    plain, trusted = key(base), key(base, code=True)
    for name in ("modeling_own.py", "parts/layers.py"):  # own_code.py may import the other
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text("x = 1")
        assert key(base) == plain
        assert key(base, code=True) != trusted
        trusted = key(base, code=True)
    edit(base / "config.json", auto_map={"AutoModelForCausalLM": "other/repository--modeling.Model"})
    with pytest.raises(UserError, match=r"code from another repository .*other/repository--modeling.Model"):
        key(base, code=True)
    key(base)


@pytest.mark.parametrize("shared", [False, True])
def test_links_of_the_hub_cache_to_its_blobs_belong_to_the_folder(tmp_path: Path, shared: bool) -> None:
    snapshot = make_hub_cache(tmp_path, "org/name", "llama", COMMIT)
    blobs = snapshot.parents[2 if shared else 1] / "blobs"  # files that repositories share lie beside them
    blobs.mkdir()
    for path in list(snapshot.iterdir()):
        shutil.move(path, blobs / f"{path.name}-hash")
        path.symlink_to(Path("../../../blobs" if shared else "../../blobs") / f"{path.name}-hash")
    assert unusable(snapshot, code=True) is None
    assert len(files(snapshot, code=False)) >= 4
    open_tokenizer(snapshot, "left", trust_remote_code=False)


@pytest.mark.parametrize(
    "content", ["[]", "{}", "{", '{"weight_map": []}', '{"weight_map": {"a": 3}}', "[" * 10**5, "null"]
)
def test_an_index_of_weights_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    base = make_model(tmp_path / "base", "llama")
    (base / "model.safetensors.index.json").write_text(content)
    assert "damaged model.safetensors.index.json" in (incomplete(base) or "")


def rename(folder: Path, before: str, after: str) -> None:
    """Give weights other names."""
    tensors = load_file(folder / "model.safetensors")
    assert any(before in name for name in tensors)
    save_file({n.replace(before, after): t for n, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})


def test_weights_of_other_names_are_not_replaced_by_new_ones(tmp_path: Path) -> None:
    rows, base = write_rows(tmp_path / "rows"), make_model(tmp_path / "base", "bert")
    trained = context(tmp_path / "trained", model_path=str(base))
    finetune.run(params(epochs=1.0), {"rows": rows}, trained)
    rename(trained.result / "model", "classifier.", "head.")  # a new head would be random
    with pytest.raises(UserError, match=r"lacks classifier.bias and 1 more"):
        label.run(params(), {"rows": rows, "model": trained.result}, context(tmp_path / "labels"))
    rename(base, "intermediate.dense", "intermediate.linear")
    with pytest.raises(UserError, match=r"lacks .*intermediate.dense"):
        finetune.run(params(), {"rows": rows}, context(tmp_path / "again", model_path=str(base)))


def test_texts_without_a_token_are_counted_and_said(tmp_path: Path) -> None:
    bytes_of = open_tokenizer(make_model(tmp_path / "gpt2", "gpt2"), "left", trust_remote_code=False)
    words_of = open_tokenizer(make_model(tmp_path / "bert", "bert"), "left", trust_remote_code=False)
    texts = ["a dog", "", "<|endoftext|>", "犬", "a 犬"]
    assert encode(bytes_of, texts, 9).empty == 2
    assert encode(words_of, texts, 9).empty == 2  # "" and the unknown letter; it knows all letters of "<|endoftext|>"
    assert encode(words_of, texts[:2], 9, texts[3:]).empty == 2  # of pairs: one of the two
    assert encode_with_suffix(bytes_of, texts, "?", 9).empty == 2  # before a suffix too
    assert encode_with_suffix(words_of, texts, "?", 9).empty == 2
    trained = context(tmp_path / "trained", model_path=str(tmp_path / "gpt2"))
    metrics = finetune.run(params(epochs=1.0), {"rows": write_rows(tmp_path / "rows")}, trained)
    about = {"model": "gpt2", "role": "student", "rows": "strong_train"}
    [line] = unread_texts({**metrics, "truncated": None}, {"max_length": 9}, about)
    assert line.startswith("Caution: 2 of 10 texts (strong_train) have no token that gpt2 knows (student)")
    assert unread_texts({"rows": 10, "empty": 0}, {"max_length": 9}, about) == []
