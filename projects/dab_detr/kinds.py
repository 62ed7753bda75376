"""Kinds of values, written as type hints: checks whether a value fits one, and puts them into words."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path

WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    dict: "keys with values",
}


def hint_of(value: object) -> object:
    """The kind of a value, as a type hint; None for null and for objects, which show no kind."""
    if isinstance(value, list | tuple):
        kinds = {hint_of(x) for x in value}
        return list[kinds.pop()] if len(kinds) == 1 and None not in kinds else list
    return next((kind for kind in (bool, int, float, str, dict) if isinstance(value, kind)), None)


def plain(hint: object) -> bool:
    """Whether a hint allows a plain value. All other hints are for parts, which nodes build."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(map(plain, typing.get_args(hint)))
    return hint in WORDS or hint in (list, tuple) or typing.get_origin(hint) is typing.Literal or is_plain_list(hint)


def is_plain_list(hint: object) -> bool:
    """Whether a hint is for a mapping, or for a list of plain values."""
    origin = typing.get_origin(hint)
    if not inspect.isclass(origin) or not issubclass(origin, Iterable):
        return False
    arguments = [x for x in typing.get_args(hint) if x is not Ellipsis]
    return issubclass(origin, Mapping) or all(map(plain, arguments))


def allows_null(hint: object) -> bool:
    """Whether None fits a hint."""
    return hint is type(None) or type(None) in typing.get_args(hint)


def fits(value: object, hint: object) -> bool:
    """Whether a plain value fits a `plain` hint. A whole number counts as a number; true and false do not."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, x) for x in arguments if plain(x)) or value is None and allows_null(hint)
    if origin is typing.Literal:
        return value in arguments
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    if hint is dict or inspect.isclass(origin) and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if hint is Path:
        return isinstance(value, str | Path)
    if hint in (list, tuple) or origin is not None:
        return isinstance(value, list | tuple) and elements_fit(value, origin, arguments)
    return isinstance(value, hint)


def elements_fit(values: list | tuple, origin: object, arguments: tuple) -> bool:
    """Whether the elements of a list fit. Nodes and references to other keys always do."""
    hints = [*arguments] if origin is tuple and arguments[-1:] != (Ellipsis,) else [*arguments[:1]] * len(values)
    if not arguments:
        return True
    built = [isinstance(x, dict) or isinstance(x, str) and "${" in x for x in values]
    return len(values) == len(hints) and all(
        a or fits(x, hint) for a, x, hint in zip(built, values, hints, strict=True)
    )


def words(hint: object) -> str:
    """A hint in words, such as "a list of numbers or null"."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        parts = filter(plain, arguments)
        return " or ".join(dict.fromkeys(map(words, parts))) + (" or null" if allows_null(hint) else "")
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin is not None and issubclass(origin, Mapping):
        return WORDS[dict]
    if hint in (list, tuple) or origin is not None:
        elements = [x for x in arguments[:1] if x in WORDS]
        count = f"{len(arguments)} " if origin is tuple and arguments[-1:] != (Ellipsis,) else ""
        plural = {int: "whole numbers", float: "numbers", str: "texts"}.get(elements[0] if elements else None, "values")
        return f"a list of {count}{plural}"
    return WORDS[hint]


@functools.cache
def hints_of(target: Callable) -> tuple[dict[str, object], bool]:
    """The type hints of the arguments of a function or class, and whether it takes further arguments.

    A constructor with `**kwargs` is assumed to pass them to the constructor that it overrides, so the result has both.
    """
    functions = [target]
    if inspect.isclass(target):
        functions = [x.__init__ for x in target.__mro__ if "__init__" in vars(x) and x is not object]
    known: dict[str, object] = {}
    open_ended = False
    for function in functions:
        try:
            hints, parameters = typing.get_type_hints(function), inspect.signature(function).parameters.values()
        except (NameError, TypeError, ValueError):  # written in C, or hints that cannot be resolved
            return known, True
        open_ended = open_ended or any(x.kind is x.VAR_KEYWORD for x in parameters)
        for x in parameters:
            if x.kind in (x.VAR_KEYWORD, x.VAR_POSITIONAL) or x.name == "self":
                continue
            known.setdefault(x.name, hints.get(x.name))
            if x.default is None and known[x.name] is not None:
                known[x.name] = typing.Optional[known[x.name]]  # noqa: UP045, the hint may be a string
        if not any(x.kind is x.VAR_KEYWORD for x in parameters):
            break
    return known, open_ended
