"""Which fields tell settings apart, and the fewest of them that a table needs.

* Settings are told apart by their family (see `pipeline.families`), which the command wrote down; this file only finds words for it.
* The words come from the results themselves: first their fields (method, loss, ladder, …), then what somebody wrote on a command line
  (strong.lr=1e-4), then the fields in which configurations differ (a YAML file that was edited between two runs).
* "others" in a table stands for the fields in which settings of one cell would differ, besides models and data, over whose pairs a median
  is meant: each the one that separates most.
* Where another row or column field says the loss, "setting" leaves it out, so that losses of one setting stand in one row.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence

from w2s_cli.results import fields
from w2s_cli.results.fields import POOLED, leaves, shown, value_of, words_of
from w2s_cli.results.reader import Entry

OTHERS = "others"
NOT_SETTINGS = (  # blocks on which no figure depends, or the seeds, or which pairs of models a sweep has
    *("seed", "seeds", "launcher", "outputs", "keep_weights", "bootstrap", "confidence", "pairs"),
)
OF_ALL = ("data.", "weak.", "strong.", "student.", "ceiling.", "train.")  # fields of blocks that every method reads
EXPLAINED = ("train.mode", "train.labels", "train.head", "train.lora", "train.sharpening")  # by fields of the results
Values = dict[str, str]  # field → value as a table shows it


def shown_in(entry: Entry, name: str, asked: Sequence[str]) -> str:
    """A field's value in a table that has the fields `asked`."""
    if name != "setting" or "loss" not in asked:
        return shown(value_of(entry, name))
    first, *words = fields.setting(entry.fields).split(", ")
    if entry.fields["loss"] in words:
        words.remove(entry.fields["loss"])
    return ", ".join([first, *words])


def others(entries: Sequence[Entry], asked: Sequence[str]) -> list[str]:
    """The fields besides `asked` that tell apart entries of equal models and data, as few as do."""
    named = [name for name in dict.fromkeys([*POOLED, *asked]) if name != OTHERS]
    groups = split([list(entries)], lambda entry: tuple(shown_in(entry, name, named) for name in named))
    needed: list[str] = []
    for describe in (_own_fields, _command_line, _configurations):
        groups = [group for group in groups if len({entry.family for entry in group}) > 1 or describe is _own_fields]
        more, groups = _needed(
            groups, {id(e): v for group in groups for e, v in zip(group, describe(group), strict=True)}
        )
        needed += [name for name in more if name not in named]
    return needed


def differing(entries: Sequence[Entry]) -> dict[str, set[str]]:
    """Field → its values, of what differs between the families of entries of equal fields; a method's stages only if nothing else does."""
    if len({entry.family for entry in entries}) < 2:
        return {}
    for describe in (_command_line, _configurations):
        values = describe(entries)
        names = dict.fromkeys(name for one in values for name in one)
        varied = {name: seen for name in names if len(seen := {one.get(name, "-") for one in values}) > 1}
        if varied:
            return {name: seen for name, seen in varied.items() if not name.startswith("method.")} or varied
    return {}


def varying(entries: Sequence[Entry]) -> list[str]:
    """The dotted fields of the configurations in which entries of equal models and data differ, and that no field of theirs explains.

    The arguments of a loss or rule come with its name; they count only between entries of equal fields.
    """
    names: dict[str, None] = {}
    for group in split([list(entries)], lambda entry: tuple(shown(value_of(entry, name)) for name in POOLED)):
        values = _command_line(group)
        for name in values[0]:
            if name.startswith(OF_ALL) and not name.startswith(EXPLAINED) and len({one[name] for one in values}) > 1:
                names[name] = None
    for group in split([list(entries)], lambda entry: str(entry.fields)):
        names |= dict.fromkeys(differing(group))
    return [name for name in names if not name.startswith("method.")]


def _own_fields(entries: Sequence[Entry]) -> list[Values]:
    """The fields of the results."""
    names = dict.fromkeys(name for entry in entries for name in entry.fields)
    return [{name: shown(entry.fields.get(name)) for name in names} for entry in entries]


def _command_line(entries: Sequence[Entry]) -> list[Values]:
    """What some command line sets, and the value of it that each entry has, by its command line or not."""
    names = dict.fromkeys(name for entry in entries for name in words_of(entry) if _is_setting(name))
    named = [name for name in names if any(name not in entry.fields for entry in entries)]
    return [{name: shown(value_of(entry, name)) for name in named} for entry in entries]


def _configurations(entries: Sequence[Entry]) -> list[Values]:
    """Every field of the configurations; a method's stages, which repeat other blocks, last."""
    listed = []
    for entry in entries:
        blocks = {name: value for name, value in entry.config.items() if _is_setting(name)}
        method = {"method": blocks.pop("method", None)}
        listed.append({name: shown(value) for name, value in [*leaves(blocks), *leaves(method)]})
    return listed


def _is_setting(name: str) -> bool:
    return name.partition(".")[0] not in NOT_SETTINGS


def _needed(groups: list[list[Entry]], values: dict[int, Values]) -> tuple[list[str], list[list[Entry]]]:
    """(fields that split the groups, the groups that are left with several entries)."""
    needed: list[str] = []
    names = list(dict.fromkeys(name for group in groups for entry in group for name in values[id(entry)]))
    for of_stages in (False, True):  # what a method's stages repeat comes last
        while groups:
            gains = {
                name: sum(len({values[id(entry)].get(name, "-") for entry in group}) - 1 for group in groups)
                for name in names
                if name.startswith("method.") is of_stages
            }
            best = max(gains, key=lambda name: gains[name], default=None)
            if best is None or not gains[best]:
                break
            needed.append(best)
            groups = split(groups, lambda entry, best=best: values[id(entry)].get(best, "-"))  # type: ignore[misc]
    return needed, groups


def split(groups: Iterable[list[Entry]], key: Callable[[Entry], Hashable]) -> list[list[Entry]]:
    """The groups divided by a key; those of one entry are done and left out."""
    parts: list[dict[Hashable, list[Entry]]] = []
    for group in groups:
        divided: dict[Hashable, list[Entry]] = {}
        for entry in group:
            divided.setdefault(key(entry), []).append(entry)
        parts.append(divided)
    return [group for divided in parts for group in divided.values() if len(group) > 1]
