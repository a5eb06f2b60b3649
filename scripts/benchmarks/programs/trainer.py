"""The same job with transformers.Trainer as its documentation shows it: dynamic padding, optionally grouped by length, optionally bf16.

Batch 32 in one pass, Adam without decay and clipping, cosine without warm-up, a zero head; predictions in batches of 32. Its shuffle is
its own, so its accuracy is that of another order of the same rows.
"""

from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.answer import Stopwatch, main


def work(job: dict[str, Any]) -> dict[str, Any]:
    watch = Stopwatch()
    with watch.timed("import"):
        import pyarrow.parquet as pq
        import torch
        import transformers
        from datasets import Dataset
        from transformers import (
            AutoModelForSequenceClassification,
            AutoTokenizer,
            DataCollatorWithPadding,
            Trainer,
            TrainingArguments,
        )
    transformers.logging.set_verbosity_error()
    torch.set_float32_matmul_precision("highest")
    tokenizer = AutoTokenizer.from_pretrained(job["base"])
    model = AutoModelForSequenceClassification.from_pretrained(job["base"], num_labels=2, dtype=torch.float32)
    model.config.pad_token_id = tokenizer.pad_token_id
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    torch.nn.init.zeros_(model.score.weight)

    def rows(folder: str) -> Any:
        table = pq.read_table(Path(folder) / "rows.parquet", columns=["text", "label"])
        dataset = Dataset.from_dict({"text": table["text"].to_pylist(), "label": table["label"].to_pylist()})
        limit = {"truncation": True, "max_length": job["max_length"]}
        return dataset.map(lambda batch: tokenizer(batch["text"], **limit), batched=True, remove_columns=["text"])

    with watch.timed("tokenise"):
        pools = {pool: rows(job[pool]) for pool in ("train", "test", "pool") if job[pool]}
    arguments = TrainingArguments(
        output_dir=job["work"],
        per_device_train_batch_size=job["batch"],
        per_device_eval_batch_size=32,
        num_train_epochs=job["epochs"],
        learning_rate=job["lr"],
        lr_scheduler_type="cosine",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=0.0,
        seed=job["seed"],
        bf16=job["precision"] == "bf16",
        bf16_full_eval=False,
        train_sampling_strategy="group_by_length" if job["grouped"] else "random",
        use_cpu=job["device"] == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=job["device"] != "cpu",
    )
    trainer = Trainer(model, arguments, train_dataset=pools["train"], data_collator=DataCollatorWithPadding(tokenizer))
    with watch.timed("train"):
        trainer.train()
    answer: dict[str, Any] = {}
    for pool in ("test", "pool"):
        if pool in pools:
            with watch.timed("label"):
                output = trainer.predict(pools[pool])
            if pool == "test":
                answer["right"] = (output.predictions.argmax(1) == output.label_ids).astype(int).tolist()
                answer["accuracy"] = sum(answer["right"]) / len(answer["right"])
    with watch.timed("save"):
        trainer.save_model(str(Path(job["work"]) / "model"))
    return answer | watch.figures()


if __name__ == "__main__":
    main(work)
