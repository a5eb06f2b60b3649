"""The environments behind results: versions of w2s, torch and transformers, device and processor, from the records of their stages.

* They determine no key, so a store can mix them: a stage that was made with another torch, or on another machine, is cached. Figures of
  such stages can differ by rounding, or by what a release changed. A table, a page and the end of a run say so in one line.
* Versions and machine of a stage count where a model computes in it: not for rows, and not for a comparison of predictions.
* results.json has them; for results of an older w2s they are read from the records. An older record lacks device and processor, and a
  missing fact is no difference.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from w2s_cli import __version__
from w2s_cli.pipeline.provenance import library_version, processor
from w2s_cli.results.reader import Entry
from w2s_cli.results.stages import Stage

LIBRARIES = ("torch", "transformers")
MACHINE = ("device", "processor")
WITHOUT_MODEL = ("rows", "comparison")  # what such a stage gives (Traits.gives)
Environment = Mapping[str, Sequence[str]]  # fact → its values


def facts(record: Mapping[str, Any]) -> dict[str, str]:
    """The facts of a stage's record."""
    provenance = record.get("provenance") or {}
    values = {"w2s": provenance.get("w2s")}
    if record.get("gives") not in WITHOUT_MODEL:
        libraries = provenance.get("libraries") or {}
        values |= {name: libraries.get(name) for name in LIBRARIES} | {name: provenance.get(name) for name in MACHINE}
    return {name: value for name, value in values.items() if value}


def joined(environments: Iterable[Environment]) -> dict[str, list[str]]:
    """Fact → all its values."""
    values: dict[str, dict[str, None]] = {}
    for environment in environments:
        for name, of_name in environment.items():
            values.setdefault(name, {}).update(dict.fromkeys(of_name))
    return {name: sorted(of_name) for name, of_name in values.items()}


def of_stages(stages: Iterable[Stage]) -> dict[str, list[str]]:
    """The environments of finished stages."""
    return joined({name: [value] for name, value in facts(stage.record).items()} for stage in stages)


def of_entries(entries: Iterable[Entry]) -> dict[str, list[str]]:
    """The environments of all stages behind results."""
    listed = list(entries)
    unread: dict[str, Stage] = {}
    for entry in listed:
        if entry.environment is None:
            unread |= entry.run.behind(entry.key)
    return joined([of_stages(unread.values()), *(entry.environment for entry in listed if entry.environment)])


def here() -> dict[str, str]:
    """The facts of this process that need no import of torch."""
    values = {"w2s": __version__, "processor": processor(), **{name: library_version(name) for name in LIBRARIES}}
    return {name: value for name, value in values.items() if value}


def difference(environment: Environment, present: Mapping[str, str] | None = None) -> list[str]:
    """One line that names the facts with several values; [] without any.

    Args:
        present: the facts of this process; a stage that was made with another value is then a difference too.
    """
    words = []
    for name, values in environment.items():
        now = (present or {}).get(name)
        if len(values) > 1 or (now and values != [now]):
            words.append(f"{name} {', '.join(values)}" + (f" (here {now})" if now else ""))
    if not words:
        return []
    which = "Stages behind these results come" if present else "These results come"
    return [f"Caution: {which} from different environments: {'; '.join(words)}. Figures can differ by these alone."]
