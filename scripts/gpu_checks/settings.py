"""How large the checks are: `full` for a GPU, `tiny` for the test of the checks on a CPU.

* A check runs on a shape: `small` and `large` are models with random weights, `bundled` is a bundled model with its weights.
* Speed has targets at full size on a GPU only: in less work, starts weigh more.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

BUNDLED, SMALL, LARGE = "bundled", "small", "large"


class NotHere(Exception):  # noqa: N818 - no error: this machine cannot have the check
    """The check needs something that this machine lacks; the message says what."""


@dataclass(frozen=True)
class Turn:
    """When a check runs, and for how long."""

    place: int  # in the order of all checks: the most telling come first
    seconds: float  # of the full size on an H200; reasoned from its rates, not measured


@dataclass(frozen=True)
class Amount:
    """How much work a shape gets."""

    updates: int  # of a training, measured
    label_rows: int
    prompts: int
    new_tokens: int


@dataclass(frozen=True)
class Settings:
    """Sizes, the device, and where to work."""

    size: str
    work: Path  # scratch folder
    device: str = "cuda"
    start: str = "forkserver"  # how a check's process starts, of multiprocessing: forkserver, or spawn where copies cannot have the GPU
    bundled: str = "wordnet-l"
    models: dict[str, str] = field(default_factory=lambda: {SMALL: "qwen2.5-0.5b", LARGE: "llama-2-7b"})  # of shapes.py
    amounts: dict[str, Amount] = field(
        default_factory=lambda: {SMALL: Amount(20, 640, 64, 64), LARGE: Amount(6, 192, 32, 48)}
    )
    mean_tokens: int = 230  # of a row
    max_length: int = 512
    prompt_tokens: int = 120  # most of a prompt
    batch: int = 32
    warm_up: int = 2  # updates before the clock starts
    micro_tokens: int = 8192  # the launcher's defaults (config/launching.py)
    eval_tokens: int = 32768
    their_batch: int = 32  # rows in a batch of transformers' predictions and of `generate`
    stage_rows: int = 384  # of the stages on the bundled model
    compared_rows: int = 16  # through the packed and the padded forward pass
    kill_after: int = 4  # updates
    matmul: int = 8192  # side of the square product that measures a card's peak

    @property
    def copies(self) -> str:
        """How a check starts further processes, of multiprocessing."""
        return "fork" if self.start == "forkserver" else "spawn"

    @property
    def timed(self) -> bool:
        """Whether the speeds mean something."""
        return self.size == "full" and self.device != "cpu"

    @property
    def most_rows(self) -> int:
        """Rows of the largest check."""
        learned = max(amount.updates for amount in self.amounts.values()) + self.warm_up
        read = [max(amount.label_rows, amount.prompts) for amount in self.amounts.values()]
        return max(learned * self.batch, self.compared_rows, *read)

    def aim(self, target: float) -> float | None:
        """The target of a speed, where speeds mean something."""
        return target if self.timed else None

    def on(self, device: str) -> "Settings":
        """The same on another device."""
        return replace(self, device=device)


def full(work: Path) -> Settings:
    """On a GPU."""
    return Settings("full", work)


def tiny(work: Path) -> Settings:
    """Seconds on a CPU: shows that the checks work; its figures mean nothing."""
    return Settings(
        "tiny",
        work,
        bundled="wordnet-xs",
        models={SMALL: "qwen2-tiny", LARGE: "llama-tiny"},
        amounts=dict.fromkeys((SMALL, LARGE), Amount(2, 12, 5, 6)),
        mean_tokens=24,
        max_length=64,
        prompt_tokens=16,
        batch=4,
        warm_up=1,
        micro_tokens=256,
        eval_tokens=512,
        their_batch=4,
        stage_rows=40,
        compared_rows=6,
        kill_after=2,
        matmul=256,
    )


SIZES = {"full": full, "tiny": tiny}
