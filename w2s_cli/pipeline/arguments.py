"""The arguments of losses, rules and transforms, read from the syntax tree: planning imports no user's file and no torch.

* The annotation in the function's signature states the allowed values: `gamma: Annotated[float, Ge(0)] = 2.0`. Names in it are builtin
  types, typing and annotated-types. The check is the same as of a field of the configuration (`w2s_cli/values.py`). An annotation with
  any other name (`Tensor`, a user's type) checks nothing.
* A default is a constant: a literal, or arithmetic on numbers (`1/3`).
* Limits that depend on the data, such as the number of classes or rows, are checked by the rule when it runs.
"""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union, get_args

import annotated_types

from w2s_cli.errors import UserError, did_you_mean, of_system
from w2s_cli.store.keys import syntax_tree
from w2s_cli.values import Either, fit

TYPES: dict[str, Any] = {
    **{kind.__name__: kind for kind in (bool, int, float, str, list, tuple, dict)},
    **{"Any": Any, "Annotated": Annotated, "Literal": Literal, "Optional": Optional, "Union": Union},
    **{"Sequence": Sequence, "Mapping": Mapping, "Either": Either},
    **{
        name: getattr(annotated_types, name) for name in ("Gt", "Ge", "Lt", "Le", "Interval", "Len", "MinLen", "MaxLen")
    },
}
ARITHMETIC: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
REQUIRED: Any = object()  # in place of the default of an argument without one
LARGEST_POWER = 64  # the evaluation of 9**9**9 would not end


class _NoConstant(Exception):  # noqa: N818 - never leaves this file
    """The expression has a name, a call, or another operation than arithmetic."""


def flag(path: Path, name: str) -> bool:
    """Whether a Python file has `NAME = True` at its top level."""
    return any(
        isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
        and isinstance(node.value, ast.Constant)
        and node.value.value is True
        for node in _tree(path).body
    )


def bind(
    path: Path, name: str, args: Mapping[str, Any], *, at_run_time: Sequence[str], field: str = "args"
) -> dict[str, Any]:
    """All keyword arguments of function `name` in a Python file with their values: `args`, and defaults for the rest.

    Args:
        at_run_time: arguments whose values come from the caller at run time.
        field: the configuration's field of the arguments, for messages.

    Raises:
        UserError: a syntax error in the file, no such function, an unknown argument, or a missing or wrong value.
    """
    function = _function(path, name)
    own = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
    for argument_name in at_run_time:
        if argument_name not in own and function.args.kwarg is None:
            raise UserError(
                f"{path}: the function {name} must take the argument {argument_name}, with which it is called."
            )
    bound: dict[str, Any] = {}
    kinds: dict[str, Any] = {}
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        if argument.arg in at_run_time:
            continue
        if argument.arg in args:
            bound[argument.arg] = args[argument.arg]
        elif default is None:
            raise UserError(f"{name}: the argument {argument.arg} has no value; set it in the YAML under {field}.")
        else:
            bound[argument.arg] = _default(default, f"{path}, line {argument.lineno}: the default of {argument.arg}")
        kinds[argument.arg] = annotation(argument.annotation)
    for argument_name in args:
        if argument_name not in bound:
            raise UserError(f'{name} has no argument "{argument_name}".{did_you_mean(argument_name, bound)}')
    misfits = _either(bound, kinds, field)
    bound = {argument: fit(value, kinds[argument], f"{field}.{argument}", misfits) for argument, value in bound.items()}
    if misfits:
        raise UserError("\n".join(f"{name}: {misfit}" for misfit in misfits))
    return bound


def signature(path: Path, name: str, *, at_run_time: Sequence[str] = ("progress",)) -> dict[str, tuple[Any, Any]]:
    """Keyword argument → (type, default) of function `name` in a Python file; REQUIRED without a default.

    Raises:
        UserError: a syntax error in the file, no such function, or a default that is no constant.
    """
    function = _function(path, name)
    arguments = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return {
        argument.arg: (
            annotation(argument.annotation),
            REQUIRED if default is None else _default(default, f"{path}: the default of {argument.arg}"),
        )
        for argument, default in arguments
        if argument.arg not in at_run_time
    }


def _tree(path: Path) -> ast.Module:
    """The syntax tree of a Python file; UserError if it is no Python."""
    try:
        return syntax_tree(path.read_bytes(), str(path))
    except SyntaxError as error:
        raise UserError(str(of_system(error))) from error


def _function(path: Path, name: str) -> ast.FunctionDef:
    function = next(
        (node for node in _tree(path).body if isinstance(node, ast.FunctionDef) and node.name == name), None
    )
    if function is None:
        raise UserError(f"{path} defines no function {name}(…).")
    return function


def _either(bound: Mapping[str, Any], kinds: Mapping[str, Any], field: str) -> list[str]:
    """A message for each pair of alternative arguments, unless exactly one of them has a value."""
    return [
        f"give either {field}.{name} or {field}.{rule.other}, and null for the other."
        for name, kind in kinds.items()
        for rule in get_args(kind)[1:]
        if isinstance(rule, Either) and (bound[name] is None) == (bound.get(rule.other) is None)
    ]


def annotation(node: ast.expr | None) -> Any:
    """The type of an annotation; Any if it has a name outside of TYPES, or is no type."""
    try:
        kind = Any if node is None else _type(node)
        hash(kind)  # not of Annotated[int, [1, 2]]
        return kind
    except (_NoConstant, TypeError, ValueError, SyntaxError):
        return Any


def _type(node: ast.expr) -> Any:
    match node:
        case ast.Name(id=name) if name in TYPES:
            return TYPES[name]
        case ast.Attribute(value=ast.Name(), attr=name) if name in TYPES:  # typing.Literal, annotated_types.Ge
            return TYPES[name]
        case ast.Constant(value=str(text)):  # a quoted annotation
            return _type(ast.parse(text, mode="eval").body)
        case ast.Constant(value=None):
            return None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_type(left), _type(right)]  # noqa: UP007 - the types are variables
        case ast.Subscript(value=outer, slice=inner):
            return _subscripted(_type(outer), inner.elts if isinstance(inner, ast.Tuple) else [inner])
        case _:
            raise _NoConstant


def _subscripted(outer: Any, inside: Sequence[ast.expr]) -> Any:
    if outer is Literal:
        return Literal[tuple(constant(node) for node in inside)]
    if outer is Annotated:
        kind, *rules = inside
        return Annotated[(_type(kind), *(_rule(node) for node in rules))]
    kinds = tuple(... if isinstance(node, ast.Constant) and node.value is ... else _type(node) for node in inside)
    return outer[kinds if len(kinds) > 1 else kinds[0]]


def _rule(node: ast.expr) -> Any:
    """One constraint: a call of annotated-types or of Either with constants, a Literal, or a text."""
    match node:
        case ast.Call(func=called, args=values, keywords=keywords):
            return _type(called)(
                *map(constant, values), **{str(keyword.arg): constant(keyword.value) for keyword in keywords}
            )
        case ast.Constant(value=value):
            return value
        case _:
            return _type(node)


def constant(node: ast.expr) -> Any:
    """The value of an expression of literals and arithmetic.

    Raises:
        _NoConstant: the expression has any other part.
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Tuple(elts=items):
            return tuple(map(constant, items))
        case ast.List(elts=items):
            return list(map(constant, items))
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {constant(name): constant(value) for name, value in zip(keys, values, strict=True) if name}
        case ast.UnaryOp(op=op, operand=operand) if type(op) in ARITHMETIC:
            return ARITHMETIC[type(op)](_numbers(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            first, second = _numbers(left), _numbers(right)
            if isinstance(op, ast.Pow) and abs(second) > LARGEST_POWER:
                raise _NoConstant
            return ARITHMETIC[type(op)](first, second)
        case _:
            raise _NoConstant


def _numbers(node: ast.expr) -> int | float:
    value = constant(node)
    if not isinstance(value, int | float):
        raise _NoConstant
    return value


def _default(node: ast.expr, where: str) -> Any:
    try:
        return constant(node)
    except (_NoConstant, ArithmeticError) as error:
        raise UserError(f"{where} is {ast.unparse(node)}: write a constant, such as 0.5, 1/3 or (1, 2).") from error
