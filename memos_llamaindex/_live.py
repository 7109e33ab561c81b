"""Objects that hold an open memory, by ticket: how they come through LlamaIndex's `Context.to_dict` and `from_dict`.

An open session cannot be written down, and must not be: what names an actor in a serialised context could be edited to
name another. So what is written is a random ticket, good in this process for the very object it was given out for. In
another process there is no such object; the application opens its memory and makes a new one, which remembers everything,
because what it remembers is in the store.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TypeVar

from memos_core.errors import NotFound

_T = TypeVar("_T")
MOST = 1024  # objects kept for tickets; the one that was used longest ago goes first

_lock = threading.Lock()
_objects: OrderedDict[str, object] = OrderedDict()
_tickets: dict[int, str] = {}  # by id() of the objects above


def ticket_of(thing: object, class_name: str) -> dict[str, Any]:
    """What stands for an object in a serialised context."""
    with _lock:
        ticket = _tickets.setdefault(id(thing), uuid.uuid4().hex)
        _objects[ticket] = thing
        _objects.move_to_end(ticket)
        while len(_objects) > MOST:
            _, oldest = _objects.popitem(last=False)
            del _tickets[id(oldest)]
    return {"class_name": class_name, "ticket": ticket}


def find(data: Mapping[str, Any], kind: type[_T]) -> _T:
    """The object that a ticket was given out for.

    Raises:
        NotFound: not in this process, or too many others have been written since.
    """
    with _lock:
        ticket = data.get("ticket")
        thing = _objects.get(ticket) if isinstance(ticket, str) else None
        if isinstance(ticket, str) and thing is not None:
            _objects.move_to_end(ticket)
    if isinstance(thing, kind):
        return thing
    raise NotFound(
        f"this process has no {kind.__name__} for the ticket {ticket!r}. An open memory is not part of a serialised "
        f"context: make a new {kind.__name__} with a session of this process, and pass it where the old one was"
    )
