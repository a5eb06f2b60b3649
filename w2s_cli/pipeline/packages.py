"""Packages that a rule or an option needs beyond those of w2s: they are looked for before a run, not after hours of training.

The imports of a rule are read from its syntax tree, so no list of them is kept. An import inside of `try` is optional if no handler
raises. Nothing is imported: the search for a package is quick, and a broken one is told by the stage that uses it.
"""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from w2s_cli.errors import UserError


def need_imports(path: Path) -> None:
    """Refuse (UserError) a Python file that imports a package which is not installed."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # the search for its arguments tells it with the line
    for module in sorted(set(_needed(tree))):
        need(module, f"{path.parent.name}/{path.name} imports")


def need(module: str, what: str) -> None:
    """Refuse (UserError) a module that is not installed; `what` needs it: "generation.engine=vllm needs"."""
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{what} {module}, which is not installed: {_advice(module)}.")


def need_version(package: str, least: tuple[int, int], what: str) -> None:
    """Refuse (UserError) an installed package that is older than `least`; `what` needs it: "launcher.fsdp=true"."""
    from importlib import metadata  # slow, and rarely needed

    installed = metadata.version(package)
    numbers = re.match(r"(\d+)\.(\d+)", installed)
    if numbers and (int(numbers[1]), int(numbers[2])) < least:
        wanted = ".".join(map(str, least))
        raise UserError(
            f'{what} needs {package} {wanted} or newer, and {installed} is installed: pip install -U "{package}>={wanted}", or leave '
            "it out."
        )


def _needed(node: ast.AST) -> Iterator[str]:
    """The modules, without submodules, that a file cannot do without."""
    if isinstance(node, ast.Import):
        yield from (name.name.partition(".")[0] for name in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield node.module.partition(".")[0]
    optional = isinstance(node, ast.Try) and not any(isinstance(part, ast.Raise) for part in _handled(node))
    for child in ast.iter_child_nodes(node):
        if not (optional and isinstance(node, ast.Try) and child in node.body):
            yield from _needed(child)


def _handled(node: ast.Try) -> Iterator[ast.AST]:
    return (part for handler in node.handlers for part in ast.walk(handler))


def _advice(module: str) -> str:
    """How the module is installed, by the extras of w2s: the package of its name, else all packages of the extra of its name."""
    from importlib import metadata  # slow, and rarely needed

    of_extra = []
    for line in metadata.requires("w2s") or ():
        package = re.match(r"([\w.-]+)(\[[\w,.-]+\])?", line)
        if package and re.sub(r"[-_.]+", "_", package[1]).lower() == module.lower():
            return f'pip install "{package[0]}"'
        if package and re.search(rf"""extra == ["']{re.escape(module)}["']""", line):
            of_extra.append(f'"{package[0]}"')
    if of_extra:
        return f"pip install {' '.join(of_extra)}"
    return "install its package, or choose another rule"
