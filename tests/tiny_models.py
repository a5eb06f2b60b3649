"""Tiny random checkpoints in the hub's own layout and file names, made on the fly."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedTokenizerFast

FAMILIES = ("gpt2", "qwen2", "llama", "opt", "gpt_neox", "bert", "deberta-v2")
ENCODERS = ("bert", "deberta-v2")
AFTER_PAD = ("roberta", "xlm-roberta", "mpnet")  # encoders whose positions start after the pad id, which is 1
WORDS = (*ENCODERS, *AFTER_PAD, "fnet")  # families with a tokenizer like BERT's
WIDTH = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64}
LAYERED = {**WIDTH, "intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8}
EYE = {
    "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [3.0] * 8, "rope_theta": 10000.0}
TWO_PARTS = ("gemma3", "gemma4")  # a language model under text_config, beside an image encoder
FIELDS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "qwen2": {**WIDTH, "intermediate_size": 64, "num_key_value_heads": 1},
    "llama": {**WIDTH, "intermediate_size": 64, "num_key_value_heads": 2},
    "opt": {**WIDTH, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "gpt_neox": {**WIDTH, "intermediate_size": 64},
    "bert": {**WIDTH, "intermediate_size": 64},
    "deberta-v2": {**WIDTH, "intermediate_size": 64, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "mistral": {**WIDTH, "intermediate_size": 64, "num_key_value_heads": 1, "sliding_window": 8},
    "qwen3": {**WIDTH, "intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16},
    "fnet": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "tpu_short_seq_length": 64,
    },
    "phi3": {
        **WIDTH,
        "intermediate_size": 64,
        "num_key_value_heads": 2,
        "original_max_position_embeddings": 16,
        "rope_scaling": LONGROPE,
    },
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    "gemma": {**WIDTH, "intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16},
    "gemma2": {**WIDTH, "intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8},
    "gemma3_text": {**WIDTH, "intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8},
    "gemma3": {"text_config": {**LAYERED, "num_hidden_layers": 6}, "vision_config": EYE, "mm_tokens_per_image": 4},
    "gemma4": {
        "text_config": {
            **LAYERED,
            "num_hidden_layers": 6,
            "hidden_size_per_layer_input": 8,
            "global_head_dim": 32,
            "vocab_size_per_layer_input": 264,
            "final_logit_softcapping": 30.0,
        },
        "vision_config": {**EYE, "head_dim": 8, "num_key_value_heads": 2, "global_head_dim": 8, "patch_size": 7},
    },
    "olmo2": {**WIDTH, "intermediate_size": 64, "num_key_value_heads": 2},
    "olmo3": {**WIDTH, "num_hidden_layers": 4, "intermediate_size": 64, "num_key_value_heads": 1, "sliding_window": 8},
    "smollm3": {**WIDTH, "num_hidden_layers": 4, "intermediate_size": 64, "num_key_value_heads": 1},
    "gpt_oss": {
        **WIDTH,
        "intermediate_size": 32,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 8,
    },
    "ctrl": {"n_embd": 32, "n_layer": 2, "n_head": 2, "dff": 64, "n_positions": 64},
    "modernbert-decoder": {**WIDTH, "intermediate_size": 64, "cls_token_id": 256, "sep_token_id": 256},
    "roberta": {**WIDTH, "intermediate_size": 64},
    "xlm-roberta": {**WIDTH, "intermediate_size": 64},
    "mpnet": {**WIDTH, "intermediate_size": 64},
}
END = "<|endoftext|>"


def byte_tokenizer(pad: str | None = None) -> PreTrainedTokenizerFast:
    """One token per byte in GPT-2's order, so id 0 is "!"; the end token comes last, and there is no pad token."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(b) for b in printable] + [chr(0x100 + n) for n in range(256 - len(printable))]
    bpe = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = {"eos_token": END, "bos_token": END, "unk_token": END, **({"pad_token": pad} if pad else {})}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, model_max_length=64, **special)


def word_tokenizer(family: str = "bert") -> PreTrainedTokenizerFast:
    """A BERT-like tokenizer over letters, with [CLS] and [SEP]; RoBERTa and its kin have the pad id 1 and state no length."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    stated = {} if family in AFTER_PAD else {"model_max_length": 64}
    if family in AFTER_PAD:
        special[:2] = special[1::-1]
    letters = [chr(c) for c in range(33, 127)]
    vocab = {piece: i for i, piece in enumerate([*special, *letters, *("##" + letter for letter in letters)])}
    pieces = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]"))
    pieces.normalizer = normalizers.Lowercase()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=pieces, **stated, **names)


def make_model(folder: Path, family: str, seed: int = 0, **fields: Any) -> Path:
    """Write a random checkpoint of `family` as its language model, with the quirks of the real repositories."""
    tokenizer = word_tokenizer(family) if family in WORDS else byte_tokenizer(END if family == "qwen2" else None)
    vocab = len(tokenizer) + (
        7 if family in ("qwen2", "gemma4") else 0
    )  # Qwen's embedding is larger than its tokenizer
    ends = {"pad_token_id": tokenizer.pad_token_id} if family in WORDS else {"bos_token_id": 256, "eos_token_id": 256}
    if family == "opt":
        ends["pad_token_id"] = 1
    if family in ("phi3", "modernbert-decoder", "smollm3"):  # the pad ids of their defaults lie behind this vocabulary
        ends["pad_token_id"] = 0
    if (
        family == "gemma4"
    ):  # the default, 0, is a letter here: its zeros through Gemma's many norms would have infinite slopes
        ends["pad_token_id"] = vocab - 2
    chosen = {**FIELDS[family], **ends, **fields}
    if family in TWO_PARTS:
        chosen["text_config"] = {"vocab_size": vocab, **chosen["text_config"], **ends}
        chosen["image_token_id"] = chosen["image_token_index"] = vocab - 1
    else:
        chosen = {"vocab_size": vocab, **chosen}
    config = AutoConfig.for_model(family, **chosen)
    torch.manual_seed(seed)
    kind = AutoModelForMaskedLM if family in WORDS else AutoModelForCausalLM
    kind.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    if family == "gpt2":  # the real file has no prefix, and carries the causal masks
        tensors = {name.removeprefix("transformer."): value for name, value in tensors.items()}
        tensors |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 64, 64) for layer in range(2)}
    if family == "gpt_neox":
        tensors |= {f"gpt_neox.layers.{layer}.attention.bias": torch.ones(1, 1, 64, 64) for layer in range(2)}
        tensors |= {f"gpt_neox.layers.{layer}.attention.rotary_emb.inv_freq": torch.ones(4) for layer in range(2)}
    if family == "opt":  # the real repository has a .bin only
        weights.unlink()
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, weights, metadata={"format": "pt"})
    return folder


def in_bf16(folder: Path) -> Path:
    """Store the weights of a checkpoint in bf16, as most large ones are."""
    for path in folder.glob("*.safetensors"):
        tensors = {
            name: value.bfloat16() if value.is_floating_point() else value for name, value in load_file(path).items()
        }
        save_file(tensors, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    return folder


def in_mxfp4(folder: Path, seed: int = 0) -> Path:
    """Store the experts of a gpt-oss as random numbers in MXFP4, in the layout of the published ones, and everything else in bf16.

    Of each matrix [experts, inputs, outputs], `_blocks` [experts, outputs, inputs / 32, 16] have two numbers of 4 bits in a byte, the first
    in the low half, and `_scales` [experts, outputs, inputs / 32] the exponent of two of 32 numbers, plus 127.
    """
    in_bf16(folder)
    path, drawn = folder / "model.safetensors", torch.Generator().manual_seed(seed)
    tensors = load_file(path)
    for name in [name for name in tensors if name.endswith("_proj") and ".experts." in name]:
        experts, inputs, outputs = tensors.pop(name).shape
        shape = (experts, outputs, inputs // 32)
        tensors[f"{name}_blocks"] = torch.randint(0, 256, (*shape, 16), generator=drawn).to(torch.uint8)
        tensors[f"{name}_scales"] = torch.randint(112, 121, shape, generator=drawn).to(torch.uint8)
    save_file(tensors, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    beside = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": beside}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def make_hub_cache(home: Path, repo: str, family: str, commit: str, seed: int = 0) -> Path:
    """Put a tiny model where huggingface_hub looks for `repo` under HF_HOME=`home`; `main` points to `commit`."""
    root = home / "hub" / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    make_model(snapshot, family, seed)
    return snapshot


def config_value(folder: Path, name: str) -> Any:
    """A field of a model folder's config.json."""
    return json.loads((folder / "config.json").read_text())[name]
