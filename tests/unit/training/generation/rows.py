"""What the tests of the writer share: a writer of a tiny checkpoint, prompts as units, and transformers' own texts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.unit.training.test_models import context
from w2s_cli.stages import generate
from w2s_cli.training.generation.completing import Text, Unit, Writer, needs_alone
from w2s_cli.training.generation.sampling import Sampling

PROMPTS = ["a", "one saw", "the big red cow?", "my fox!", "old axe; new axe", "hen", "a very long one, this time", "zz"]
SAMPLED = {"temperature": 1.0, "samples": 3, "seed": 7}  # three drawn texts of each prompt
END_ID = 256  # of byte_tokenizer


def writer_of(folder: Path, *, most: int = 12, **changed: Any) -> Writer:
    """A writer of the model in `folder`, with the answer of the trial; fields of Writer or of Sampling."""
    torch.set_float32_matmul_precision("highest")  # whatever stages in this process have set
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    own = {name: changed.pop(name) for name in ("ends", "stop") if name in changed}
    sampling = Sampling(**changed)
    ends = own.get("ends", frozenset([END_ID]))
    writer = Writer(model, tokenizer, sampling, most, ends, tuple(own.get("stop", ())), "fp32")
    return replace(writer, alone=needs_alone(writer, tokens_of(writer, PROMPTS)))


def tokens_of(writer: Writer, prompts: Sequence[str]) -> list[np.ndarray]:
    """Each prompt as tokens."""
    return [
        np.array(ids, dtype=np.int64) for ids in writer.tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
    ]


def units_of(writer: Writer, prompts: Sequence[str], samples: int = 1) -> list[Unit]:
    """Each prompt with its samples; the name of a row is its prompt."""
    return [
        Unit(prompt, sample, ids)
        for prompt, ids in zip(prompts, tokens_of(writer, prompts), strict=True)
        for sample in range(samples)
    ]


def written(writer: Writer, units: Sequence[Unit], head: str = "") -> list[Text]:
    """The texts of one batch."""
    ids = writer.tokenizer(head, add_special_tokens=False)["input_ids"] if head else []
    return writer.write(units, writer.read(ids), lambda done, tokens: None)


def generated(writer: Writer, prompt: Sequence[int]) -> list[int]:
    """transformers' own greedy text of one prompt, without its end token."""
    ids = torch.tensor([list(prompt)])
    made = writer.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=writer.most,
        do_sample=False,
        eos_token_id=sorted(writer.ends),
        pad_token_id=0,
        repetition_penalty=writer.sampling.repetition_penalty,
    )[0, len(prompt) :].tolist()
    return made[:-1] if made and made[-1] in writer.ends else made


def write_problems(folder: Path, prompts: Sequence[str], **parts: Sequence[str]) -> Path:
    """A rows artifact of problems with the ids r0, r1, …"""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"r{number}" for number in range(len(prompts))]
    columns = {"id": ids, "group": ids, "text": list(prompts), "prompt": list(prompts), **parts}
    pq.write_table(
        pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), folder / "rows.parquet"
    )
    return folder


def generate_params(**changed: Any) -> dict[str, Any]:
    """The params of a generate stage."""
    return {
        "model": {"sha256": "0"}, "samples": 1, "temperature": 0.0, "repetition_penalty": 1.0, "max_new_tokens": 10, "stop": [],
        "demonstrations": None, "chat_template": None, "engine": "w2s", "max_length": 64, "truncation": "left", "precision": "fp32",
        "seed": 0, "shard_texts": 512, **changed,
    }  # fmt: skip


def run_generate(
    folder: Path, rows: Path, base: Path, execution: dict[str, Any] | None = None, **changed: Any
) -> dict[str, Any]:
    """The metrics of a stage in `folder`."""
    inputs: dict[str, Path | list[Path]] = {"rows": rows, **changed.pop("inputs", {})}
    ctx = context(folder, model_path=str(base), **(execution or {}))
    return generate.run(generate_params(**changed), inputs, ctx)


def texts_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of completions.parquet, without the last bits of log_p."""
    return [
        {**row, "log_p": round(row["log_p"], 3)}
        for row in pq.read_table(folder / "result" / "completions.parquet").to_pylist()
    ]
