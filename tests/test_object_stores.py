"""GCS and S3 behind a door on loopback: pages, retries, lost answers, connections."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest
import stores

from alphabeam.transforms import listing, storage


@pytest.fixture(scope="module")
def doors():
    with stores.gcs() as gcs, stores.s3() as s3:
        yield {"gs": gcs, "s3": s3}


@pytest.fixture(params=["gs", "s3"])
def scheme(request):
    return request.param


@pytest.fixture
def door(doors, scheme):
    yield doors[scheme]
    doors[scheme].forget()


@pytest.fixture
def base(door, scheme, tmp_path):
    return f"{scheme}://{stores.BUCKET}/{tmp_path.name}"


def write_all(base, names):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: storage.write_atomic(f"{base}/{name}", b"x"), names))


def test_listings_come_by_pages_and_never_file_by_file(base, door, monkeypatch):
    names = [f"a/{number:02}.bin" for number in range(23)] + ["a-neighbour/x", "b"]
    write_all(base, names)
    monkeypatch.setattr(listing, "_PAGE", 5)
    door.forget()
    listed = [file.uri for file in storage.list_files(f"{base}/a")]
    assert listed == [f"{base}/{name}" for name in names[:23]]
    assert sum(door.requests.values()) == 5
    door.forget()
    listed = [file.uri for file in storage.glob_files(f"{base}/a/1*.bin")]
    assert listed == [f"{base}/a/1{digit}.bin" for digit in range(10)]
    assert sum(door.requests.values()) <= 3
    assert [file.uri for file in storage.glob_files(f"{base}/**/x")] == [f"{base}/a-neighbour/x"]
    storage.remove_tree(f"{base}/a")
    assert [file.uri for file in storage.list_files(base)] == [
        f"{base}/{name}" for name in names[23:]
    ]


def test_a_single_file_and_a_folders_placeholder(base):
    storage.write_atomic(f"{base}/folder/", b"")  # as a web console leaves it
    storage.write_atomic(f"{base}/folder/file.txt", b"text")
    storage.write_atomic(f"{base}/folder/file.txt.bak", b"")
    assert [file.uri for file in storage.list_files(f"{base}/folder/file.txt")] == [
        f"{base}/folder/file.txt"
    ]
    assert [file.uri for file in storage.list_files(f"{base}/folder")] == [
        f"{base}/folder/file.txt",
        f"{base}/folder/file.txt.bak",
    ]
    assert list(storage.list_files(f"{base}/fold")) == []


def test_what_other_processes_write_is_seen(base, door, scheme):
    storage.write_atomic(f"{base}/one", b"")
    assert len(list(storage.list_files(base))) == 1
    assert not storage.exists(f"{base}/two")
    fs, path = storage.resolve(base)
    other = type(fs)(skip_instance_cache=True)
    other.pipe_file(f"{path}/two", b"2")
    assert storage.exists(f"{base}/two")
    assert len(list(storage.list_files(base))) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_what_passes_is_tried_again(base, door, status):
    write_all(base, ["read", "removed", "tree/0", "tree/1"])
    tries = Counter()

    def fail_once(request):
        what = (request.command, request.path)
        tries[what] += 1
        return status if tries[what] == 1 else None

    door.trouble = fail_once
    operations = [
        lambda: storage.read_bytes(f"{base}/read") == b"x",
        lambda: storage.write_atomic(f"{base}/written", b"w") is None,
        lambda: storage.write_exclusive(f"{base}/created", b"c"),
        lambda: len(list(storage.list_files(f"{base}/tree"))) == 2,
        lambda: storage.remove(f"{base}/removed") is None,
        lambda: storage.exists(f"{base}/read"),
        lambda: storage.open_input(f"{base}/read").read() == b"x",
    ]
    with ThreadPoolExecutor(len(operations)) as pool:
        assert all(pool.map(lambda operation: operation(), operations))
    assert max(tries.values()) >= 2
    door.trouble = None
    assert storage.read_bytes(f"{base}/written") == b"w"
    assert storage.read_bytes(f"{base}/created") == b"c"
    assert not storage.exists(f"{base}/removed")


def test_a_lost_answer_to_a_creation_is_no_other_writer(base, door):
    lost = []

    def lose_first(request):
        if request.command in ("POST", "PUT") and not lost:
            lost.append(request.path)
            return "lost"
        return None

    door.trouble = lose_first
    assert storage.write_exclusive(f"{base}/intent", b"mine")
    assert lost
    door.trouble = None
    assert not storage.write_exclusive(f"{base}/intent", b"another's")
    assert storage.read_bytes(f"{base}/intent") == b"mine"


def test_of_many_exclusive_writers_one_creates_the_object(base):
    start = threading.Barrier(8)

    def write(number):
        start.wait()
        return storage.write_exclusive(f"{base}/lock", str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(write, range(8)))
    assert created.count(True) == 1
    assert storage.read_bytes(f"{base}/lock") == str(created.index(True)).encode()


@pytest.mark.parametrize("scheme", ["gs"])  # botocore tries again by itself, after a minute
def test_a_store_that_falls_silent_is_asked_again(base, door, monkeypatch):
    storage.write_atomic(f"{base}/x", b"x")
    fs, _ = storage.resolve(base)
    monkeypatch.setattr(fs, "requests_timeout", aiohttp.ClientTimeout(total=0.5))
    silent = []

    def first_is_silent(request):
        if not silent:
            silent.append(request.path)
            return "silence"
        return None

    door.trouble = first_is_silent
    assert storage.read_bytes(f"{base}/x") == b"x"
    assert silent


def test_a_refusal_is_not_asked_again(base, door):
    door.trouble = lambda request: 403
    with pytest.raises(OSError, match=r"Forbidden|403"):
        storage.write_atomic(f"{base}/x", b"")
    assert sum(door.requests.values()) == 1


def test_a_process_has_one_pool_of_connections(base, door):
    write_all(base, ["x"])
    door.forget()
    for _ in range(20):
        storage.read_bytes(f"{base}/x")
    assert door.connections <= 1
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: storage.read_bytes(f"{base}/x"), range(40)))
    assert door.connections <= 4
