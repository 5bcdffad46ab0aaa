"""Read ahead: the next items of an iterator are made in a thread while the present one is worked on.

What belongs here: the thread and its end. What does not: what the items are.
"""

import threading
from collections.abc import Iterable, Iterator
from queue import Queue
from typing import TypeVar

T = TypeVar("T")


class _End:
    """The last thing in the queue: the iterator's end, or the error that it raised."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items in the same order, one of them made, or in the making, while the present one is worked on.

    Worth a thread where making an item waits for the network or runs in C (hashing, unpacking, parsing).
    An error of the iterator is raised here, in its place. When the consumer stops early the thread ends
    after the item it is making, and closes the iterator.
    """
    queue: Queue[T | _End] = Queue()
    # A further item would be made while one waits in the queue; its memory is worth more than what that gains.
    wanted = threading.Semaphore(0)
    stopped = threading.Event()

    def make() -> None:
        iterator = iter(items)
        try:
            while not stopped.is_set():
                queue.put(next(iterator))
                wanted.acquire()
        except StopIteration:
            queue.put(_End(None))
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer
            queue.put(_End(error))
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
            wanted.release()
            yield item
    finally:
        stopped.set()
        wanted.release()
