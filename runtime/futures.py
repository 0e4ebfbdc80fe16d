"""`chainrule.futures`: results that come later, as PyTorch's asynchronous programs hand them on."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Future", "collect_all", "wait_all"]

T = TypeVar("T")


class Future(Generic[T]):
    """A value, or an error, that somebody sets; `then` and `add_done_callback` say what follows."""

    def __init__(self, *, devices: Any = None) -> None:
        self._future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def done(self) -> bool:
        """Whether it has a value or an error."""
        return self._future.done()

    def wait(self) -> T:
        """Wait, and give the value or raise the error."""
        return self._future.result()

    def value(self) -> T:
        """The value or the error of one that is done; RuntimeError before."""
        if not self.done():
            raise RuntimeError("value(): the future is not done yet; wait() waits for it")
        return self._future.result()

    def set_result(self, result: T) -> None:
        """Set the value; RuntimeError where it has one."""
        if self.done():
            raise RuntimeError("Future can only be marked completed once.")
        self._future.set_result(result)

    def set_exception(self, result: BaseException) -> None:
        """Set the error."""
        if not isinstance(result, Exception):
            raise TypeError(f"{result} is of type {type(result)}, not an Exception.")
        self._future.set_exception(result)

    def add_done_callback(self, callback: Callable[[Future[T]], None]) -> None:
        """Call `callback(self)` when it is done, or now."""
        self._future.add_done_callback(lambda _: callback(self))

    def then(self, callback: Callable[[Future[T]], Any]) -> Future[Any]:
        """The future of `callback(self)`, which is called when this one is done."""
        following: Future[Any] = Future()

        def follow(done: Future[T]) -> None:
            try:
                following.set_result(callback(done))
            except Exception as error:
                following.set_exception(error)

        self.add_done_callback(follow)
        return following


def collect_all(futures: list[Future[Any]]) -> Future[list[Future[Any]]]:
    """The future that is done, with the list itself, when all of these are."""
    together: Future[list[Future[Any]]] = Future()
    if not futures:
        together.set_result([])

    def count(_: Any) -> None:
        if all(f.done() for f in futures) and not together.done():
            together.set_result(futures)

    for future in futures:
        future.add_done_callback(count)
    return together


def wait_all(futures: list[Future[Any]]) -> list[Any]:
    """The values of all, in order; the first error among them is raised."""
    return [future.wait() for future in futures]
