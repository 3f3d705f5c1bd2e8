"""
Functions: what can be decorated, and what a call reaches where other decorators stand between.

`functools.wraps` makes a wrapper look like the function below it.  One that takes *args and
**kwargs may still pass on others than it was given, a session in front of them for example.
A key that was made by the looks would then be that of another call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature
from types import CellType, FunctionType, MethodType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

# The attribute that says so.  A decorator above copies it, and then it is not what that one wraps.
_OURS = "_flushmesh_wrapped"
_REMEDY = "decorate the function below the other decorator, or give a key that is a callable"


def check_function(decorator: str, function: object) -> None:
    """Raise TypeError unless calling *function* does what it is there for, once."""
    if isinstance(function, staticmethod | classmethod):
        raise TypeError(f"{decorator}: decorate the function below @{type(function).__name__}, not above it")
    if not callable(function):
        raise TypeError(f"{decorator}: a function, not {function!r}; options go by name, as in key=...")
    if any(inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in _runs(function)):
        raise TypeError(f"{decorator}: a generator runs later than its call, and once; return a list")


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether calling *function* begins a coroutine: an `async def`, or an object whose `__call__` is one."""
    return any(inspect.iscoroutinefunction(each) for each in _runs(function))


def _runs(function: Callable[..., Any]) -> tuple[Any, Any]:
    """Return what may run when *function* is called: itself, or the `__call__` of its class."""
    return function, type(function).__call__


@dataclass(frozen=True, slots=True)
class Called:
    """
    The function whose parameters the callers of *outer* fill in: itself, or the *inner* one that it wraps.

    That wrappers between the two pass on what they are given is believed until a call shows otherwise.
    """

    outer: Callable[..., Any]
    inner: Callable[..., Any]
    signature: Signature

    def explaining(self, make: Callable[..., str]) -> Callable[..., str]:
        """Return *make*, which makes a key of arguments, with an error that names the wrapper if they do not fit."""
        if self.inner is self.outer:
            return make

        def explained(*args: object, **kwargs: object) -> str:
            try:
                return make(*args, **kwargs)
            except TypeError:
                try:
                    self.signature.bind(*args, **kwargs)
                except TypeError as error:
                    raise TypeError(
                        f"{self.name}: {error}, unless a decorator passes arguments of its own; {_REMEDY}"
                    ) from None
                raise

        return explained

    def guarded(self, *args: object, **kwargs: object) -> Callable[..., Any]:
        """Return *outer*, which raises TypeError when *inner* is about to be called with anything else than this."""
        if self.inner is self.outer:
            return self.outer
        wanted = self.signature.bind(*args, **kwargs).arguments

        @functools.wraps(self.inner)
        def guard(*args: object, **kwargs: object) -> Any:
            given = self.signature.bind(*args, **kwargs).arguments
            for name, value in wanted.items():
                if name not in given or not (given[name] is value or given[name] == value):
                    raise TypeError(f'{self.name}: a decorator passes another "{name}" on than it is given; {_REMEDY}')
            return self.inner(*args, **kwargs)

        return _rewired(self.outer, self.inner, guard)

    @property
    def name(self) -> str:
        """The name of the function, for people."""
        return getattr(self.outer, "__qualname__", repr(self.outer))


def called(function: Callable[..., Any], *, by_name: bool = True) -> Called:
    """
    Return what a call of *function* reaches; raise TypeError if that cannot be known.

    Unless its parameters are needed *by_name*, it reaches *function* itself.
    """
    inner = function
    while True:
        try:
            signature = inspect.signature(inner, follow_wrapped=False)
        except ValueError:
            signature = _ANYTHING  # It is written in C.
        wrapped = getattr(inner, "__wrapped__", None)
        if wrapped is None or isinstance(inner, MethodType) or not by_name or not _takes_anything(signature):
            return Called(function, inner, signature)
        if getattr(inner, _OURS, inner) is wrapped:
            return Called(function, inner, called(wrapped).signature)
        if not any(_content(cell) is wrapped for cell in getattr(inner, "__closure__", None) or ()):
            name = getattr(function, "__qualname__", repr(function))
            raise TypeError(f"{name}: a decorator may pass arguments of its own; {_REMEDY}")
        inner = wrapped


def wraps(function: Callable[..., Any], wrapper: F) -> F:
    """Make *wrapper* look like *function*, and known to pass on to it what it is given."""
    functools.update_wrapper(wrapper, function)
    setattr(wrapper, _OURS, function)
    return wrapper


_ANYTHING = Signature([Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD)])


def _takes_anything(signature: Signature) -> bool:
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    return bool(kinds & {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD})


def _rewired(wrapper: Any, inner: Callable[..., Any], guard: Callable[..., Any]) -> Callable[..., Any]:
    """Return a copy of *wrapper* that calls *guard* where it calls *inner*; everything else it shares with it."""
    wrapped = wrapper.__wrapped__
    other = guard if wrapped is inner else _rewired(wrapped, inner, guard)
    cells = tuple(CellType(other) if _content(cell) is wrapped else cell for cell in wrapper.__closure__)
    copy = FunctionType(wrapper.__code__, wrapper.__globals__, wrapper.__name__, wrapper.__defaults__, cells)
    copy.__kwdefaults__ = wrapper.__kwdefaults__
    return copy


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # It is filled in later.
