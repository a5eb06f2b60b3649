"""500 model folders with hostile JSON: each is refused in words, or it loads files of its own that are in its key, and nothing else.

Python's reads and writes are watched by an audit hook. Readers in Rust (safetensors, tokenizers) are not, so the files outside of the
folder hold marks that a loaded model or tokenizer would show.
"""

import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny_models import make_model
from w2s_cli.errors import UserError
from w2s_cli.pipeline.causal import need_causal
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.store.store import Store
from w2s_cli.training.models.classifier import open_base
from w2s_cli.training.models.folder import files
from w2s_cli.training.models.opening import quiet
from w2s_cli.training.tokens import open_tokenizer

FOLDERS = 500
TARGETS = (
    *("config.json", "tokenizer_config.json", "special_tokens_map.json", "model.safetensors.index.json"),
    *("added_tokens.json", "generation_config.json", "adapter_config.json", "tokenizer.json"),
)
FIELDS = (
    *(
        "vocab_file",
        "merges_file",
        "tokenizer_file",
        "tokenizer_object",
        "fast_tokenizer_files",
        "chat_template",
        "auto_map",
    ),
    *("transformers_weights", "weight_map", "quantization_config", "name_or_path", "_name_or_path", "tokenizer_class"),
    *("base_model_name_or_path", "architectures", "model_type", "pad_token_id", "pad_token", "eos_token", "id2label"),
    *("num_labels", "tie_word_embeddings", "dtype", "added_tokens_decoder", "extra_special_tokens", "model_max_length"),
    *(
        "metadata",
        "text_config",
        "is_encoder_decoder",
        "n_positions",
        "rope_scaling",
        "is_local",
        "init_inputs",
        "backend",
    ),
)
AIMED = (  # (file, field, path → value): where transformers opens the file that a value names, or once did
    ("special_tokens_map.json", "tokenizer_file", str),
    ("special_tokens_map.json", "vocab_file", str),
    ("tokenizer_config.json", "tokenizer_file", str),
    ("tokenizer_config.json", "fast_tokenizer_files", lambda path: ["tokenizer.json", path]),
    ("config.json", "transformers_weights", str),
    ("model.safetensors.index.json", "weight_map", lambda path: dict.fromkeys(["wte.weight", "h.0.ln_1.weight"], path)),
)
SUFFIX = {"transformers_weights": ".safetensors", "weight_map": ".safetensors"}
MARK, WORD = 7.25, "OUTSIDE"  # in the weights, and in the vocabulary, of the files outside
watched: list[tuple[str, bool]] | None = None  # (path, whether it is opened for writing)


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook: it cannot be taken off, so it does nothing outside of `opened`."""
    if watched is not None and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        writes = bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        watched.append((os.path.realpath(os.fsdecode(arguments[0])), writes))


@contextmanager
def opened() -> Iterator[list[tuple[str, bool]]]:
    """The files that Python opens in the block."""
    global watched
    watched = seen = []
    try:
        yield seen
    finally:
        watched = None


def outside(folder: Path) -> list[str]:
    """Files with marks, and ways to name them from a model's folder beside them."""
    folder.mkdir()
    base = make_model(folder.parent / "marked", "gpt2")
    tensors = {name: torch.full_like(value, MARK) for name, value in load_file(base / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    torch.save(tensors, folder / "weights.bin")
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"][WORD] = tokenizer["model"]["vocab"].pop("!")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer.4.0.0.json").write_text(json.dumps(tokenizer))
    (folder / "vocab.json").write_text(json.dumps({WORD: 0, "a": 1, "b": 2}))
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    (folder / "template.jinja").write_text(WORD)
    (folder / "code.py").write_text(f"raise SystemExit('{WORD}')")
    names = sorted(path.name for path in folder.iterdir())
    return [f"{before}/{name}" for before in (f"../{folder.name}", folder.name, folder) for name in names]


def value(drawn: random.Random, names: list[str], depth: int = 0) -> Any:
    """A random JSON value; two of three strings are the path of a file outside."""
    kind = drawn.randrange(1, 9 if depth < 3 else 6)
    if kind <= 2:
        return drawn.choice(names)
    if kind == 3:
        return drawn.choice(["", "..", "/", "\0", "a" * 300, "gpt2", "llama", "own.Class", "org/name--own.Class", "ü"])
    if kind == 4:
        return drawn.choice([-1, 0, 1, 3, 256, 257, 999, 0.5, -2.5, 1e300])
    if kind == 5:
        return drawn.choice([None, True, False, [], {}])
    inner = [value(drawn, names, depth + 1) for _ in range(drawn.randrange(4))]
    if kind == 6:
        return inner
    return {drawn.choice([*FIELDS, *map(str, range(3))]): item for item in inner}


def spoil(folder: Path, drawn: random.Random, names: list[str]) -> None:
    """Put random JSON into a file or two of the folder, a path where transformers may follow it, or a link in the place of a file."""
    way = drawn.random()
    if way < 0.1:
        target = folder / drawn.choice(["tokenizer.json", "model.safetensors", "chat_template.jinja", "vocab.json"])
        target.unlink(missing_ok=True)
        target.symlink_to(drawn.choice(names))
    elif way < 0.4:
        name, field, shape = drawn.choice(AIMED)
        path = drawn.choice([path for path in names if path.endswith(SUFFIX.get(field, ".json"))])
        before = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        (folder / name).write_text(json.dumps({"metadata": {}, **before, field: shape(path)}))
        if field == "weight_map":
            (folder / "model.safetensors").unlink()
        if field == "fast_tokenizer_files":
            (folder / "tokenizer.json").unlink()
    else:
        for name in drawn.sample(TARGETS, drawn.choice([1, 1, 2])):
            path = folder / name
            before = json.loads(path.read_text()) if path.exists() else {}
            after = value(drawn, names)
            if drawn.random() < 0.8:
                after = {**before, **{drawn.choice(FIELDS): value(drawn, names) for _ in range(drawn.randrange(1, 3))}}
            path.write_text("[" * 50_000 if drawn.random() < 0.02 else json.dumps(after))


def use(folder: Path) -> bool:
    """Plan and open the model, each whether the other refuses it or not; True if it opens."""
    model = {"name": "local", "path": str(folder), "trust_remote_code": False}
    resolver, allowed = Resolver(Store(folder.parent / "outputs")), set[str]()
    with suppress(UserError):
        resolver.model(model)
        allowed = {os.path.realpath(path) for path in files(folder, code=False)}
        need_causal(resolver, "method", "stage", "weak", {"pretrained": model, "name": "local"}, "why", "instead")
    with opened() as seen:
        try:
            tokenizer = open_tokenizer(folder, "left", trust_remote_code=False)
            opens = open_base(folder, tokenizer, ["a", "b"], 0, torch.device("cpu"), {}, 48)
        except UserError:
            opens = None
    for path, writes in seen:
        assert not writes or path.endswith(".pyc"), f"{path} was opened for writing"
        if Path(path).is_relative_to(folder.parent) and os.path.exists(path):
            inside = Path(path).is_relative_to(folder) and (opens is None or path in allowed)
            assert inside, f"{path} was read, and is not in the key"
    if opens is not None:
        assert allowed, "the stage opens what the plan refuses"
        assert WORD not in tokenizer.get_vocab()
        assert WORD not in str(tokenizer.chat_template)
        assert not any((parameter == MARK).any() for parameter in opens.parameters())
    return opens is not None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_hostile_folders_are_refused_or_load_files_of_their_own_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some paths are followed from where the command runs
    quiet()
    sys.addaudithook(watch)
    names = outside(tmp_path / "outside")
    base = make_model(tmp_path / "base", "gpt2")
    drawn, opening = random.Random(0), 0
    for number in range(FOLDERS):
        folder = tmp_path / f"folder{number}"
        shutil.copytree(base, folder)
        spoil(folder, drawn, names)
        try:
            opening += use(folder)
        except UserError:
            raise
        except Exception as error:
            raise AssertionError(
                f"folder {number}: {[(p.name, p.read_text()[:300]) for p in folder.glob('*.json')]}"
            ) from error
        shutil.rmtree(folder)
    assert FOLDERS / 20 < opening < FOLDERS / 2  # the fuzz reaches both
