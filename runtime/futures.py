"""`chainrule.futures`: results that come later, as PyTorch's asynchronous programs hand them on."""

from __future__ import annotations

from typing import Any

from ..backends.communication.futures import Future

__all__ = ["Future", "collect_all", "wait_all"]


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
