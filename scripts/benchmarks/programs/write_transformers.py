"""Greedy texts by transformers' `generate` as its documentation shows it: left padding, batches of prompts, greedy.

Prompts are sorted by length first, so that its batches have as little padding as ours.
"""

import json
from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.answer import Stopwatch, main


def work(job: dict[str, Any]) -> dict[str, Any]:
    watch = Stopwatch()
    with watch.timed("import"):
        import torch
        import transformers
        from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteriaList
    transformers.logging.set_verbosity_error()
    torch.set_float32_matmul_precision("highest")
    tokenizer = AutoTokenizer.from_pretrained(job["base"], padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32).eval()
    prompts = [json.loads(line)["prompt"] for line in Path(job["problems"]).read_text().splitlines()]
    lengths = [len(ids) for ids in tokenizer(prompts)["input_ids"]]
    order = sorted(range(len(prompts)), key=lambda row: lengths[row])
    texts, tokens = [""] * len(prompts), 0
    own = job["lengths"] or [job["new_tokens"]] * len(prompts)

    def over(rows: list[int], before: int) -> Any:
        """The rule that ends each row's text after its own number of tokens."""
        most = torch.tensor([own[row] for row in rows])
        return StoppingCriteriaList([lambda ids, scores, **named: ids.shape[1] - before >= most])

    with watch.timed("write"), torch.inference_mode():
        for start in range(0, len(order), job["batch"]):
            rows = order[start : start + job["batch"]]
            batch = tokenizer([prompts[row] for row in rows], return_tensors="pt", padding=True)
            batch.pop("token_type_ids", None)
            before = batch["input_ids"].shape[1]
            given = (
                {"min_new_tokens": job["new_tokens"], "stopping_criteria": over(rows, before)} if job["lengths"] else {}
            )
            whole = model.generate(**batch, max_new_tokens=job["new_tokens"], do_sample=False, **given)
            for row, ids in zip(rows, whole[:, before:].tolist(), strict=True):
                end = ids.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in ids[: own[row]] else own[row]
                texts[row] = tokenizer.decode(ids[:end], skip_special_tokens=True).strip()
                tokens += end
    return {"texts": texts, "tokens": tokens, **watch.figures()}


if __name__ == "__main__":
    main(work)
