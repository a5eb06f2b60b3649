"""Random shapes of JSON in place of a store's files: the file as a whole, or some of its parts."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
OUTSIDE = ("../../../../../outside/keep", "../../outside/keep", "/dev/null", "model/../../../../../outside/keep")
# a file of weights outside, as a manifest's file
HOSTILE_WEIGHTS = {"model/../../../../../../outside/keep.safetensors": {"size": 4, "sha256": "0" * 64}}
SCALARS = (
    None,
    True,
    -1,
    0,
    1,
    2.5,
    1e308,
    float("inf"),
    float("nan"),
    10**30,
    "",
    "x",
    "\0",
    "\ud800",
    "n\n",
    "a" * 300,
)
NAMES = ("files", "metrics", "key", "run", "result", "name", "kind", "format", "stages", "entries", "inputs", *OUTSIDE)

# What a file may hold in place of its own JSON, as text: other types, other fields, values out of range, and what is no JSON.
WRONG = (
    *("", " ", "\0", "{", "[", "]", '{"a"', "nul", "NaN", "Infinity", "-Infinity", "1e999", "'a'", "{'a': 1}", "[1,]"),
    *("\ufeff{}", "\x1b[31m", '"\\ud800"', "/* */ {}", "{}{}"),
    *("null", "true", "0", "-1", "1e308", str(10**30), '""', '"x"', json.dumps("a" * 10_000)),
    *("[]", "[[]]", "[null]", "[{}]", '["a", 1]', json.dumps(DEEP), "[" * 100_000),
    *("{}", '{"": null}', '{"format": 99}', '{"format": "2", "stages": {}, "entries": {}}'),
    *(
        '{"key": null, "run": [], "result": {}}',
        '{"files": [], "metrics": []}',
        '{"files": {"../x": {}}, "metrics": {}}',
    ),
    *('{"step": -1, "total": 0}', '{"step": "a", "total": [], "sums": 1}', '{"host": [], "pid": "x", "keys": {}}'),
    *('{"step": 1e999, "names": [], "ended": false}', '{"step": 1, "names": ["loss"], "ended": "no"}'),
    *('{"": -1, "micro_tokens": 0}', '{"files": {"ids.npy": "x"}, "truncated": 0, "empty": 0}'),
)


def shape(drawn: random.Random, depth: int = 0) -> Any:
    """A random value."""
    kind = drawn.random()
    if depth < 3 and kind < 0.15:
        return [shape(drawn, depth + 1) for _ in range(drawn.randrange(4))]
    if depth < 3 and kind < 0.3:
        return {drawn.choice(NAMES): shape(drawn, depth + 1) for _ in range(drawn.randrange(4))}
    return copy.deepcopy(drawn.choice((*SCALARS, *OUTSIDE, [], {}, [[]], {"key": "0" * 12}, DEEP)))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of every part."""
    for key, item in list(
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield value, key
        yield from places(item)


def changed(text: str, drawn: random.Random) -> str:
    """A JSON file with other parts, as another shape, or cut."""
    kind = drawn.random()
    if kind < 0.1:
        return text[: drawn.randrange(len(text))]
    if kind < 0.25:
        return json.dumps(shape(drawn))
    value = json.loads(text)
    if kind < 0.35 and isinstance(value, dict) and isinstance(value.get("files"), dict):
        return json.dumps({**value, "files": {**value["files"], **HOSTILE_WEIGHTS}})
    for _ in range(drawn.choice((1, 1, 2, 4))):
        within = list(places(value))
        if not within:
            break
        container, key = drawn.choice(within)
        if isinstance(container, dict) and drawn.random() < 0.2:
            del container[key]
        else:
            container[key] = shape(drawn)
    return json.dumps(value)


def json_files(outputs: Path) -> list[Path]:
    """Every JSON file of a store, and of a model's folder none."""
    return sorted(path for path in outputs.rglob("*.json") if not path.is_symlink() and path.parent.name != "model")
