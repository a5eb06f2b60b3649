"""A training of a classifier on the same rows in the same order, by the loop of w2s and by transformers.Trainer, with the clock on.

* Both train the same model in fp32 weights under bf16 autocast, by Adam without decay and clipping, cosine without warm-up.
* The first updates are not timed: kernels are chosen and memory is taken then. The timed ones are whole effective batches.
* Trainer pads each micro-batch to its longest row, as its documentation shows it. Its micro-batch is what w2s's budget of tokens holds of
  the longest rows, a divisor of the batch, so that both have the same memory to use; it is halved if memory fails.
"""

import time
from dataclasses import dataclass
from typing import Any

from scripts.gpu_checks.rows import Rows, padded
from scripts.gpu_checks.settings import NotHere, Settings

ADAPTERS: dict[str, Any] = {"targets": "all-linear", "r": 8, "alpha": 16.0, "rslora": False, "dropout": 0.0}
LR = 1e-5


@dataclass(frozen=True)
class Learned:
    """A timed training."""

    seconds: float
    tokens: int  # real ones
    how: str  # how the rows lay in a micro-batch

    @property
    def rate(self) -> float:
        """Real tokens a second."""
        return self.tokens / max(self.seconds, 1e-9)


def wait(settings: Settings) -> None:
    """Until the device has done all that was asked of it."""
    import torch

    if settings.device.startswith("cuda"):
        torch.cuda.synchronize()


def with_mode(model: Any, mode: str) -> Any:
    """The model with adapters, if the mode is lora.

    Raises:
        NotHere: peft is not installed.
    """
    if mode == "lora":
        try:
            import peft  # noqa: F401
        except ImportError as error:
            raise NotHere("adapters need the package peft") from error
        from w2s_cli.training.models import lora

        lora.add(model, ADAPTERS, 0)
    return model


def context(settings: Settings, name: str, **execution: Any) -> Any:
    """A stage's folder `name` below the work folder, without checkpoints."""
    from w2s_cli.store.context import Context

    folder = settings.work / name
    for part in ("work", "result"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    told = {
        "device": settings.device,
        "micro_tokens": settings.micro_tokens,
        "eval_tokens": settings.eval_tokens,
        "checkpoint_seconds": 1e9,
        **execution,
    }
    return Context(folder, folder / "work", folder / "result", told)


def objective(model: Any, rows: Rows, settings: Settings) -> Any:
    """The finetune stage's objective: cross-entropy on one-hot labels, and how the rows lie in a micro-batch."""
    import torch

    from w2s_cli.losses import load_loss
    from w2s_cli.training import inputs
    from w2s_cli.training.objectives import classification

    fed = inputs.from_tokens(model, rows.tokens, "bf16", settings.max_length)
    targets = torch.nn.functional.one_hot(torch.from_numpy(rows.labels), 2).float().to(settings.device)
    return classification.objective(
        fed.forward, fed.lengths, targets, load_loss("xent"), {}, tokens=fed.tokens, longest=fed.longest,
        layout=fed.layout,
    )  # fmt: skip


def ours(model: Any, rows: Rows, settings: Settings, updates: int, name: str, **execution: Any) -> Learned:
    """`warm_up` updates, then so many timed ones, each of `batch` rows in their order."""
    from w2s_cli.training import loop
    from w2s_cli.training.device import pick_device

    pick_device({"device": settings.device}, "bf16")
    ctx = context(settings, name, **execution)
    what = objective(model, rows, settings)
    batches = [list(range(at, at + settings.batch)) for at in range(0, len(rows.labels), settings.batch)]
    recipe = loop.Recipe(epochs=1, lr=LR)
    warm, timed = batches[: settings.warm_up], batches[settings.warm_up : settings.warm_up + updates]
    loop.train(model, what, lambda _: warm, recipe, ctx, "finetune")
    wait(settings)
    started = time.monotonic()
    loop.train(model, what, lambda _: timed, recipe, ctx, "finetune")
    wait(settings)
    seconds = time.monotonic() - started
    model.zero_grad(set_to_none=True)
    return Learned(seconds, _tokens(rows, timed), how(model, what.layout))


def how(model: Any, layout: Any) -> str:
    """How the rows of this layout lie in a micro-batch of the classifier, and why not packed."""
    from w2s_cli.training.attention import packed

    if layout.alone:
        return "one by one"
    return "packed" if layout.packed else f"padded: {packed.why_padded(model, 'bf16')}"


def theirs(model: Any, rows: Rows, settings: Settings, updates: int, name: str) -> Learned:
    """The same by transformers.Trainer.

    Raises:
        NotHere: accelerate is not installed.
    """
    from w2s_cli.store.memory import means_no_memory
    from w2s_cli.training.memory import empty_memory

    most = max(1, settings.micro_tokens // int(rows.tokens.lengths.max()))
    size = max(n for n in range(1, settings.batch + 1) if settings.batch % n == 0 and n <= most)
    while True:
        try:
            return _trained(trainer(model, settings, name, size, updates), rows, settings, updates, size)
        except Exception as error:
            if not means_no_memory(error) or size == 1:
                raise
        size = max(n for n in range(1, size) if settings.batch % n == 0)
        empty_memory()  # outside the handler: the traceback keeps the failed graph


def trainer(model: Any, settings: Settings, name: str, size: int, updates: int = 1) -> Any:
    """A function (rows, callbacks) → transformers.Trainer, with micro-batches of `size` rows in training.

    Raises:
        NotHere: transformers has no Trainer without the package accelerate.
    """
    try:
        from transformers import Trainer, TrainingArguments
        from transformers.utils import is_accelerate_available
    except ImportError as error:
        raise NotHere(f"transformers.Trainer cannot be imported ({error})") from error
    if not is_accelerate_available():
        raise NotHere("transformers.Trainer needs the package accelerate")
    arguments = TrainingArguments(
        output_dir=str(settings.work / name),
        per_device_train_batch_size=size,
        per_device_eval_batch_size=settings.their_batch,
        gradient_accumulation_steps=max(1, settings.batch // size),
        max_steps=settings.warm_up + updates,
        learning_rate=LR,
        lr_scheduler_type="cosine",
        weight_decay=0.0,
        max_grad_norm=0.0,
        seed=0,
        bf16=True,
        use_cpu=settings.device == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=settings.device != "cpu",
    )

    def collate(batch: list[tuple[Any, int]]) -> dict[str, Any]:
        import torch

        ids, mask = padded([row for row, _ in batch], "right")
        return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([label for _, label in batch])}

    return lambda data, callbacks=(): Trainer(
        model, arguments, train_dataset=data, data_collator=collate, callbacks=list(callbacks)
    )


def pairs(rows: Rows) -> list[tuple[Any, int]]:
    """The rows as Trainer's data: token ids and label."""
    return list(zip(rows.tokens.ids, rows.labels.tolist(), strict=True))


def _trained(make: Any, rows: Rows, settings: Settings, updates: int, size: int) -> Learned:
    """The clock runs from the end of the last warm-up update to the end of the training."""
    import torch
    from transformers import TrainerCallback

    started = [0.0]

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
            if state.global_step == settings.warm_up:
                wait(settings)
                started[0] = time.monotonic()

    count = (settings.warm_up + updates) * settings.batch
    data = pairs(rows)[:count]
    made = make(data, [Clock()])
    made._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(data)
    made.train()
    wait(settings)
    seconds = time.monotonic() - started[0]
    batches = [list(range(settings.warm_up * settings.batch, count))]
    return Learned(seconds, _tokens(rows, batches), f"padded, {size} rows in a micro-batch")


def _tokens(rows: Rows, batches: list[list[int]]) -> int:
    """Real tokens of some batches."""
    return int(sum(rows.tokens.lengths[batch].sum() for batch in batches))
