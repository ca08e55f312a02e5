"""Files on local disks, in memory and in object stores: whole writes, creation, listings."""

import os
import threading

import fsspec
import pytest
import stores
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabeam.transforms import storage


@pytest.fixture(scope="module")
def doors():
    with stores.gcs() as gcs, stores.s3() as s3:
        yield {"gcs": gcs, "s3": s3}


@pytest.fixture(params=["local", "file-uri", "memory", "gcs", "s3"])
def base(request, tmp_path):
    if request.param == "local":
        yield str(tmp_path)
    elif request.param == "file-uri":
        yield f"file://{tmp_path}"
    elif request.param == "memory":
        yield "memory://storage-test"
        fsspec.filesystem("memory").store.clear()
    else:
        request.getfixturevalue("doors")
        scheme = {"gcs": "gs", "s3": "s3"}[request.param]
        yield f"{scheme}://{stores.BUCKET}/{tmp_path.name}"


def test_what_is_written_is_read_back_and_replaced(base):
    uri = storage.join(base, "deep", "folder", "file.bin")
    assert not storage.exists(uri)
    storage.write_atomic(uri, b"one")
    storage.write_atomic(uri, b"two")
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == b"two"
    with storage.open_input(uri) as file:
        assert file.read(2) == b"tw"


def test_a_missing_file_is_a_file_not_found_error(base):
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(storage.join(base, "nothing"))
    assert list(storage.list_files(storage.join(base, "nothing"))) == []
    storage.remove(storage.join(base, "nothing"))
    storage.remove_tree(storage.join(base, "nothing"))


def test_listings_are_sorted_whole_and_spelt_like_the_canonical_root(base):
    names = ["a/z.txt", "a.txt", "a/b/c.txt", "b.txt"]
    for name in names:
        storage.write_atomic(storage.join(base, name), name.encode())
    listed = list(storage.list_files(base))
    uris = [info.uri for info in listed]
    assert uris == sorted(uris)
    root = storage.canonical(base).rstrip("/") + "/"
    assert {uri.removeprefix(root) for uri in uris} == set(names)
    assert {info.size for info in listed} == {len(name) for name in names}
    assert [info.uri for info in storage.glob_files(storage.join(base, "*.txt"))] == [
        uri for uri in uris if "/" not in uri.removeprefix(root)
    ]


def test_a_folder_called_like_a_glob_is_listed_as_it_is(base):
    for folder in ("a[b]", "ab"):
        storage.write_atomic(storage.join(base, folder, "x"), b"")
    (listed,) = storage.list_files(storage.join(base, "a[b]"))
    assert listed.uri == storage.canonical(storage.join(base, "a[b]", "x"))


def test_links_are_followed_but_not_in_circles_and_may_be_dead(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "file").write_text("text")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "other").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "back").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "dead").symlink_to(tmp_path / "nothing")
    listed = [file.uri for file in storage.list_files(str(tmp_path / "a"))]
    assert listed == [str(tmp_path / "a" / "file"), str(tmp_path / "a" / "other" / "dead")]


def test_removing_a_tree_leaves_its_neighbours(base):
    storage.write_atomic(storage.join(base, "gone", "x"), b"")
    storage.write_atomic(storage.join(base, "gone2"), b"")
    storage.remove_tree(storage.join(base, "gone"))
    assert not storage.exists(storage.join(base, "gone"))
    assert storage.exists(storage.join(base, "gone2"))


def test_of_many_exclusive_writers_one_creates_the_file(tmp_path):
    uri = str(tmp_path / "new" / "lock")
    start = threading.Barrier(8)
    created = []

    def write(number):
        start.wait()
        if storage.write_exclusive(uri, str(number).encode()):
            created.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(created) == 1
    assert storage.read_bytes(uri) == str(created[0]).encode()
    assert os.listdir(tmp_path / "new") == ["lock"]


def test_an_exclusive_write_keeps_the_first(base):
    uri = storage.join(base, "once")
    assert storage.write_exclusive(uri, b"first")
    assert not storage.write_exclusive(uri, b"second")
    assert storage.read_bytes(uri) == b"first"


@pytest.mark.parametrize(
    ("write", "step"), [(storage.write_atomic, "replace"), (storage.write_exclusive, "link")]
)
def test_a_scratch_folder_that_another_run_clears_away_costs_nothing(
    write, step, tmp_path, monkeypatch
):
    target, scratch = str(tmp_path / "data" / "x"), str(tmp_path / "_tmp")
    place, cleared = getattr(os, step), []

    def after_the_clearing(source, destination):
        if not cleared:
            cleared.append(storage.remove_tree(scratch))
        place(source, destination)

    monkeypatch.setattr(os, step, after_the_clearing)
    write(target, b"whole", scratch)
    assert cleared
    assert storage.read_bytes(target) == b"whole"


def test_half_written_files_stay_in_the_scratch_folder(tmp_path, monkeypatch):
    target, scratch = str(tmp_path / "data" / "x"), str(tmp_path / "_tmp")
    written = []

    def stopped(source, destination):
        written.append(os.path.dirname(source))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        storage.write_atomic(target, b"half", scratch)
    assert not os.path.exists(target)
    assert written == [scratch]
    assert os.listdir(scratch) == []


def test_an_unknown_scheme_is_named():
    with pytest.raises(ValueError, match="nosuch"):
        storage.resolve("nosuch://bucket/file")


def test_a_question_mark_in_a_web_address_is_no_glob():
    assert not storage.has_glob("https://host/manifest.csv?token=1")
    assert storage.has_glob("gs://bucket/part-?.parquet")


segments = st.text("abc-_.9", min_size=1, max_size=5).filter(lambda s: s.strip("."))


@settings(deadline=None, max_examples=60)
@given(st.lists(segments, min_size=1, max_size=5), st.sampled_from(["/x", "gs://b", "rel/"]))
def test_join_parent_and_basename_agree(parts, base):
    uri = storage.join(base, *parts)
    assert storage.basename(uri) == parts[-1]
    assert storage.parent(uri) == storage.join(base, *parts[:-1])
    assert "//" not in uri.replace("://", "")
