"""The folder of a model: the files that transformers reads from it, and the reasons for which a folder is refused.

* A plan hashes the files and refuses the folder; a stage refuses it again when it opens it. So nothing heavy is imported here.
* A file counts if transformers may read it: weights, JSON, vocabularies, templates, any file that a string in a JSON file names (shards of
  weights, versioned tokenizers), and with trust_remote_code the code.
* Every such file lies in the folder. A path or link that leaves it would load bytes that nobody sees as part of the model. Snapshots of the
  hub cache are links into the `blobs` of their repository, and belong to it.
* A tokenizer is needed, and plain weights: without a tokenizer transformers makes an empty one, it applies an adapter beside merged weights
  once more, and quantised weights cannot be trained or saved as plain ones; of MXFP4 alone the plain weights are exact.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WEIGHTS = (".safetensors", ".bin")
READ = (*WEIGHTS, ".json", ".txt", ".model", ".jinja", ".tiktoken", ".spm", ".codes", ".tokenizer")
ADAPTER, BASE = "adapter_model.safetensors", "base.json"  # of a training with adapters (training/models/adapters.py)
VOCABULARIES = ("tokenizer.json", "vocab.json")  # large files whose strings are tokens and name nothing
TOKENIZER_NAMES = ("tokenizer", "vocab", "special_tokens_map", "bpe", "tekken", "byte_maps", "merges")
TOKENIZER_SUFFIXES = (".model", ".tiktoken", ".spm", ".codes", ".tokenizer")


def files(folder: Path, *, code: bool) -> list[Path]:
    """The files that transformers may read, sorted; `code`: with the Python files, as trust_remote_code=true needs them."""
    paths = {path for path in folder.iterdir() if path.suffix in READ}
    paths |= {folder / name for name, _ in _named(folder)}
    paths |= set(folder.glob("additional_chat_templates/*.jinja"))
    if code:
        paths |= set(folder.rglob("*.py"))
    return sorted(path for path in paths if path.is_file())


def incomplete(folder: Path) -> str | None:
    """The missing part of a model folder, as the end of a sentence; None if config, all weight files and a tokenizer are present."""
    if not (folder / "config.json").is_file():
        return "has no config.json"
    return _without_weights(folder) or _without_tokenizer(folder)


def kept_adapters(folder: Path) -> bool:
    """Whether a folder holds the adapters of a training by w2s, and not whole weights."""
    return (folder / BASE).is_file() and (folder / ADAPTER).is_file()


def _without_weights(folder: Path) -> str | None:
    for suffix in ("safetensors", "bin"):
        for index in folder.glob(f"*.{suffix}.index.json"):
            shards = _object(_object(read(index)).get("weight_map")).values()
            if not shards or not all(isinstance(name, str) for name in shards):
                return f"has a damaged {index.name}: its weight_map must name the file of each weight"
            missing = sorted(name for name in set(shards) if not os.path.isfile(folder / name))
            return f"lacks the weight file {missing[0]}" if missing else None
        if any(folder.glob(f"*.{suffix}")):
            return None
    return "has no weights (*.safetensors, or pytorch_model.bin)"


def _without_tokenizer(folder: Path) -> str | None:
    present = [path for path in folder.iterdir() if path.is_file()]
    if any(p.name.startswith(TOKENIZER_NAMES) or p.suffix in TOKENIZER_SUFFIXES for p in present):
        return None
    return "has no tokenizer (tokenizer.json, or the files of its kind; tokenizer.save_pretrained writes them)"


def unusable(folder: Path, *, code: bool) -> str | None:
    """The reason against a model folder, as the end of a sentence, with the remedy; None if it can be used."""
    names = dict(_named(folder))
    for path in files(folder, code=code):
        if not _inside(path, folder):
            name = os.path.relpath(path, folder)
            where = f"{names[name]} names {name}" if name in names else f"{name} is a link to {os.path.realpath(path)}"
            return f"reads a file outside of itself ({where}): copy that file into the folder, and name it there"
    replaced = [name for name in _object(read(folder / "special_tokens_map.json")) if name.endswith("_file")]
    if replaced:  # transformers opens such a path as it stands, in the place of the folder's own file
        return f"has the field {replaced[0]} in special_tokens_map.json, a path in the place of its own file: remove that field"
    if kept_adapters(folder):
        return "holds adapters of a training by w2s without their base: name the folder of its export (w2s export KEY out=DIR)"
    if (folder / "adapter_config.json").exists():
        return (
            "has an adapter_config.json, so transformers would apply an adapter on top of these weights: merge it "
            "(peft's merge_and_unload), or remove the file if the weights are merged already"
        )
    config = _object(read(folder / "config.json"))
    # the path of another file of weights; or of an index in a subfolder, where the files that it names are not looked for
    if any(_object(part).get("transformers_weights") is not None for part in _values(config)):
        return (
            "has the field transformers_weights in config.json, a path in the place of its own weights: remove that field, and name "
            "the file there model.safetensors or model.safetensors.index.json"
        )
    quantised = config.get("quantization_config")
    if quantised and mxfp4(config) is None:
        method = _object(quantised).get("quant_method", "unknown method")
        return f"holds quantised weights ({method}), which cannot be finetuned: use the checkpoint without quantisation"
    if code:
        for name in ("config.json", "tokenizer_config.json"):
            for reference in _strings(_object(read(folder / name)).get("auto_map")):
                if "--" in reference:
                    return (
                        f"takes its code from another repository ({name}: {reference}), whose commit is not known: copy the "
                        'code into the folder, and remove what stands before "--"'
                    )
    return None


def mxfp4(config: Any) -> dict[str, Any] | None:
    """The quantization_config in the config.json of a checkpoint in MXFP4; None of plain weights.

    These are 4-bit numbers with a power of two for 32 of them (OCP Microscaling Formats 1.0); bf16 holds each exactly.
    """
    stated = _object(_object(config).get("quantization_config"))
    return stated if stated.get("quant_method") == "mxfp4" else None


def read(path: Path) -> Any:
    """The value of a JSON file; None of a missing or damaged one, which transformers refuses itself.

    Unlike `store.files.read_json` it takes Infinity, which some architectures have in their config.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _named(folder: Path) -> Iterator[tuple[str, str]]:
    """(relative path of a file, name of the JSON file with that path) for each string that is the path of a file."""
    for path in sorted(folder.glob("*.json")):
        if path.name not in VOCABULARIES:
            for text in set(_strings(read(path))):
                if os.path.isfile(folder / text):
                    yield os.path.relpath(folder / text, folder), path.name


def _strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value, without the names of fields."""
    return (part for part in _values(value) if isinstance(part, str))


def _values(value: Any) -> Iterator[Any]:
    """A JSON value, and all values in it."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        yield part
        match part:
            case list():
                waiting += part
            case dict():
                waiting += part.values()


def _inside(path: Path, folder: Path) -> bool:
    """Whether the content of `path` lies in the folder, or in the blobs of the hub cache that the folder is a snapshot of."""
    content, root = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    caches = root.parents[1:3] if root.parent.name == "snapshots" else ()  # the repository, and the cache around it
    return any(content.is_relative_to(inside) for inside in (root, *(cache / "blobs" for cache in caches)))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
