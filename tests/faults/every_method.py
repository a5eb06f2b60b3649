"""The words of the smallest run of each method of configs/method/, on the bundled models and data; the list of methods is the folder."""

from tests import small_texts
from tests.conftest import ROOT

LIMITS = [f"data.limits.{pool}=40" for pool in ("weak_train", "strong_train", "test")]
CLASSES = ["weak=wordnet-xs", "strong=wordnet-s", "train.epochs=1", "weak.batch_size=8", "strong.batch_size=8"]
TEXTS = [
    *("data=arithmetic", "weak=arithmetic-xs", "strong=arithmetic-s", "tune.epochs=1"),
    *("weak.batch_size=8", "strong.batch_size=8"),
]
# of methods that need a model with some right answers
LEARNED = [
    *("weak=arithmetic-s", "strong=arithmetic-l", "tune.epochs=2", "weak.batch_size=32", "strong.batch_size=32"),
    *("data.limits.weak_train=300", "data.limits.strong_train=64", "data.limits.test=24"),
]
PAIRS = ["preference.epochs=1"]
POOLS = "data.pools={test: 0.2, weak_train: 0.3, weak_val: 0.1, strong_val: 0.1, strong_train: 0.3}"
SELECTION = ["select=confidence", "select.args.share=0.5", "select.args.threshold=null"]
OWN: dict[str, list[str]] = {  # what a method needs beside the words of its group
    "abstention": SELECTION,
    "bootstrapping": ["ladder=[wordnet-m]"],
    "co_supervised": ["ensemble=2", "rounds=1"],
    "delta_learning": ["ladder=[arithmetic-l]", "data.limits.weak_val=16", *PAIRS],
    "ensemble": ["ensemble=2"],
    "ensemw2s": ["ensemble=2"],
    "few_shot": ['few_shot.tokens=[" object"," living"]', "few_shot.shots=2"],
    "few_shot_text": ["generation.shots=2"],
    "lbt": ["data.limits.weak_val=48", *PAIRS],
    "selection": SELECTION,
    "spin": ["rounds=2", *PAIRS],
    "strong_to_strong": ["rounds=1"],
    "w2s_reasoning": LEARNED,
    "w2s_reasoning_pairs": [*LEARNED, *PAIRS],
    "w2sr": LEARNED,
    "weighted_ensemble": ["ensemble=2", POOLS],
}
ALONE = {  # methods without data sets or without a weak supervisor
    "delta_theory": [],
    "misfit_gain": [],
    "pretrain": ["pretrain=wordnet-xs", "pretrain.epochs=0.02", "pretrain.batch_entries=16"],
    "zero_shot": ["data=arithmetic", "strong=arithmetic-s", "data.limits.test=40"],
}


def names() -> list[str]:
    """All methods."""
    return sorted(path.stem for path in (ROOT / "configs" / "method").glob("*.yaml"))


def words(name: str) -> list[str]:
    """The command line of the method's smallest run, from the command on."""
    if name in ALONE:
        return ["pretrain", *ALONE[name]] if name == "pretrain" else ["train", f"method={name}", *ALONE[name]]
    group = TEXTS if name in small_texts.methods() or "naive_text" in _base(name) else CLASSES
    own = OWN.get(name, [])
    replaced = {word.partition("=")[0] for word in own}
    shared = [word for word in (*group, *LIMITS, "bootstrap=200") if word.partition("=")[0] not in replaced]
    return ["train", f"method={name}", *shared, *own]


def _base(name: str) -> str:
    """The line that names a method's base; "" without one."""
    lines = (ROOT / "configs" / "method" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return next((line for line in lines if line.startswith("base:")), "")
