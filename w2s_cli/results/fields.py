"""The fields of a result by name: of its entry in results.json, or of its configuration by the dotted name ("strong.lr").

No list of fields is kept: every field of an entry can be a row, a column or a filter.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.results.reader import Entry

POOLED = ("weak", "strong", "data")  # fields over which a table takes a median


def value_of(entry: Entry, name: str) -> Any:
    """A field's value; None if the entry lacks the field."""
    if name in entry.fields:
        return entry.fields[name]
    if name == "seed" and len(entry.seeds) == 1:
        return entry.seeds[0]
    if name == "setting":
        return setting(entry.fields)
    value: Any = entry.config
    for part in name.split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):  # a model of a ladder
            value = value[int(part)]
            continue
        if not isinstance(value, dict) or part not in value:
            return words_of(entry).get(name)  # a word such as debug=tiny, which sets other fields
        value = value[part]
    return value["name"] if isinstance(value, dict) and "name" in value else value


def words_of(entry: Entry) -> dict[str, str]:
    """Option or field → its value on the command line of an entry's job."""
    parts = (word.lstrip("+~").partition("=") for word in entry.words)
    return {name: value for name, _, value in parts}


def check_field(entries: Sequence[Entry], name: str) -> None:
    """Refuse (UserError) a field that no entry and no configuration has."""
    if name in ("seed", "setting") or any(name in entry.fields for entry in entries):
        return
    jobs = {(entry.run.folder, entry.job): entry for entry in entries}
    if any(name in words_of(entry) or _has(entry.config, name.split(".")) for entry in jobs.values()):
        return
    names = {field for entry in entries for field in entry.fields}
    dotted = {field for entry in entries[:1] for field, _ in flatten(entry.config) if not field.startswith("method.")}
    hint = did_you_mean(name, dotted if "." in name else names)
    raise UserError(
        f'no result has a field "{name}".{hint} Fields of a configuration have dotted names, such as strong.lr.'
    )


def _has(value: Any, parts: Sequence[str]) -> bool:
    for part in parts:
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(dotted name, value) of all values in nested dictionaries; an empty dictionary is a value."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """As `flatten`, but also inside lists of dictionaries (`ladder.0.lr`)."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        yield name, value
        return
    for key, item in value.items():
        yield from leaves(item, f"{name}.{key}" if name else str(key))


def spelled(text: str) -> str:
    """A value of the command line in the form of `shown`: 1e-5 and 0.00001 are one number."""
    number = re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", text, flags=re.IGNORECASE)
    return f"{float(text):g}" if number else text


def shown(value: Any) -> str:
    """A field's value in a table: text unchanged, numbers short, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(shown(item) for item in value)
    return str(value)


def setting(fields: Mapping[str, Any]) -> str:
    """'ensemble 4 dawid_skene, xent, control random_labels': method with its lists and rule, loss, and other fields without their default.

    Rounds are named unless they have the configuration's default: 'co_supervised 3 rounds 4, xent'.
    """
    from w2s_cli.config.schema import Config

    of = defaultdict(lambda: None, fields)  # results.json may lack fields that a method does not use
    ladder = ">".join(of["ladder"]) if of["ladder"] else None
    members = of["ensemble"] if isinstance(of["ensemble"], int | None) else "+".join(of["ensemble"])
    numbers = [str(value) for value in (ladder, members, of["combine"], of["select"]) if value is not None]
    if of["rounds"] not in (None, Config.rounds):
        numbers.append(f"rounds {of['rounds']}")
    words = [" ".join([str(of["method"]), *numbers]), str(of["loss"])]
    if of["train"] not in (None, "full"):
        words.append(of["train"])
    if of["labels"] not in (None, "soft"):
        words.append(f"{of['labels']} labels")
    if of["head"]:
        words.append("token head")
    words += [f"{name} {of[name]}" for name in ("control", "stopping") if of[name]]
    return ", ".join([*words, of["evaluates"]] if of["evaluates"] not in (None, "pgr", of["method"]) else words)
