"""Questions that count as one: what a function finds in the state, whatever it looks at on its way.

A trace is current as long as what it asked the state would be answered alike, so it matters what a question is. A
route lookup is one: that a table has a route more is no news while the lookup finds the same. A function that is
marked here is recorded as one question, with its arguments as the key and its result as the answer (`state_views.py`).
Where nothing is recorded it is just called.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from operator import attrgetter
from typing import Any, ParamSpec, Protocol, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


class OneRead(Protocol):
    """A marked function: its name is the kind of question.

    `sections` are those that it looks at in the namespaces of a node, where its subject is a node; `comparable` makes
    of a result what counts of it; `with_bodies`: it takes the netfilter bodies besides. `looked_at` takes those sections of a
    namespace, as `attrgetter` does; None where there are none.
    """

    __name__: str
    function: Callable[..., Any]
    sections: tuple[str, ...]
    looked_at: Callable[[Any], Any] | None
    with_bodies: bool
    comparable: Callable[[Any], Any] | None

    def __call__(self, subject: Any, *args: Any, **context: Any) -> Any: ...


def one_read(
    *, sections: tuple[str, ...] = (), comparable: Callable[[Any], Any] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function of a part of the state and of hashable arguments, so that a recording takes it for one question.

    The part is a namespace, a namespace's own record, a node, or the mapping of nodes. The netfilter bodies are no part
    of the question, so they come as the keyword `bodies`, and are the new state's when it is put again.
    """

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def read(subject: Any, *args: Any, **context: Any) -> Any:
            record = getattr(subject, "read_as_one", None)
            if record is None:
                return function(subject, *args, **context)
            return record(read, args)

        marked = cast(OneRead, read)
        marked.function, marked.sections, marked.comparable = function, sections, comparable
        marked.looked_at = attrgetter(*sections) if sections else None
        marked.with_bodies = "bodies" in function.__annotations__
        return cast("Callable[P, R]", read)

    return mark
