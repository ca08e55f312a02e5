"""The stream primitive: order, bounds, exceptions, early close."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.transforms.stream import batched, flattened, ordered_map


class Trouble(Exception):
    pass


sizes = st.integers(0, 60)
threads = st.integers(1, 8)
extra = st.integers(0, 9)


@settings(deadline=None, max_examples=60)
@given(size=sizes, threads=threads, extra=extra)
def test_results_come_in_the_order_of_the_items(size, threads, extra):
    mapped = ordered_map(lambda x: x * x, range(size), threads=threads, lookahead=threads + extra)
    assert list(mapped) == [x * x for x in range(size)]


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 60), threads=threads, extra=extra)
def test_no_more_items_are_taken_than_the_lookahead_allows(size, threads, extra):
    lookahead = threads + extra
    taken = 0

    def source():
        nonlocal taken
        for item in range(size):
            taken += 1
            yield item

    for yielded, _ in enumerate(ordered_map(abs, source(), threads=threads, lookahead=lookahead)):
        assert taken <= yielded + lookahead


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 40), threads=threads, extra=extra, data=st.data())
def test_an_exception_of_the_function_comes_after_the_results_before_it(size, threads, extra, data):
    bad = data.draw(st.integers(0, size - 1))

    def function(item):
        if item == bad:
            raise Trouble(item)
        return item

    got = []
    with pytest.raises(Trouble):
        for result in ordered_map(
            function, range(size), threads=threads, lookahead=threads + extra
        ):
            got.append(result)
    assert got == list(range(bad))


@settings(deadline=None, max_examples=40)
@given(size=sizes, threads=threads, extra=extra)
def test_an_exception_of_the_source_comes_after_all_results_before_it(size, threads, extra):
    def source():
        yield from range(size)
        raise Trouble

    got = []
    with pytest.raises(Trouble):
        for result in ordered_map(abs, source(), threads=threads, lookahead=threads + extra):
            got.append(result)
    assert got == list(range(size))


def test_calls_run_at_the_same_time():
    both = threading.Barrier(2, timeout=20)
    assert (
        list(ordered_map(lambda _: both.wait() >= 0, range(6), threads=2, lookahead=2))
        == [True] * 6
    )


def test_stages_of_a_chain_run_at_the_same_time():
    first_at_work, second_at_work = threading.Event(), threading.Event()

    def first(item):
        if item == 3:  # is begun while the second stage works on an earlier item
            first_at_work.set()
            assert second_at_work.wait(20)
        return item

    def second(item):
        if item == 0:
            second_at_work.set()
            assert first_at_work.wait(20)
        return item

    chain = ordered_map(
        second,
        ordered_map(first, range(8), threads=1, lookahead=4),
        threads=1,
        lookahead=2,
    )
    assert list(chain) == list(range(8))


def test_closing_early_ends_threads_and_closes_the_source():
    closed = threading.Event()

    def source():
        try:
            yield from range(1000)
        finally:
            closed.set()

    before = threading.active_count()
    chain = flattened(
        ordered_map(
            lambda batch: batch,
            batched(ordered_map(abs, source(), threads=3, lookahead=5), 4),
            threads=2,
            lookahead=2,
        )
    )
    assert next(chain) == 0
    chain.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_calls_not_begun_are_dropped_when_the_consumer_stops():
    release, begun = threading.Event(), []

    def function(item):
        begun.append(item)
        if item:
            assert release.wait(20)
        return item

    mapped = ordered_map(function, range(50), threads=1, lookahead=10)
    assert next(mapped) == 0
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(mapped.close)
        release.set()
        closing.result(20)
    assert len(begun) <= 11


def test_results_are_not_held_once_they_are_yielded():
    import gc
    import weakref

    class Big:
        pass

    mapped = ordered_map(lambda _: Big(), range(3), threads=1, lookahead=1)
    gone = weakref.ref(next(mapped))
    next(mapped)
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(("threads", "lookahead"), [(0, 1), (2, 1), (-1, 5)])
def test_impossible_bounds_are_refused_at_once(threads, lookahead):
    with pytest.raises(ValueError, match=f"given threads={threads}, lookahead={lookahead}"):
        ordered_map(abs, [], threads=threads, lookahead=lookahead)


@settings(deadline=None, max_examples=60)
@given(items=st.lists(st.integers(), max_size=50), size=st.integers(1, 12))
def test_batches_hold_all_items_in_order(items, size):
    batches = list(batched(items, size))
    assert list(flattened(batches)) == items
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(1 <= len(batch) <= size for batch in batches)


def test_an_empty_batch_size_is_refused():
    with pytest.raises(ValueError, match="given 0"):
        batched([], 0)
