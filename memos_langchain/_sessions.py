"""One road for both kinds of session: what to ask memory is written once, as steps, and then called or awaited."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeAlias, TypeVar

from memos_core.aio import AsyncSession
from memos_core.session import Session

AnySession: TypeAlias = Session | AsyncSession
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Call(NamedTuple):
    """A method of a session and what to call it with."""

    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]


Steps: TypeAlias = Generator[Call, Any, _T]


def ask(method: Callable[Concatenate[Session, _P], object], *arguments: _P.args, **options: _P.kwargs) -> Call:
    """A step: the call of a method of `Session`; the answer comes back from `yield`."""
    return Call(method.__name__, arguments, options)


def plain(session: AnySession) -> Session:
    """The session whose methods are called."""
    return session.sync if isinstance(session, AsyncSession) else session


def awaitable(session: AnySession) -> AsyncSession:
    """The session whose methods are awaited."""
    return session if isinstance(session, AsyncSession) else AsyncSession.of(session)


def called(steps: Steps[_T], session: AnySession) -> _T:
    """The result of steps, each of them called."""
    own = plain(session)
    answer: Any = None
    while True:
        try:
            call = steps.send(answer)
        except StopIteration as done:
            result: _T = done.value
            return result
        answer = getattr(own, call.method)(*call.arguments, **call.options)


async def awaited(steps: Steps[_T], session: AnySession) -> _T:
    """The result of steps, each of them awaited."""
    own = awaitable(session)
    answer: Any = None
    while True:
        try:
            call = steps.send(answer)
        except StopIteration as done:
            result: _T = done.value
            return result
        answer = await getattr(own, call.method)(*call.arguments, **call.options)
