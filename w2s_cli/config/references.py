"""The resolution of `${weak}` and other references of a configuration.

* OmegaConf resolves its whole grammar, but takes 10 ms for one configuration, and a sweep has hundreds. A reference to a whole field
  (`${strong}`, `${data.name}`) is a look-up and resolved here; the package's methods have no other kind. OmegaConf resolves the rest.
"""

import re
from collections.abc import Iterator
from typing import Any

WHOLE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")


def resolved(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of a plain configuration with all references resolved.

    Raises:
        OmegaConfBaseException: a reference to nothing.
    """
    if all(WHOLE.fullmatch(text) for text in _references(config)):
        try:
            copy: dict[str, Any] = _copied(config, config, ())
            return copy
        except (KeyError, TypeError, RecursionError):
            pass  # a reference to nothing, or to itself: OmegaConf has a message for it
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
    """A copy of `value` without references; `within` are the references on the way to it."""
    if isinstance(value, dict):
        return {name: _copied(item, config, within) for name, item in value.items()}
    if isinstance(value, list):
        return [_copied(item, config, within) for item in value]
    reference = WHOLE.fullmatch(value) if isinstance(value, str) and value.startswith("${") else None
    if not reference:
        return value
    if reference[1] in within:
        raise RecursionError(reference[1])
    target: Any = config
    for part in reference[1].split("."):
        target = target[part]
    return _copied(target, config, (*within, reference[1]))
