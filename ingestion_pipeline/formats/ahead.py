"""Read ahead: the next items of an iterator are made in a thread while the present one is worked on.

What belongs here: the thread and its end. What does not: what the items are.
"""

import threading
from collections.abc import Iterable, Iterator
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.1


class _End:
    """The last thing in the queue: the iterator's end, or the error that it raised."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterable[T], *, depth: int = 1) -> Iterator[T]:
    """The same items in the same order, up to `depth` of them made in advance.

    Worth a thread where making an item waits for the network or runs in C (hashing, unpacking, parsing).
    An error of the iterator is raised here, in its place. When the consumer stops early the thread ends
    after the item it is making, and closes the iterator.
    """
    queue: Queue[T | _End] = Queue(depth)
    stopped = threading.Event()

    def put(item: T | _End) -> bool:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=_POLL_SECONDS)
            except Full:
                continue
            return True
        return False

    def make() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put(item):
                    break
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer
            put(_End(error))
        else:
            put(_End(None))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=make, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
