"""The same with TRL's SFTTrainer and DPOTrainer: loss on completions only, Adam without decay and clipping, constant learning rate.

Rows come in the order in which w2s draws them, so every step has the same batch. DPO's reference is computed before the training
(precompute_ref_log_probs), and is part of the time, as in w2s: once for each row, not once for each epoch.
"""

import json
from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.answer import Stopwatch, main
from w2s_cli.training.batching import epoch_order


def work(job: dict[str, Any]) -> dict[str, Any]:
    watch = Stopwatch()
    with watch.timed("import"):
        import torch
        import transformers
        from datasets import Dataset
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
    transformers.logging.set_verbosity_error()
    torch.set_float32_matmul_precision("highest")
    tokenizer = AutoTokenizer.from_pretrained(job["base"])
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32)
    rows = [json.loads(line) for line in Path(job["problems"]).read_text().splitlines()]
    sft = job["objective"] == "sft"

    def entry(row: dict[str, Any]) -> dict[str, Any]:
        """Tokens as w2s makes them: the prompt, then a space and the completion, then the end token."""
        if sft:
            return {"prompt": row["prompt"], "completion": f" {row['chosen']}"}
        return {"prompt": row["prompt"], "chosen": f" {row['chosen']}", "rejected": f" {row['rejected']}"}

    ordered = [rows[place] for epoch in range(job["epochs"]) for place in epoch_order(len(rows), job["seed"], epoch)]
    data = Dataset.from_list([entry(row) for row in ordered])  # all epochs in their order: one pass
    shared: dict[str, Any] = {
        "output_dir": job["work"],
        "per_device_train_batch_size": job["batch"],
        "num_train_epochs": 1,
        "learning_rate": job["lr"],
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 0.0,
        "optim": "adamw_torch",
        "seed": job["seed"],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "max_length": 1024,
        "shuffle_dataset": False,
    }
    if sft:
        trainer = SFTTrainer(
            model, SFTConfig(**shared, completion_only_loss=True), train_dataset=data, processing_class=tokenizer
        )
    else:
        shared.pop("shuffle_dataset")
        watch.around(DPOTrainer, "_precompute_ref_logps", "reference")
        trainer = DPOTrainer(
            model,
            args=DPOConfig(**shared, beta=0.1, precompute_ref_log_probs=True),
            train_dataset=data,
            processing_class=tokenizer,
        )
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)
    with watch.timed("train"):
        trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    figures = watch.figures()
    figures["learn_cpu_s"] = figures["train_cpu_s"] + figures.get("reference_cpu_s", 0.0) / job["epochs"]
    return {"losses": losses, **figures}


if __name__ == "__main__":
    main(work)
