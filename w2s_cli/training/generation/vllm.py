"""generation.engine=vllm: the same table of texts from the package vllm, for large models on a GPU.

vllm batches as it likes and draws its own random numbers, seeded for each text by (seed, row id, sample). So its texts are those of
another engine, with a key of their own, and they may depend on the batch in the last bits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from w2s_cli.data.artifacts.completions import completions_table
from w2s_cli.data.artifacts.rows import Problems
from w2s_cli.errors import UserError
from w2s_cli.store.context import Context, Stopped
from w2s_cli.training.generation.completing import END, LENGTH, STOP
from w2s_cli.training.generation.demonstrations import Demonstration
from w2s_cli.training.generation.sampling import row_key
from w2s_cli.training.generation.writing import (
    prompt_facts,
    prompt_limit,
    refuse_empty,
    refuse_not_finite,
    rows_of_shard,
    separator_of,
)
from w2s_cli.training.models.folder import kept_adapters
from w2s_cli.training.models.saving import merged_model
from w2s_cli.training.shards import tables_in_shards
from w2s_cli.training.texts import as_prompts, open_format, text_of
from w2s_cli.training.tokens import context_limit

if TYPE_CHECKING:
    import torch

SEED_BITS = (1 << 31) - 1  # of vllm's seeds


def write_texts(
    params: dict[str, Any],
    folder: Path,
    problems: Problems,
    shown: Sequence[Demonstration],
    device: "torch.device",
    ctx: Context,
) -> tuple[pa.Table, dict[str, Any]]:
    """As `writing.write_texts`, by vllm.

    Raises:
        UserError: the package is not installed.
    """
    try:
        from vllm import LLM, SamplingParams, TokensPrompt
    except ImportError as error:
        raise UserError(
            "generation.engine=vllm needs the package vllm (pip install vllm, on a machine with a GPU); "
            "engine=w2s needs no further package"
        ) from error
    ctx.rest_alone()  # vllm has processes of its own
    remote = bool(ctx.execution.get("trust_remote_code"))
    form = open_format(
        folder, params["chat_template"], params["truncation"], separator_of(params), trust_remote_code=remote
    )
    if kept_adapters(folder):  # vllm reads whole weights only
        folder = merged_model(folder, ctx.work / "merged", ctx.execution)
    dtype = "bfloat16" if params["precision"] == "bf16" else "float32"
    llm = LLM(
        model=str(folder), dtype=dtype, trust_remote_code=remote, max_model_len=params["max_length"], seed=0,
        enforce_eager=False,
    )  # fmt: skip
    most = int(params["max_new_tokens"])
    limit = prompt_limit(context_limit(None, form.tokenizer, params["max_length"]), most, folder)
    heads, queries = as_prompts(form, problems.prompts, shown, limit)
    refuse_empty(problems, queries)
    sampling = {
        name: params[name] for name in ("temperature", "top_p", "repetition_penalty") if params.get(name) is not None
    }

    samples, total = int(params["samples"]), len(problems.ids) * int(params["samples"])
    done = 0  # tokens

    def write(start: int, end: int) -> pa.Table:
        nonlocal done
        if ctx.stop_requested():
            raise Stopped
        ctx.progress(start * samples, total, examples=start * samples, tokens=done)
        names = [(problems.ids[row], sample) for row in range(start, end) for sample in range(samples)]
        prompts = [
            TokensPrompt(prompt_token_ids=[*heads[int(queries.shots[row])], *queries.ids[row].tolist()])
            for row in range(start, end)
            for _ in range(samples)
        ]
        asked = [
            SamplingParams(
                **sampling, top_k=params.get("top_k") or -1, max_tokens=most, stop=params["stop"] or None, logprobs=0,
                stop_token_ids=sorted(form.ends), seed=row_key(params["seed"] or 0, name, sample) & SEED_BITS,
            )
            for name, sample in names
        ]  # fmt: skip
        outputs = [output.outputs[0] for output in llm.generate(prompts, asked)]
        finishes = [_finish(output) for output in outputs]
        tokens = [len(output.token_ids) - (finish == END) for output, finish in zip(outputs, finishes, strict=True)]
        texts = [
            text_of(form, output.token_ids[:count], params["stop"])
            for output, count in zip(outputs, tokens, strict=True)
        ]
        log_p = [float(output.cumulative_logprob) for output in outputs]
        refuse_not_finite([row for row, _ in names], log_p, problems)
        done += sum(tokens)
        return completions_table(names, texts, tokens, finishes, log_p)

    table = tables_in_shards(len(problems.ids), rows_of_shard(params), ctx, "generate", write)
    return table, prompt_facts(queries, limit)


def _finish(output: Any) -> str:
    if output.finish_reason == "length":
        return LENGTH
    return STOP if isinstance(output.stop_reason, str) else END
