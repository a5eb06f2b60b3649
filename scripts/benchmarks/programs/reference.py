"""A plain loop that does what the public W2SG reference code (openai/weak-to-strong, train_simple.py and train.py) does, step by step.

* Texts are tokenised one by one, kept in one order, padded on the right to the longest of their micro-batch; no sorting by length.
* Micro-batch 1: the logits of the 32 forward passes are collected, with all their graphs, and one loss goes backward once.
* fp32 weights without autocast; Adam and cosine to 0 without warm-up; head on the last token: fp32, no bias, zero at the start; no dropout.
* Evaluation and labels: batches of 32 in the order of the rows. The finished model is saved.
* `probe: N`: the trunk's output is detached and only the head learns: the trunk still runs, with its graph, in every epoch; N times over.

Where the order of rows must be that of w2s, so that the same test rows come out right, it is taken from there: a permutation costs
nothing. One departure in its favour: the last token's place is known from the length and not from ids that are not 0.
`pipeline` does weak supervisor → labels → ceiling → student in one process, as the code's first version did.
"""

from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.answer import Stopwatch, main
from w2s_cli.training.batching import epoch_order

EVAL_BATCH = 32


class Classifier:
    """A trunk with a linear head on the last token."""

    def __init__(self, folder: str, device: str) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.trunk = AutoModel.from_pretrained(folder, dtype=torch.float32).to(device)
        self.head = torch.nn.Linear(self.trunk.config.hidden_size, 2, bias=False).to(device)
        torch.nn.init.zeros_(self.head.weight)
        self.device = device

    def logits(self, rows: list[Any], *, probe: bool = False) -> Any:
        """[rows, 2] of token rows."""
        import torch

        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.device)
        hidden = self.trunk(input_ids=ids).last_hidden_state
        last = hidden[torch.arange(len(rows)), lengths.to(hidden.device) - 1]
        return self.head(last.detach() if probe else last)


def work(job: dict[str, Any]) -> dict[str, Any]:
    watch = Stopwatch()
    with watch.timed("import"):
        import torch
        import transformers
    transformers.logging.set_verbosity_error()
    torch.set_float32_matmul_precision("highest")
    answer: dict[str, Any] = {}
    if job.get("pipeline"):
        weak = {**job, "base": job["weak"], "train": job["weak_train"]}
        model, right = _trained(weak, None, watch)
        answer["weak_accuracy"] = sum(right) / len(right)
        labels = _labels(model, job, job["train"], watch)
        _, right = _trained(job, None, watch, name="ceiling")
        answer["ceiling_accuracy"] = sum(right) / len(right)
        _, right = _trained(job, labels, watch, name="student")
    else:
        for _ in range(job.get("probe") or 1):
            model, right = _trained(job, None, watch)
        if job["pool"]:
            _labels(model, job, job["pool"], watch)
    if right:
        answer |= {"right": right, "accuracy": sum(right) / len(right)}
    return answer | watch.figures()


def _trained(job: dict[str, Any], labels: Any, watch: Stopwatch, name: str = "model") -> tuple[Classifier, list[int]]:
    """Train on ground truth or soft `labels` [rows, 2], score the test rows, save."""
    import torch

    with watch.timed("load"):
        model = Classifier(job["base"], job["device"])
    with watch.timed("tokenise"):
        rows, truth = _read(model, job["train"], job["max_length"])
    targets = torch.nn.functional.one_hot(torch.tensor(truth), 2).float() if labels is None else labels
    with watch.timed("train"):
        _train(model, rows, targets.to(job["device"]), job)
    right: list[int] = []
    if job["test"]:
        with watch.timed("tokenise"):
            rows, truth = _read(model, job["test"], job["max_length"])
        with watch.timed("evaluate"):
            right = [int(p == y) for p, y in zip(_evaluate(model, rows).argmax(1).tolist(), truth, strict=True)]
    with watch.timed("save"):
        folder = Path(job["work"]) / name
        model.trunk.save_pretrained(folder)
        torch.save(model.head.state_dict(), folder / "head.bin")
    return model, right


def _read(model: Classifier, folder: str, limit: int) -> tuple[list[Any], list[int]]:
    """Token rows and ground truth of a rows artifact."""
    import pyarrow.parquet as pq
    import torch

    table = pq.read_table(Path(folder) / "rows.parquet", columns=["text", "label"])
    rows = [torch.tensor(model.tokenizer(text)["input_ids"][:limit]) for text in table["text"].to_pylist()]
    return rows, table["label"].to_pylist()


def _train(model: Classifier, rows: list[Any], targets: Any, job: dict[str, Any]) -> None:
    import torch

    probe, batch = bool(job.get("probe")), job["batch"]
    order = [row for epoch in range(job["epochs"]) for row in epoch_order(len(rows), job["seed"], epoch)]
    steps = len(order) // batch
    weights = list(model.head.parameters()) + ([] if probe else list(model.trunk.parameters()))
    optimizer = torch.optim.Adam(weights, lr=job["lr"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.trunk.eval()  # the reference trains in this mode: no dropout
    for step in range(steps):
        chosen = order[step * batch : (step + 1) * batch]
        logits = torch.cat([model.logits([rows[row]], probe=probe) for row in chosen])  # micro-batch 1
        loss = torch.nn.functional.cross_entropy(logits, targets[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        loss.item()  # it is logged at every step


def _evaluate(model: Classifier, rows: list[Any]) -> Any:
    """Logits [rows, 2] on the CPU."""
    import torch

    with torch.no_grad():
        logits = [model.logits(rows[at : at + EVAL_BATCH]).cpu() for at in range(0, len(rows), EVAL_BATCH)]
    return torch.cat(logits)


def _labels(model: Classifier, job: dict[str, Any], folder: str, watch: Stopwatch) -> Any:
    """Soft labels [rows, 2]."""
    with watch.timed("tokenise"):
        rows, _ = _read(model, folder, job["max_length"])
    with watch.timed("label"):
        return _evaluate(model, rows).softmax(1)


if __name__ == "__main__":
    main(work)
