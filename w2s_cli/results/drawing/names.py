"""The names of results in figures and reports: their common fields are the title, their different fields the name of each."""

from collections.abc import Sequence

from w2s_cli.results.reader import Entry

SETTINGS = ("method", "loss", "train", "seeds")


def word_of(entry: Entry, name: str) -> str:
    """A field of an entry in words."""
    if name == "stage":
        return str(entry.fields.get("evaluates") or entry.stage)  # a summary is named after what it sums up
    if name != "seeds":
        return str(entry.fields.get(name, ""))
    seeds = entry.seeds
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def differs(entries: Sequence[Entry], name: str) -> bool:
    """Whether the entries differ in a field."""
    return len({word_of(entry, name) for entry in entries}) > 1


def heading(entries: Sequence[Entry]) -> str:
    """The common fields of the entries, and their numbers of models and data sets: '3 weak → 2 strong models on sciq (naive, seed 0)'."""
    shared = {
        name: "" if differs(entries, name) else word_of(entries[0], name)
        for name in ("weak", "strong", "data", *SETTINGS)
    }
    count = {name: len({word_of(entry, name) for entry in entries}) for name in shared}
    weak = shared["weak"] or f"{count['weak']} weak{' models' if shared['strong'] else ''}"
    strong = shared["strong"] or f"{count['strong']} strong models"
    words = [shared[name] for name in SETTINGS if shared[name] not in ("", "full")]
    data = shared["data"] or f"{count['data']} data sets"
    return f"{weak} → {strong} on {data}" + (f" ({', '.join(words)})" if words else "")


def group_names(entries: Sequence[Entry]) -> list[str]:
    """The name of each entry by its different fields: models, data, method, loss, mode, seeds; with its key if these are equal."""
    differing = [name for name in ("data", *SETTINGS, "stage") if differs(entries, name)]
    pair = [name for name in ("weak", "strong") if differs(entries, name)]
    names = [
        ", ".join([" → ".join(e.fields[name] for name in pair)] * bool(pair) + [word_of(e, name) for name in differing])
        for e in entries
    ]
    return [
        name if names.count(name) == 1 else f"{name} {entry.key}".lstrip()
        for name, entry in zip(names, entries, strict=True)
    ]


def student(entry: Entry, entries: Sequence[Entry]) -> str:
    """Method, loss and mode of an entry, of which only different fields; its method and loss if none differs."""
    differing = [word_of(entry, name) for name in ("method", "loss", "train") if differs(entries, name)]
    return ", ".join(differing) or f"{entry.fields['method']}, {entry.fields['loss']}"
