"""Labelling: tokens a second of a forward pass over a pool, against transformers.Trainer's predictions.

The label stage's pass over token rows and `Trainer.predict`, the same weights and rows, in bf16. Their probabilities are compared too.
"""

import time
from dataclasses import replace

from scripts.benchmarks.records import Record, record
from scripts.gpu_checks import learning, peaks, shapes
from scripts.gpu_checks.estimate import need_room
from scripts.gpu_checks.rows import Rows, rows
from scripts.gpu_checks.settings import LARGE, SMALL, NotHere, Settings, Turn

RUNS = {SMALL: Turn(6, 20), LARGE: Turn(13, 35)}
FASTER = 1.0
APART = 0.05  # of probabilities, mean over the rows: rounding in bf16


def run(settings: Settings, shape: str) -> list[Record]:
    import torch

    from w2s_cli.training.device import pick_device
    from w2s_cli.training.models.forward_pass import layout_for, logits, reader

    pick_device({"device": settings.device}, "bf16")
    need_room(settings, shape)
    model = shapes.classifier(settings, shape).eval()
    torch.nn.init.normal_(model.score.weight, std=model.config.initializer_range)  # a head of zeros has one answer
    weights = shapes.matrix_weights(model)
    material = rows(settings, settings.amounts[shape].label_rows)
    tokens, part = int(material.tokens.lengths.sum()), f"labelling {shape}"
    name = settings.models[shape]
    ctx = learning.context(settings, f"labels-{shape}")
    read = reader(model, material.tokens, "bf16", ctx, logits)
    read(0, min(settings.their_batch, len(material.labels)))  # kernels are chosen
    learning.wait(settings)
    started = time.monotonic()
    mine = read(0, len(material.labels))
    rate = tokens / (time.monotonic() - started)
    with torch.no_grad():  # as `reader` asked
        lies = learning.how(model, layout_for(model, material.tokens, "bf16"))
    peak, where = peaks.peak(settings)
    records = [
        record(part, f"{name}, w2s", [rate], "tokens/s", note=lies),
        record(part, f"{name}, w2s: share of the peak", [peaks.FORWARD * weights * rate / peak], "share", note=where),
    ]
    try:
        make = learning.trainer(model, settings, f"predictions-{shape}", 1)
    except NotHere as error:
        return [*records[:-1], replace(records[-1], note=f"{where}; not compared: {error}")]
    made = make(None)
    few = Rows(material.tokens.part(0, settings.their_batch), material.labels[: settings.their_batch])
    made.predict(learning.pairs(few))  # as above
    learning.wait(settings)
    started = time.monotonic()
    predicted = made.predict(learning.pairs(material)).predictions
    their_rate = tokens / (time.monotonic() - started)
    p, other = (torch.from_numpy(values).float().softmax(-1) for values in (mine, predicted))
    return [
        *records,
        record(part, f"{name}, Trainer", [their_rate], "tokens/s", note=f"batches of {settings.their_batch}, padded"),
        record(part, f"{name}: times Trainer's tokens a second", [rate / their_rate], "×",
               target=settings.aim(FASTER)),
        record(part, f"{name}: mean difference of a probability from Trainer's", [float((p - other).abs().mean())],
               "of 1", better="less", target=APART),
    ]  # fmt: skip
