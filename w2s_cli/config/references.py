"""`${weak}` and other references of a configuration, replaced by what they stand for.

* OmegaConf resolves all of its grammar, and takes 10 ms for one configuration; a sweep has hundreds. A reference to a whole field
  (`${strong}`, `${data.name}`), which is all that the methods of the package have, is a look-up: it is done here, the rest by OmegaConf.
"""

import re
from collections.abc import Iterator
from typing import Any

WHOLE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")


def resolved(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of a plain configuration in which no reference is left.

    Raises:
        OmegaConfBaseException: a reference to nothing.
    """
    if all(WHOLE.fullmatch(text) for text in _references(config)):
        try:
            made: dict[str, Any] = _copied(config, config, ())
            return made
        except (KeyError, TypeError, RecursionError):
            pass  # a reference to nothing, or to itself: OmegaConf says it in words
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.create(config), resolve=True)  # type: ignore[return-value]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if "${" in value:
            yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _references(item)


def _copied(value: Any, config: dict[str, Any], within: tuple[str, ...]) -> Any:
    """`value` without references; `within` are the references that led to it."""
    if isinstance(value, dict):
        return {name: _copied(item, config, within) for name, item in value.items()}
    if isinstance(value, list):
        return [_copied(item, config, within) for item in value]
    found = WHOLE.fullmatch(value) if isinstance(value, str) and value.startswith("${") else None
    if not found:
        return value
    if found[1] in within:
        raise RecursionError(found[1])
    target: Any = config
    for part in found[1].split("."):
        target = target[part]
    return _copied(target, config, (*within, found[1]))
