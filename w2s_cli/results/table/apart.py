"""What tells settings apart: the fields of a configuration that can change a result, and the fewest that a table needs.

* A configuration says more than a method uses. Blocks that the entry says nothing of (`ensemble` of a method without one is null there),
  values of options that are off (lora_r in full fine-tuning), and names, sources and machine settings change no result; they never make a
  setting. Copies of other blocks in `method.stages` are looked at last.
* "others" in a table stands for the fields in which settings of one cell would differ, besides models and data, over whose pairs a median
  is meant: fields of the results first, then dotted fields of the configurations, each the one that separates most.
* Where another row or column field says the loss, "setting" leaves it out, so that losses of one setting stand in one row.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from w2s_cli.results.runs import setting as setting_text
from w2s_cli.results.table.entries import Entry, said, value_of

OTHERS = "others"
POOLED = ("weak", "strong", "data")  # over which a median is meant
NOT_SETTINGS = (
    *("seed", "seeds", "launcher", "outputs", "keep_weights", "bootstrap", "confidence", "pretrain"),
    "pairs",  # which pairs of models a sweep has
)
SILENT = (  # fields at any depth that say something and set nothing, or only how fast it goes
    *("name", "label", "warning", "source", "licence", "lr_source", "expected", "parameters"),
    *("trust_remote_code", "gradient_checkpointing"),
)
OF_ALL = ("data.", "weak.", "strong.", "student.", "ceiling.", "train.")  # what every method reads
EXPLAINED = ("train.mode", "train.labels", "train.head", "train.lora", "train.sharpening")  # by fields of the results
KINDS = ("few_shot", "generative")  # blocks that only stages of these kinds read


def unused(entry: Entry) -> set[str]:
    """The top-level blocks that its results.json says its method has no use for."""
    return {name for name, value in entry.fields.items() if value is None and name not in POOLED}


def effective(entry: Entry) -> dict[str, str]:
    """Dotted field → value, of everything in an entry's configuration that can change its result; the method's stages last."""
    config = entry.config
    stages = (config.get("method") or {}).get("stages") or {}
    kinds = {stage.get("kind") for stage in stages.values() if isinstance(stage, dict)}
    left = {*NOT_SETTINGS, *unused(entry), *(kind for kind in KINDS if kind not in kinds), "method"}
    train = config.get("train") or {}
    off = [
        *(["train.head"] if not (train.get("head") or {}).get("tokens") else []),
        *(["train.lora_r", "train.lora_alpha"] if train.get("mode") != "lora" else []),
        *(["train.sharpening"] if train.get("labels") != "sharpened" else []),
        *(["weak"] if (config.get("labels") or {}).get("source") == "file" else []),
    ]
    blocks = {name: value for name, value in config.items() if name not in left}
    found = {}
    for name, value in [*leaves(blocks), *leaves({"method": config.get("method")})]:
        if any(name == one or name.startswith(f"{one}.") for one in off):
            continue
        if not set(name.split(".")[1 if name.startswith("method.stages.") else 0 :]) & set(SILENT):
            found[name] = said(value)
    return found


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything in nested dictionaries and lists of dictionaries (`ladder.0.lr`)."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        yield name, value
        return
    for key, item in value.items():
        yield from leaves(item, f"{name}.{key}" if name else str(key))


def shown(entry: Entry, name: str, asked: Sequence[str]) -> str:
    """A field's value in a table that has the fields `asked`."""
    if name != "setting" or "loss" not in asked:
        return said(value_of(entry, name))
    first, *words = setting_text(entry.fields).split(", ")
    if entry.fields["loss"] in words:
        words.remove(entry.fields["loss"])
    return ", ".join([first, *words])


def others(entries: Sequence[Entry], asked: Sequence[str]) -> list[str]:
    """The fields besides `asked` that tell apart entries of equal models and data, as few as do."""
    named = [name for name in dict.fromkeys([*POOLED, *asked]) if name != OTHERS]
    groups = _split([list(entries)], lambda entry: tuple(shown(entry, name, named) for name in named))
    known = dict.fromkeys(name for entry in entries for name in entry.fields if name not in named)
    found, groups = _needed(groups, {id(e): {n: said(e.fields.get(n)) for n in known} for g in groups for e in g})
    if groups:
        values = {id(entry): effective(entry) for group in groups for entry in group}
        # a field that the results speak of in words of their own (`loss`, `combine`) has been looked at
        more, _ = _needed(groups, values)
        found += more
    return found


def varying(entries: Sequence[Entry]) -> list[str]:
    """The dotted fields of the configurations that differ between entries of equal models and data and that no field of theirs explains.

    The arguments of a loss or rule come with its name; they count only between entries of one name.
    """

    def pair(entry: Entry) -> tuple[str, ...]:
        return tuple(said(value_of(entry, name)) for name in POOLED)

    found: dict[str, None] = {}
    for key, blocks in ((pair, OF_ALL), (lambda entry: str(entry.fields), None)):
        for group in _split([list(entries)], key):
            values = [effective(one) for one in {(entry.run.folder, entry.job): entry for entry in group}.values()]
            names = dict.fromkeys(name for one in values for name in one if not name.startswith("method."))
            found |= {
                name: None
                for name in names
                if (blocks is None or (name.startswith(blocks) and not name.startswith(EXPLAINED)))
                and len({one.get(name, "-") for one in values}) > 1
            }
    return list(found)


def _needed(groups: list[list[Entry]], values: dict[int, dict[str, str]]) -> tuple[list[str], list[list[Entry]]]:
    """(fields that split the groups, the groups that are left with several entries)."""
    found: list[str] = []
    names = list(dict.fromkeys(name for group in groups for entry in group for name in values[id(entry)]))
    for tier in (False, True):  # the method's copies of other blocks come last
        while groups:
            gains = {
                name: sum(len({values[id(entry)].get(name, "-") for entry in group}) - 1 for group in groups)
                for name in names
                if name.startswith("method.") is tier
            }
            best = max(gains, key=lambda name: gains[name], default=None)
            if best is None or not gains[best]:
                break
            found.append(best)
            groups = _split(groups, lambda entry, best=best: values[id(entry)].get(best, "-"))  # type: ignore[misc]
    return found, groups


def _split(groups: Iterable[list[Entry]], key: Any) -> list[list[Entry]]:
    """The groups divided by a key; those of one entry are done and left out."""
    parts: list[dict[Any, list[Entry]]] = []
    for group in groups:
        divided: dict[Any, list[Entry]] = {}
        for entry in group:
            divided.setdefault(key(entry), []).append(entry)
        parts.append(divided)
    return [group for divided in parts for group in divided.values() if len(group) > 1]
