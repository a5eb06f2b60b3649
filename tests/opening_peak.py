"""The peak memory of a fresh process that opens a model: `python -m tests.opening_peak WHAT FOLDER SMALL KEPT`.

WHAT is `label`, the reading of a trained classifier, `lora`, a training of adapters, or `qlora`, the reading of a classifier that has
adapters on a base in 4 bits; all in bf16. FOLDER is the checkpoint, and SMALL
another one, which is opened first, so that what libraries allocate at their first use is not counted. KEPT is `fp32` for weights that
are all fp32, and `asked` for the types that the stage asks for.

`python -m tests.opening_peak make WHAT FOLDER WIDTH LAYERS` makes a random Llama of that width: a classifier in fp32, as a training saves
it, or a language model in bf16, as most large ones are stored.
"""

import mmap
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.tiny_models import END, byte_tokenizer
from w2s_cli.store import memory
from w2s_cli.training.models import adapters, bf16, classifier, lora
from w2s_cli.training.models.opening import quiet
from w2s_cli.training.tokens import open_tokenizer

CPU = torch.device("cpu")
LORA = {"targets": "all-linear", "r": 8, "alpha": 16, "rslora": False, "dropout": 0.0}
TRAINING = {"mode": "lora", "lora": LORA, "model": {"sha256": "0"}, "precision": "bf16"}
MIB = 1 << 20


def make(what: str, folder: Path, width: int, layers: int) -> None:
    """Write the checkpoint, in files of at most 400 MB."""
    config = AutoConfig.for_model(
        "llama", hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=width // 64,
        vocab_size=32000 if width > 1000 else 300, max_position_embeddings=512, bos_token_id=256, eos_token_id=256, pad_token_id=256,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    kind, dtype = (
        (AutoModelForSequenceClassification, torch.float32)
        if what == "label"
        else (AutoModelForCausalLM, torch.bfloat16)
    )
    with torch.device("meta"):
        model = kind.from_config(config)
    model = model.to(dtype).to_empty(device="cpu")
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.02)
    model.save_pretrained(folder, max_shard_size="400MB")
    tokenizer = byte_tokenizer(END)
    tokenizer.save_pretrained(folder)
    if what == "qlora":
        classes = classifier.open_base(
            folder, open_tokenizer(folder, "left", trust_remote_code=False), ["a", "b"], 0, CPU, {}, 64
        )
        tuner = lora.add(classes, {**LORA, "base": "nf4"}, 0)
        adapters.save(tuner, {**LORA, "base": "nf4"}, {"sha256": "0"}, folder / "trained", tokenizer, "")


def opened(what: str, folder: Path, kept: str) -> Any:
    """The model, with every weight read once: the pages of a mapped file take memory only then."""
    if what == "label":
        asked = bf16.for_reading("bf16") if kept == "asked" else "fp32"
        model = classifier.open_finished(folder, CPU, {}, 64, asked)
    elif what == "qlora":
        model = classifier.open_finished(
            folder / "trained", CPU, {"base_path": str(folder)}, 64, bf16.for_reading("bf16")
        )
    else:
        tokenizer = open_tokenizer(folder, "left", trust_remote_code=False)
        asked = bf16.for_training(TRAINING, in_parts=False) if kept == "asked" else "fp32"
        model = classifier.open_base(folder, tokenizer, ["a", "b"], 0, CPU, {}, 64, kept=asked)
        lora.add(model, LORA, 0, CPU)
    for value in model.parameters():
        value.detach().view(-1)[:: mmap.PAGESIZE // value.element_size()].sum()
    return model


def main(what: str, folder: str, small: str, kept: str) -> None:
    """Print the peak above the process before, and the bytes of the weights in the types that they have, in MiB."""
    quiet()
    opened(what, Path(small), kept)
    before = (memory._own() or 0) // MIB
    unknown = memory.restart_peak()
    model = opened(what, Path(folder), kept)
    weights = sum(value.numel() * value.element_size() for value in model.parameters()) // MIB
    print("TOOK", (memory.peak_above(unknown) or 0) - before, "WEIGHTS", weights)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    else:
        main(*sys.argv[1:5])
