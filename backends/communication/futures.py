"""A result that comes later, set by whoever has it."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Future"]

T = TypeVar("T")


class Future(Generic[T]):
    """A value, or an error, that somebody sets; `then` and `add_done_callback` say what follows.

    devices: PyTorch's, without effect.
    """

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
