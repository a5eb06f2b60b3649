"""The fields that distinguish settings, and the fewest of them for a table.

* Settings are distinct if their families are (see `pipeline.families`), which the command recorded; this file only chooses words for it.
* The words come from the results: first their fields (method, loss, ladder, …), then the words of command lines (strong.lr=1e-4), then
  the different fields of configurations (a YAML file that was edited between two runs).
* "others" in a table stands for the fields in which settings of one cell would differ, chosen greedily by the number of settings that
  they separate. Models and data are not among them, since a median is over their pairs.
* If the loss is a row or column field of its own, "setting" omits it, so that all losses of one setting are in one row.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence

from w2s_cli.results import fields
from w2s_cli.results.fields import POOLED, leaves, shown, value_of, words_of
from w2s_cli.results.reader import Entry

OTHERS = "others"
NOT_SETTINGS = (  # groups without effect on a figure, the seeds, and the pairs of a sweep
    *("seed", "seeds", "launcher", "tracker", "outputs", "keep_weights", "remotes", "bootstrap", "confidence", "pairs"),
    "search",
)
OF_ALL = ("data.", "weak.", "strong.", "student.", "ceiling.", "train.")  # fields of groups that every method reads
# stated by fields of the results
EXPLAINED = ("train.mode", "train.labels", "train.head", "train.lora", "train.sharpening")
Values = dict[str, str]  # field → its value in a table


def shown_in(entry: Entry, name: str, table_fields: Sequence[str]) -> str:
    """A field's value in a table with the fields `table_fields`."""
    if name != "setting" or "loss" not in table_fields:
        return shown(value_of(entry, name))
    first, *words = fields.setting(entry.fields).split(", ")
    if entry.fields["loss"] in words:
        words.remove(entry.fields["loss"])
    return ", ".join([first, *words])


def others(entries: Sequence[Entry], table_fields: Sequence[str]) -> list[str]:
    """The fewest fields besides `table_fields` that distinguish entries of equal models and data."""
    fields_of_table = [name for name in dict.fromkeys([*POOLED, *table_fields]) if name != OTHERS]
    groups = split(
        [list(entries)], lambda entry: tuple(shown_in(entry, name, fields_of_table) for name in fields_of_table)
    )
    needed: list[str] = []
    for describe in (_own_fields, _command_line, _configurations):
        groups = [group for group in groups if len({entry.family for entry in group}) > 1 or describe is _own_fields]
        added, groups = _needed(
            groups, {id(e): v for group in groups for e, v in zip(group, describe(group), strict=True)}
        )
        needed += [name for name in added if name not in fields_of_table]
    return needed


def differing(entries: Sequence[Entry]) -> dict[str, set[str]]:
    """Field → its values, for the fields that differ between families of entries; a method's stages only if no other field differs."""
    if len({entry.family for entry in entries}) < 2:
        return {}
    for describe in (_command_line, _configurations):
        if varied := _varied(describe(entries)):
            return {name: seen for name, seen in varied.items() if not name.startswith("method.")} or varied
    return {}


def varying(entries: Sequence[Entry]) -> list[str]:
    """The dotted fields of configurations that differ between entries of equal models and data, unless a field of the results states them.

    The arguments of a loss or rule belong to its name; they count only between entries of equal fields.
    """
    names: dict[str, None] = {}
    for group in split([list(entries)], lambda entry: tuple(shown(value_of(entry, name)) for name in POOLED)):
        varied = _varied(_command_line(group))
        names |= dict.fromkeys(n for n in varied if n.startswith(OF_ALL) and not n.startswith(EXPLAINED))
    for group in split([list(entries)], lambda entry: str(entry.fields)):
        names |= dict.fromkeys(differing(group))
    return [name for name in names if not name.startswith("method.")]


def _varied(described: Sequence[Values]) -> dict[str, set[str]]:
    """Field → its values, for the fields with several; an absent field has the value "-"."""
    names = dict.fromkeys(name for values in described for name in values)
    distinct = {name: {values.get(name, "-") for values in described} for name in names}
    return {name: seen for name, seen in distinct.items() if len(seen) > 1}


def _own_fields(entries: Sequence[Entry]) -> list[Values]:
    """The fields of the results."""
    names = dict.fromkeys(name for entry in entries for name in entry.fields)
    return [{name: shown(entry.fields.get(name)) for name in names} for entry in entries]


def _command_line(entries: Sequence[Entry]) -> list[Values]:
    """The fields that any of the command lines sets, with their values for each entry; of a group (data.limits={…}), its fields."""
    names = dict.fromkeys(name for entry in entries for name in words_of(entry) if _is_setting(name))
    named = [name for name in names if any(name not in entry.fields for entry in entries)]
    return [
        {leaf: shown(value) for name in named for leaf, value in leaves(value_of(entry, name), name)}
        for entry in entries
    ]


def _configurations(entries: Sequence[Entry]) -> list[Values]:
    """All fields of the configurations; last a method's stages, which repeat other groups."""
    described = []
    for entry in entries:
        blocks = {name: value for name, value in entry.config.items() if _is_setting(name)}
        method = {"method": blocks.pop("method", None)}
        described.append({name: shown(value) for name, value in [*leaves(blocks), *leaves(method)]})
    return described


def _is_setting(name: str) -> bool:
    return name.partition(".")[0] not in NOT_SETTINGS


def _needed(groups: list[list[Entry]], values: dict[int, Values]) -> tuple[list[str], list[list[Entry]]]:
    """(fields that split the groups, the remaining groups with several entries)."""
    needed: list[str] = []
    names = list(dict.fromkeys(name for group in groups for entry in group for name in values[id(entry)]))
    for of_stages in (False, True):  # a method's stages repeat other groups, so they come last
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
    """The groups divided by a key, without groups of one entry."""
    parts: list[dict[Hashable, list[Entry]]] = []
    for group in groups:
        divided: dict[Hashable, list[Entry]] = {}
        for entry in group:
            divided.setdefault(key(entry), []).append(entry)
        parts.append(divided)
    return [group for divided in parts for group in divided.values() if len(group) > 1]
