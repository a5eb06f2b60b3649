"""The memory that w2s expects a training to take, before it starts; and whether all weights, or adapters only, fit the card.

The estimate is that of plans, `pipeline/memory.py`.
"""

from typing import NamedTuple

from scripts.gpu_checks.learning import ADAPTERS
from scripts.gpu_checks.settings import NotHere, Settings
from scripts.gpu_checks.shapes import classifier
from w2s_cli.pipeline import memory
from w2s_cli.pipeline.shapes import read_shape

GIB = 1 << 30
ROOM = 0.9  # of a card's memory
FORWARD_BYTES = 8  # of a parameter where nothing is trained


class Fitting(NamedTuple):
    """A training that fits."""

    mode: str  # full or lora
    micro_tokens: int


def expected(settings: Settings, shape: str, mode: str, micro_tokens: int, *, checkpointing: bool = False) -> float:
    """Bytes of a training of a classifier of this shape in bf16, mode full or lora, the process and its libraries included."""
    on_meta = classifier(settings.on("meta"), shape)
    gpu = settings.device != "cpu"
    setup = memory.Setup(
        trains=True,
        adapters=ADAPTERS["r"] if mode == "lora" else 0,
        precision="bf16",
        checkpointing=checkpointing,
        tokens=micro_tokens if gpu else min(micro_tokens, memory.PACKED),
        row=settings.max_length,
        gpu=gpu,
    )
    read = read_shape(on_meta.config.to_dict())
    assert read is not None  # a shape of a known architecture
    return memory.need(read, setup).total


def that_fits(settings: Settings, shape: str) -> Fitting:
    """All weights, else adapters, else adapters with smaller micro-batches: the first training that fits the device.

    Raises:
        NotHere: none fits.
    """
    import torch

    whole = settings.micro_tokens
    if settings.device == "cpu":
        return Fitting("full", whole)
    most = ROOM * torch.cuda.mem_get_info()[0]
    ways = [Fitting("full", whole), *(Fitting("lora", whole // part) for part in (1, 2, 4))]
    needs = [expected(settings, shape, *way) for way in ways]
    for way, bytes_ in zip(ways, needs, strict=True):
        if bytes_ <= most:
            return way
    raise NotHere(
        f"adapters of {settings.models[shape]} need about {needs[-1] / GIB:.0f} GiB, {most / GIB:.0f} are to be had"
    )


def need_room(settings: Settings, shape: str) -> None:
    """Refuse a device without room for the weights in fp32, a copy in bf16 and as much again for a pass.

    Raises:
        NotHere: so much is not to be had.
    """
    import torch

    if settings.device == "cpu":
        return
    needed = FORWARD_BYTES * sum(weight.numel() for weight in classifier(settings.on("meta"), shape).parameters())
    free = torch.cuda.mem_get_info()[0]
    if needed > free:
        raise NotHere(
            f"{settings.models[shape]} needs about {needed / GIB:.0f} GiB in fp32, {free / GIB:.0f} are to be had"
        )
