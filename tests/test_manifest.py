"""Which files a manifest is, what it is known by, and the units it falls into."""

import gzip
import os
import pickle
import re

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import write_photographs
from website import Answer, Website

from alphabeam.pipeline.manifest import (
    ManifestUnusable,
    open_manifest,
    plan_units,
    read_unit,
)
from alphabeam.pipeline.manifests import tally as manifest_tally
from alphabeam.pipeline.manifests.contract import file_label, unit_name
from alphabeam.transforms.rows import Columns


def records_of(manifest, unit_size=100):
    return [
        record for unit in plan_units(manifest, unit_size)
        for record in read_unit(manifest, unit).records
    ]  # fmt: skip


def write_table(path, rows=3):
    pq.write_table(pa.table({"image": [f"{i}.jpg" for i in range(rows)], "n": range(rows)}), path)


class TestOpening:
    def test_a_manifest_says_what_it_is(self, tmp_path):
        write_table(tmp_path / "m.parquet")
        manifest = open_manifest(str(tmp_path / "m.parquet"))
        assert (manifest.kind, manifest.base) == ("parquet", str(tmp_path))
        assert manifest.columns == Columns("image", None)
        assert manifest.schema == pa.schema({"n": pa.int64()})
        assert (manifest.files, manifest.bytes) == (1, os.path.getsize(tmp_path / "m.parquet"))
        assert re.fullmatch("[0-9a-f]{64}", manifest.identity)

    @pytest.mark.parametrize(
        ("key_column", "kept"), [(None, ["id"]), ("id", ["key", "id"]), ("key", ["id"])]
    )
    def test_a_key_column_is_one_of_the_others_unless_it_is_called_key(
        self, tmp_path, key_column, kept
    ):
        (tmp_path / "m.csv").write_text("key,image,id\nk,a.jpg,i\n")
        manifest = open_manifest(str(tmp_path / "m.csv"), key_column=key_column)
        assert manifest.schema.names == kept
        assert [record.key for record in records_of(manifest)] == [
            "i" if key_column == "id" else "k"
        ]

    def test_manifests_and_units_pickle_small(self, tmp_path):
        write_table(tmp_path / "m.parquet")
        manifest = open_manifest(str(tmp_path / "m.parquet"))
        units = list(plan_units(manifest, 2))
        assert pickle.loads(pickle.dumps((manifest, units))) == (manifest, units)
        assert len(pickle.dumps(manifest)) < 2000
        assert len(pickle.dumps(units[0])) < 500

    def test_a_relative_path_means_the_same_wherever_it_is_read(self, tmp_path, monkeypatch):
        (tmp_path / "m.csv").write_text("image\na.jpg\n")
        monkeypatch.chdir(tmp_path)
        manifest = open_manifest("m.csv")
        monkeypatch.chdir("/")
        assert [record.source for record in records_of(manifest)] == [f"{tmp_path}/a.jpg"]

    def test_a_file_uri_is_a_path(self, tmp_path):
        (tmp_path / "a b.csv").write_text("image\na.jpg\n")
        manifest = open_manifest(f"file://{tmp_path}/a%20b.csv")
        assert records_of(manifest)[0].source == f"{tmp_path}/a.jpg"

    @pytest.mark.parametrize("name", ["photos [2024]", "what?", "*"])
    def test_folders_and_files_may_be_called_like_globs(self, tmp_path, name):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.csv").write_text("image\na.jpg\n")
        for uri in (tmp_path / name, tmp_path / name / f"{name}.csv"):
            manifest = open_manifest(str(uri))
            assert [r.source for r in records_of(manifest)] == [f"{tmp_path}/{name}/a.jpg"]

    def test_a_glob_takes_its_matches_and_starts_where_it_begins(self, tmp_path):
        for name in ("a/1.csv", "a/2.csv", "b/3.csv", "b/x.jsonl"):
            os.makedirs(tmp_path / name[0], exist_ok=True)
            (tmp_path / name).write_text(f"image\n{name}.jpg\n")
        manifest = open_manifest(str(tmp_path / "*" / "[12].csv"))
        assert (manifest.base, manifest.files) == (str(tmp_path), 2)
        assert [r.source for r in records_of(manifest)] == [
            f"{tmp_path}/a/1.csv.jpg", f"{tmp_path}/a/2.csv.jpg"
        ]  # fmt: skip

    def test_hidden_files_and_what_writers_leave_are_no_tables(self, tmp_path):
        for name in ("a.csv", ".b.csv", "_c.csv", ".d/e.csv", "_temporary/f.csv", "notes.json"):
            os.makedirs((tmp_path / name).parent, exist_ok=True)
            (tmp_path / name).write_text("image\nx.jpg\n")
        assert open_manifest(str(tmp_path)).files == 1

    @pytest.mark.parametrize(
        ("uri", "told"),
        [
            ("nowhere.parquet", "there is no manifest"),
            ("nowhere/*.csv", "no file that matches"),
            ("empty", "holds neither manifests"),
            ("notes.txt", "is no manifest by its name: it may end in .parquet"),
            ("mixed", "files of several kinds (1 csv and 1 images)"),
            ("memory://nowhere/m.csv", "there is no manifest memory://nowhere/m.csv"),
            ("nosuchscheme://b/m.csv", "cannot read nosuchscheme://b/m.csv: Protocol not known"),
            ("labels.csv", "labels.csv: no image column among label"),
        ],
    )
    def test_what_cannot_be_used_is_explained_in_one_line(self, tmp_path, monkeypatch, uri, told):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty").mkdir()
        (tmp_path / "mixed").mkdir()
        (tmp_path / "mixed" / "a.csv").write_text("image\n")
        (tmp_path / "mixed" / "a.jpg").write_bytes(b"")
        (tmp_path / "notes.txt").write_text("image\n")
        (tmp_path / "labels.csv").write_text("label\n")
        with pytest.raises(ManifestUnusable) as caught:
            open_manifest(uri)
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_unit_without_rows_is_refused(self, tmp_path):
        write_table(tmp_path / "m.parquet")
        with pytest.raises(ValueError, match="at least 1 row: given 0"):
            plan_units(open_manifest(str(tmp_path / "m.parquet")), 0)


class TestImages:
    def test_a_folder_is_listed_sorted_and_without_what_is_hidden_or_no_picture(self, tmp_path):
        names = write_photographs(str(tmp_path / "in" / "deep"), 6, 32)
        for name in ("in/B.JPG", "in/a.webp", "in/_x.heic"):
            (tmp_path / name).write_bytes(b"x")
        for name in ("in/.hidden.jpg", "in/.thumbs/a.jpg", "in/notes.txt", "in/captions.json"):
            os.makedirs((tmp_path / name).parent, exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
        manifest = open_manifest(str(tmp_path / "in"))
        assert (manifest.kind, manifest.columns, manifest.files) == ("images", None, 9)
        units = list(plan_units(manifest, 4))
        assert [(unit.start, unit.rows) for unit in units] == [(0, 4), (4, 4), (8, 1)]
        found = records_of(manifest, 4)
        expected = sorted(["B.JPG", "a.webp", "_x.heic", *(f"deep/{name}" for name in names)])
        assert [record.source for record in found] == [f"{tmp_path}/in/{name}" for name in expected]
        assert [record.key for record in found] == [
            os.path.splitext(name)[0].replace("/", "_") for name in expected
        ]
        table = read_unit(manifest, units[2]).columns
        assert (table.num_rows, table.num_columns) == (1, 0)

    def test_names_that_look_like_something_else_are_paths(self, tmp_path):
        for name in ("data:,x.jpg", "a?b.jpg", "é\udcff.jpg", "*.jpg", "#.jpg", "100%.jpg"):
            (tmp_path / name).write_bytes(b"x")
        for record in records_of(open_manifest(str(tmp_path))):
            assert os.path.isfile(record.source)
            assert record.trouble is None

    def test_globs_and_single_pictures_are_manifests_too(self, tmp_path):
        names = sorted(write_photographs(str(tmp_path), 3, 32))
        assert open_manifest(str(tmp_path / "*.jpg")).files == 3
        found = records_of(open_manifest(str(tmp_path / names[0])))
        assert [record.source for record in found] == [str(tmp_path / names[0])]

    def test_columns_need_a_table(self, tmp_path):
        write_photographs(str(tmp_path), 1, 32)
        with pytest.raises(ManifestUnusable, match="holds pictures and no table"):
            open_manifest(str(tmp_path), key_column="id")


class TestIdentity:
    @pytest.fixture
    def opened(self, tmp_path):
        (tmp_path / "m").mkdir()
        for name in "ab":
            (tmp_path / "m" / f"{name}.csv").write_text(f"image,n\n{name}.jpg,1\n")
        return lambda: open_manifest(str(tmp_path / "m")).identity

    def test_it_stays_when_files_are_touched_or_moved_elsewhere(self, opened, tmp_path):
        before = opened()
        os.utime(tmp_path / "m" / "a.csv", (1, 1))
        assert opened() == before
        (tmp_path / "m").rename(tmp_path / "n")
        assert open_manifest(str(tmp_path / "n")).identity == before

    @pytest.mark.parametrize("limit", [10**9, 1])
    def test_it_changes_with_content_of_the_same_size_and_with_names(
        self, opened, tmp_path, monkeypatch, limit
    ):
        monkeypatch.setattr(manifest_tally, "_HASHED_FILE", limit)
        seen = {opened()}
        (tmp_path / "m" / "b.csv").write_text("image,n\nb.jpg,2\n")
        seen.add(opened())
        (tmp_path / "m" / "b.csv").rename(tmp_path / "m" / "c.csv")
        seen.add(opened())
        (tmp_path / "m" / "c.csv").unlink()
        seen.add(opened())
        assert len(seen) == 4

    def test_big_files_are_known_by_their_ends_and_their_time(self, opened, tmp_path, monkeypatch):
        monkeypatch.setattr(manifest_tally, "_HASHED_FILE", 10)
        monkeypatch.setattr(manifest_tally, "_END", 4)
        before = opened()
        os.utime(tmp_path / "m" / "a.csv", (1, 1))
        assert opened() != before

    def test_pictures_are_known_by_name_and_size(self, tmp_path):
        write_photographs(str(tmp_path), 2, 32)
        before = open_manifest(str(tmp_path)).identity
        name = sorted(os.listdir(tmp_path))[0]
        os.utime(tmp_path / name, (1, 1))
        assert open_manifest(str(tmp_path)).identity == before
        with open(tmp_path / name, "ab") as file:
            file.write(b"x")
        assert open_manifest(str(tmp_path)).identity != before


class TestUnitNames:
    def test_they_follow_from_the_file_within_the_manifest_and_the_row(self, tmp_path):
        for folder in ("one", "two"):
            os.makedirs(tmp_path / folder / "split=a")
            write_table(tmp_path / folder / "split=a" / "part 1.snappy.parquet", 5)
        names = [
            [unit.name for unit in plan_units(open_manifest(str(tmp_path / folder)), 2)]
            for folder in ("one", "two")
        ]
        assert names[0] == names[1]
        assert names[0] == [f"part_1_snappy-{names[0][0][-18:-10]}-00000000{i}" for i in (0, 2, 4)]

    @given(st.text(min_size=1, max_size=300), st.integers(0, 10**12))
    @settings(deadline=None, max_examples=100)
    def test_they_are_safe_on_every_file_system(self, relative, start):
        label = file_label(relative)
        name = unit_name(label, start)
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}-[0-9a-f]{8}-[0-9]{9,13}", name)
        assert name != unit_name(label, start + 1)
        assert label != file_label(relative + "x")

    @pytest.mark.parametrize(
        "relative", ["_.csv", "éé.csv", "CON", "..", "-rf.csv", "_-_.jsonl.gz"]
    )
    def test_a_name_with_nothing_safe_in_it_still_gives_one(self, relative):
        assert not file_label(relative).startswith(("_", "-", "."))


class TestStores:
    def test_a_manifest_in_a_store_is_read_from_there(self):
        fs = fsspec.filesystem("memory")
        fs.pipe("/bucket/set/a.csv", b"image,n\nx/1.jpg,1\n../2.jpg,2\n")
        fs.pipe("/bucket/set/b.csv.gz", gzip.compress(b"image,n\n3.jpg,3\n"))
        try:
            for uri in ("memory://bucket/set", "memory://bucket/set/*.csv*"):
                manifest = open_manifest(uri)
                assert [record.source for record in records_of(manifest, 1)] == [
                    "memory:///bucket/set/x/1.jpg",
                    "memory:///bucket/2.jpg",
                    "memory:///bucket/set/3.jpg",
                ]
                assert [record.key for record in records_of(manifest)][::2] == ["x_1", "3"]
            before = open_manifest("memory://bucket/set").identity
            fs.pipe("/bucket/set/b.csv.gz", gzip.compress(b"image,n\n4.jpg,3\n"))
            assert open_manifest("memory://bucket/set").identity != before
        finally:
            fs.rm("/bucket", recursive=True)

    def test_parquet_and_pictures_in_a_store_are_read_from_there(self, tmp_path):
        fs = fsspec.filesystem("memory")
        write_table(tmp_path / "m.parquet", 50)
        fs.pipe("/p/k=v/m.parquet", (tmp_path / "m.parquet").read_bytes())
        fs.pipe("/p/pictures/a.jpg", b"x")
        try:
            manifest = open_manifest("memory://p/k=v")
            units = list(plan_units(manifest, 5))
            tables = [read_unit(manifest, unit).columns for unit in units]
            assert pa.concat_tables(tables).column("n").to_pylist() == list(range(50))
            found = records_of(open_manifest("memory://p/pictures"))
            assert [record.source for record in found] == ["memory:///p/pictures/a.jpg"]
        finally:
            fs.rm("/p", recursive=True)


def ranged(body):
    """Serves a body whole or in the ranges asked for."""

    def respond(request):
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
        if asked is None:
            return Answer(body, headers={"Accept-Ranges": "bytes"})(request)
        start, stop = (int(digits) if digits else None for digits in asked.groups())
        start, stop = (start, (stop or len(body)) + 1) if start is not None else (-stop, None)
        headers = {"Content-Range": f"bytes {start}-{stop}/{len(body)}", "ETag": '"tag"'}
        return Answer(body[start:stop], 206, headers)(request)

    return respond


class TestTheWeb:
    @pytest.fixture
    def website(self):
        with Website() as website:
            yield website

    @pytest.mark.parametrize("packed", [False, True])
    def test_text_comes_from_servers_that_know_no_ranges(self, website, packed):
        rows = "".join(f"img/{i}.jpg,{'x' * 1000}\n" for i in range(6000))
        data = f"image,n\n{rows}".encode()
        path = "/set/m.csv.gz" if packed else "/set/m.csv"
        url = website.on(path, Answer(gzip.compress(data) if packed else data))
        manifest = open_manifest(url)
        assert manifest.base == website.url("/set")
        found = records_of(manifest, 4000)
        assert len(found) == 6000
        assert found[-1].source == website.url("/set/img/5999.jpg")
        assert found[-1].key == "img_5999"

    def test_parquet_comes_in_ranges(self, website, tmp_path):
        write_table(tmp_path / "m.parquet", 1000)
        manifest = open_manifest(
            website.on("/set/m.parquet", ranged((tmp_path / "m.parquet").read_bytes()))
        )
        found = records_of(manifest)
        assert [record.source for record in found] == [
            website.url(f"/set/{i}.jpg") for i in range(1000)
        ]

    def test_parquet_from_a_server_without_ranges_is_refused(self, website, tmp_path):
        write_table(tmp_path / "m.parquet", 100_000)
        url = website.on("/m.parquet", Answer((tmp_path / "m.parquet").read_bytes()))
        with pytest.raises(ManifestUnusable, match="range requests"):
            open_manifest(url)

    def test_a_signature_in_the_address_changes_no_names(self, website):
        website.on("/m.csv", Answer(b"image\na.jpg\n"))
        one, two = (open_manifest(website.url(f"/m.csv?sig={sig}")) for sig in ("a/b", "c"))
        assert one.identity == two.identity
        assert [unit.name for unit in plan_units(one, 1)] == [
            unit.name for unit in plan_units(two, 1)
        ]
        assert records_of(one)[0].source == website.url("/a.jpg")

    def test_rows_cannot_read_this_machine(self, website):
        data = b"image\n/etc/passwd\nfile:///etc/passwd\na.jpg\n"
        records = records_of(open_manifest(website.on("/m.csv", Answer(data))))
        assert [record.trouble and record.trouble.kind for record in records] == [
            "local_path_refused", "local_path_refused", None,
        ]  # fmt: skip
        assert [record.source for record in records] == [None, None, website.url("/a.jpg")]

    @pytest.mark.parametrize("status", [404, 503])
    def test_a_page_that_does_not_come_is_named_with_its_status(self, website, status):
        url = website.on("/m.csv", Answer(status=status))
        with pytest.raises(ManifestUnusable, match=f"cannot read {url}: {status}"):
            open_manifest(url)
