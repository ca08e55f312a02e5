"""How stages overlap inside a worker: an ordered, bounded, threaded map over an iterator."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    lookahead: int,
) -> Generator[Result, None, None]:
    """Maps a function over an iterator in threads and yields the results in order.

    Maps chain: while the consumer waits for one result, each map's threads go on with the items
    that lie within its look-ahead, so the stages of a chain run at the same time and the chain is
    as fast as its slowest stage. Items are taken from the consumer's thread, and only when the
    consumer asks for a result.

    Args:
      function: called with one item, in a thread of this map's own.
      items: taken lazily. Closed, if it is a generator, when this one is.
      threads: how many calls run at the same time, at least 1.
      lookahead: how many items may be taken and not yet yielded, at least `threads`; more hides
        more unevenness between stages and holds more items in memory.

    Yields:
      One result an item, in the items' order.

    Raises:
      ValueError: `threads` or `lookahead` is too small.
      Exception: what `function` or `items` raised, once all results before it have been yielded.
        Calls not yet begun are dropped then, and running ones are waited for.
    """
    if threads < 1 or lookahead < threads:
        raise ValueError(
            f"threads must be at least 1 and lookahead at least threads: "
            f"given threads={threads}, lookahead={lookahead}"
        )
    return _run(function, items, threads, lookahead)


def _run(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, lookahead: int
) -> Generator[Result, None, None]:
    source = iter(items)
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    trouble: Exception | None = None
    open_ended = True
    try:
        while True:
            while open_ended and len(pending) < lookahead:
                try:
                    item = next(source)
                except StopIteration:
                    open_ended = False
                except Exception as error:  # noqa: BLE001 - raised again below, in its turn
                    trouble, open_ended = error, False
                else:
                    pending.append(pool.submit(function, item))
                    del item
            if not pending:
                break
            yield pending.popleft().result()
        if trouble is not None:
            raise trouble
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _close(source)


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Groups items into lists of `size`; the last may be shorter.

    Raises:
      ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"a batch holds at least 1 item: given {size}")
    return _batches(items, size)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    source = iter(items)
    batch: list[Item] = []
    try:
        for item in source:
            batch.append(item)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch
    finally:
        _close(source)


def flattened(batches: Iterable[Iterable[Item]]) -> Iterator[Item]:
    """Undoes `batched`: gives the items of every batch, in order."""
    source = iter(batches)
    try:
        for batch in source:
            yield from batch
    finally:
        _close(source)


def _close(source: Iterator[object]) -> None:
    """Ends a generator now instead of whenever it is collected; other iterators hold nothing."""
    close = getattr(source, "close", None)
    if close is not None:
        close()
