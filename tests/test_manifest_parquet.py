"""Parquet manifests, cut into units and read back with their exact types."""

import decimal
import os
import threading
from datetime import datetime, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import run_program

from alphabeam.pipeline.manifest import ManifestUnusable, open_manifest, plan_units, read_unit
from alphabeam.pipeline.manifests import row_groups
from alphabeam.pipeline.manifests.arrow_casts import compacted, is_castable
from alphabeam.pipeline.manifests.spool import Spool

NOON = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)
EVERY_TYPE = {
    "i8": pa.array([1, None, -3], pa.int8()),
    "u64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "f16": pa.array(np.array([1.5, 2, np.nan], np.float16)),
    "f32": pa.array([0.1, None, float("inf")], pa.float32()),
    "bool": pa.array([True, None, False]),
    "text": pa.array(["a", None, "\x00é"]),
    "large": pa.array(["a", None, ""], pa.large_string()),
    "view": pa.array(["a", None, "much longer than twelve bytes"], pa.string_view()),
    "bytes": pa.array([b"\xff", None, b""]),
    "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "date": pa.array([NOON.date(), None, NOON.date()]),
    "time": pa.array([1, None, 2], pa.time64("ns")),
    "zoned": pa.array([NOON, None, NOON], pa.timestamp("us", "Europe/Berlin")),
    "naive": pa.array([1, None, 2], pa.timestamp("ms")),
    "span": pa.array([1, None, 2], pa.duration("us")),
    "money": pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("-2.05")]),
    "dictionary": pa.array(["x", None, "x"]).dictionary_encode(),
    "ordered": pa.DictionaryArray.from_arrays(
        pa.array([1, None, 0], pa.int8()), pa.array(["lo", "hi"]), ordered=True
    ),
    "list": pa.array([[1, None], None, []], pa.list_(pa.int16())),
    "fixed list": pa.array([[1, 2], [3, None], [3, 4]], pa.list_(pa.int32(), 2)),
    "struct": pa.array([{"a": 1, "b": [{"c": "x"}]}, None, {"a": None, "b": None}]),
    "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "null": pa.nulls(3),
    "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None, b"1" * 16])
                                           .cast(pa.binary(16))),
    "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", None, "[1]"])),
    "dotted.name": pa.array([1, 2, 3]),
    "": pa.array([1, 2, 3]),
}  # fmt: skip


def repeated(rows):
    """Makes a table with a column of every Arrow type, any number of rows long."""
    columns = {
        name: pa.concat_arrays([column] * (rows // 3 + 1)).slice(0, rows)
        for name, column in EVERY_TYPE.items()
    }
    images = [f"photos/{i}.jpg" for i in range(rows)]
    return pa.table({"id": pa.array(range(rows)), "image": images, **columns})


def read_all(manifest, units):
    """Reads units; gives their records and their columns as one table."""
    records, tables = [], [manifest.schema.empty_table()]
    for unit in units:
        rows = read_unit(manifest, unit)
        found = list(rows.records)
        assert [record.row for record in found] == list(range(unit.rows))
        assert rows.columns.num_rows == unit.rows
        assert rows.columns.schema.equals(manifest.schema, check_metadata=True)
        rows.columns.validate(full=True)
        records += found
        tables.append(rows.columns)
    return records, pa.concat_tables(tables).unify_dictionaries()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parquet")


@pytest.fixture
def decoded(monkeypatch):
    """Notes the row groups that are decoded."""
    groups = []
    decode = row_groups.RowRange._decoded

    def noting(self, group):
        groups.append((self.columns, group))
        return decode(self, group)

    monkeypatch.setattr(row_groups.RowRange, "_decoded", noting)
    return groups


class TestUnits:
    @given(
        rows=st.integers(0, 60),
        group_rows=st.integers(1, 60),
        unit_size=st.integers(1, 70),
        most_rows=st.integers(1, 9),
        kept=st.integers(1, 8),
        backwards=st.booleans(),
    )
    @settings(deadline=None, max_examples=40)
    def test_each_row_comes_once_in_order_with_its_columns_as_they_were(
        self, folder, rows, group_rows, unit_size, most_rows, kept, backwards
    ):
        table = repeated(rows)
        path = str(folder / "m.parquet")
        pq.write_table(table, path, row_group_size=group_rows)
        manifest = open_manifest(path)
        units = list(plan_units(manifest, unit_size))
        assert [unit.start for unit in units] == list(range(0, rows, unit_size))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(row_groups, "_MOST_ROWS", most_rows)
            patch.setattr(row_groups, "_WORTH_KEEPING", kept)
            if backwards:
                for unit in reversed(units):
                    read_unit(manifest, unit)
            records, columns = read_all(manifest, units)
        assert [record.source for record in records] == [
            f"{folder}/photos/{i}.jpg" for i in range(rows)
        ]
        assert [record.key for record in records] == [str(i) for i in range(rows)]
        expected = table.drop_columns(["image"])
        assert same(columns, expected)

    def test_only_the_row_groups_needed_are_read(self, tmp_path):
        path = tmp_path / "m.parquet"
        table = pa.table({"image": [f"{os.urandom(20).hex()}.jpg" for _ in range(40)]})
        table = table.append_column("n", pa.array(range(40)))
        pq.write_table(table, path, row_group_size=10, compression="none", use_dictionary=False)
        manifest = open_manifest(str(path))
        group = pq.read_metadata(path).row_group(2)
        with open(path, "r+b") as file:
            file.seek(group.column(0).data_page_offset)
            file.write(b"\xff" * group.column(0).total_compressed_size)
        units = list(plan_units(manifest, 10))
        records, columns = read_all(manifest, [units[0], units[1], units[3]])
        assert len(records) == 30
        assert columns.column("n").to_pylist() == [*range(20), *range(30, 40)]
        with pytest.raises((OSError, pa.ArrowInvalid)):
            list(read_unit(manifest, units[2]).records)

    def test_a_giant_row_group_is_decoded_once_whatever_the_order(self, tmp_path, decoded):
        path = str(tmp_path / "m.parquet")
        pq.write_table(repeated(4000), path)
        manifest = open_manifest(path)
        units = list(plan_units(manifest, 100))
        threads = [
            threading.Thread(target=lambda unit=unit: list(read_unit(manifest, unit).records))
            for unit in units[::-3]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        records, columns = read_all(manifest, units)
        assert len(records) == 4000
        assert same(columns, repeated(4000).drop_columns(["image"]))
        assert len(decoded) == len({columns for columns, _ in decoded}) == 2

    def test_small_row_groups_leave_nothing_on_disk(self, tmp_path, decoded):
        path = str(tmp_path / "m.parquet")
        pq.write_table(repeated(64), path, row_group_size=8)
        manifest = open_manifest(path)
        for _ in range(2):
            read_all(manifest, plan_units(manifest, 16))
        assert len(decoded) == 2 * 2 * 8

    def test_a_file_of_the_same_name_with_other_rows_is_another(self, tmp_path):
        path = str(tmp_path / "m.parquet")
        for rows in (3000, 2000):
            pq.write_table(repeated(rows).slice(rows % 1000 + 1), path)
            manifest = open_manifest(path)
            units = list(plan_units(manifest, 10))
            assert next(read_unit(manifest, units[0]).records).key == str(1)
            assert next(read_unit(manifest, units[-1]).records).key == str(
                (rows - 2) // 10 * 10 + 1
            )

    def test_pictures_are_never_all_in_memory(self, tmp_path):
        size, rows = 1 << 20, 192
        noise = os.urandom(size - 3)
        images = [{"bytes": b"%03d" % i + noise, "path": f"{i}.jpg"} for i in range(rows)]
        table = pa.table({"image": images, "n": range(rows)})
        file = str(tmp_path / "m.parquet")
        pq.write_table(table, file, write_batch_size=4, compression="none")
        program = f"""
from memory import peak_rss
from alphabeam.pipeline.manifest import open_manifest, plan_units, read_unit
manifest = open_manifest({file!r})
before = peak_rss()
for unit_size in ({rows}, {rows // 12}):
    size = 0
    for unit in plan_units(manifest, unit_size):
        rows = read_unit(manifest, unit)
        size += sum(len(record.source) for record in rows.records)
        stop = unit.start + unit.rows
        assert rows.columns.column("n").to_pylist() == list(range(unit.start, stop))
    assert size == {rows * size}
print(peak_rss() - before)
"""
        assert 0 < int(run_program(program)) < rows * size / 2

    def test_dictionaries_shrink_to_what_a_unit_uses(self):
        words = pa.array([f"w{i}" for i in range(1000)])
        column = pa.DictionaryArray.from_arrays(
            pa.array([7, None, 999, 7], pa.int16()), words, ordered=True
        )
        batch = compacted(pa.record_batch({"c": column, "n": pa.array([1, 2, 3, 4])}))
        assert batch.column("c").dictionary.to_pylist() == ["w7", "w999"]
        assert batch.column("c").type == column.type
        assert batch.column("c").to_pylist() == column.to_pylist()
        none = pa.DictionaryArray.from_arrays(pa.array([None, None], pa.int8()), words[:3])
        assert compacted(pa.record_batch({"c": none})).column("c").to_pylist() == [None, None]


def same(one, other):
    """Compares tables whose dictionaries may list their values in another order, and NaN."""
    return one.schema.equals(other.schema) and all(
        repr(a.to_pylist()) == repr(b.to_pylist())
        for a, b in zip(one.columns, other.columns, strict=True)
    )


class TestSeveralFiles:
    def test_types_become_those_of_the_first_file(self, tmp_path):
        first = {"image": ["a.jpg"], "n": pa.array([1], pa.int64()), "t": ["x"], "only": [1.5]}
        second = {"t": pa.array(["y"]).dictionary_encode(), "n": pa.array([2], pa.int8()),
                  "image": pa.array(["b.jpg"], pa.large_string())}  # fmt: skip
        pq.write_table(pa.table(first), tmp_path / "a.parquet")
        pq.write_table(pa.table(second), tmp_path / "b.parquet")
        manifest = open_manifest(str(tmp_path))
        records, columns = read_all(manifest, plan_units(manifest, 9))
        assert [record.key for record in records] == ["a", "b"]
        assert columns.to_pylist() == [
            {"n": 1, "t": "x", "only": 1.5},
            {"n": 2, "t": "y", "only": None},
        ]

    def test_a_value_that_does_not_fit_is_a_bad_row(self, tmp_path):
        struct = [{"a": 1}, {"a": 2}, {"a": 3}]
        first = {"image": ["a.jpg"], "n": pa.array([1], pa.int8()), "s": struct[:1]}
        second = {"image": list("bcd"), "n": pa.array([2, 300, None]), "s": struct}
        pq.write_table(pa.table(first), tmp_path / "a.parquet")
        pq.write_table(pa.table(second), tmp_path / "b.parquet")
        manifest = open_manifest(str(tmp_path))
        records, columns = read_all(manifest, plan_units(manifest, 9))
        assert [record.trouble and record.trouble.kind for record in records] == [
            None, None, "bad_row", None,
        ]  # fmt: skip
        assert records[2].trouble.message == 'b.parquet row 2: column "n" does not fit int8'
        assert columns.to_pylist()[1:] == [
            {"n": 2, "s": {"a": 1}}, {"n": None, "s": None}, {"n": None, "s": {"a": 3}},
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("second", "told"),
        [
            ({"image": ["b"], "n": [[1]]}, 'column "n" of FILE is list<'),
            ({"image": ["b"], "m": [1]}, 'FILE has a column "m" that the first file of'),
            ({"n": [1]}, 'FILE has no image column "image"'),
        ],
    )
    def test_columns_that_do_not_go_together_are_refused_in_planning(self, tmp_path, second, told):
        pq.write_table(pa.table({"image": ["a"], "n": [1]}), tmp_path / "a.parquet")
        pq.write_table(pa.table(second), tmp_path / "b.parquet")
        manifest = open_manifest(str(tmp_path))
        with pytest.raises(ManifestUnusable) as caught:
            list(plan_units(manifest, 9))
        assert told.replace("FILE", str(tmp_path / "b.parquet")) in str(caught.value)

    @pytest.mark.parametrize(
        ("given", "wanted", "will"),
        [
            (pa.int8(), pa.float64(), True),
            (pa.null(), pa.map_(pa.string(), pa.int8()), True),
            (pa.timestamp("s", "UTC"), pa.timestamp("us", "Asia/Tokyo"), True),
            (pa.timestamp("s"), pa.timestamp("s", "UTC"), False),
            (pa.struct({"a": pa.int8(), "b": pa.int8()}), pa.struct({"a": pa.int8()}), False),
            (pa.struct({"a": pa.int8()}), pa.struct({"a": pa.int16()}), True),
            (pa.list_(pa.struct({"a": pa.int8()})), pa.list_(pa.struct({"b": pa.int8()})), False),
            (pa.list_(pa.int8()), pa.large_list(pa.int16()), True),
            (pa.map_(pa.string(), pa.int8()), pa.map_(pa.string(), pa.list_(pa.int8())), False),
            (pa.uuid(), pa.binary(16), True),
            (pa.int8(), pa.uuid(), False),
            (pa.list_(pa.int8()), pa.string(), False),
        ],
    )
    def test_casts_that_drop_or_reinterpret_are_none(self, given, wanted, will):
        assert is_castable(given, wanted) == will

    def test_hive_folders_are_columns(self, tmp_path):
        for folder, n in (
            ("split=test/day=a%2Fb", 1),
            ("split=train/day=__HIVE_DEFAULT_PARTITION__", 2),
        ):
            os.makedirs(tmp_path / folder)
            pq.write_table(pa.table({"image": [f"{n}.jpg"]}), tmp_path / folder / "p.parquet")
        os.makedirs(tmp_path / "_delta_log")
        pq.write_table(pa.table({"add": [1]}), tmp_path / "_delta_log" / "1.parquet")
        for uri in (str(tmp_path), str(tmp_path / "split=*" / "*" / "*.parquet")):
            manifest = open_manifest(uri)
            records, columns = read_all(manifest, plan_units(manifest, 9))
            assert [record.source for record in records] == [
                f"{tmp_path}/1.jpg",
                f"{tmp_path}/2.jpg",
            ]
            assert columns.to_pylist() == [
                {"split": "test", "day": "a/b"},
                {"split": "train", "day": None},
            ]

    def test_a_column_of_the_file_comes_before_its_folders(self, tmp_path):
        os.makedirs(tmp_path / "n=5")
        pq.write_table(pa.table({"image": ["a"], "n": [7]}), tmp_path / "n=5" / "p.parquet")
        manifest = open_manifest(str(tmp_path))
        _, columns = read_all(manifest, plan_units(manifest, 9))
        assert columns.to_pylist() == [{"n": 7}]


class TestFiles:
    def test_what_is_not_parquet_is_named(self, tmp_path):
        (tmp_path / "m.parquet").write_bytes(b"PAR1 but no more")
        with pytest.raises(ManifestUnusable, match=r"cannot read .*m\.parquet: "):
            open_manifest(str(tmp_path / "m.parquet"))

    def test_a_damaged_file_among_others_is_named_in_planning(self, tmp_path):
        pq.write_table(pa.table({"image": ["a"]}), tmp_path / "a.parquet")
        (tmp_path / "b.parquet").write_bytes(b"")
        manifest = open_manifest(str(tmp_path))
        with pytest.raises(ManifestUnusable, match=r"cannot read .*b\.parquet: "):
            list(plan_units(manifest, 9))

    def test_two_columns_of_one_name_are_refused(self, tmp_path):
        table = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([2])],
                                     names=["image", "n", "n"])  # fmt: skip
        pq.write_table(table, tmp_path / "m.parquet")
        with pytest.raises(ManifestUnusable, match='two columns called "n"'):
            open_manifest(str(tmp_path / "m.parquet"))

    @pytest.mark.parametrize(
        "images", [[1], [1.5], [["a.jpg"]], [True], [{"url": "a.jpg"}], [datetime(2026, 1, 1)]]
    )
    def test_an_image_column_that_cannot_hold_pictures_is_refused(self, tmp_path, images):
        table = pa.table({"image": images})
        pq.write_table(table, tmp_path / "m.parquet")
        told = r"column 'image' is \S.*, which neither names pictures nor holds them"
        with pytest.raises(ManifestUnusable, match=told):
            open_manifest(str(tmp_path / "m.parquet"))

    @pytest.mark.parametrize(
        "images",
        [
            pa.array(["a.jpg"], pa.large_string()),
            pa.array(["a.jpg"]).dictionary_encode(),
            pa.array([b"abcd"], pa.binary(4)),
            pa.array([{"path": "a.jpg", "bytes": None}]),
            pa.nulls(1),
        ],
    )
    def test_an_image_column_that_can_is_taken(self, tmp_path, images):
        pq.write_table(pa.table({"image": images}), tmp_path / "m.parquet")
        assert open_manifest(str(tmp_path / "m.parquet")).columns.image == "image"

    def test_field_metadata_stays_and_required_columns_may_be_null(self, tmp_path):
        field = pa.field("n", pa.int8(), nullable=False, metadata={"unit": "px"})
        schema = pa.schema([pa.field("image", pa.string()), field], {"pandas": "{}"})
        pq.write_table(pa.table([["a.jpg"], [1]], schema=schema), tmp_path / "m.parquet")
        manifest = open_manifest(str(tmp_path / "m.parquet"))
        kept = manifest.schema.field("n")
        assert (kept.nullable, kept.metadata) == (True, {b"unit": b"px"})
        assert manifest.schema.metadata is None
        read_all(manifest, plan_units(manifest, 1))


class TestSpool:
    def test_the_oldest_copies_go_first_and_readers_keep_theirs(self):
        spool = Spool(limit=10)
        written = []

        def copy(key, data=b"12345"):
            def write(file):
                written.append(key)
                file.write(data)

            return spool.get(key, write)

        first = copy("a")
        copy("b")
        copy("a")
        copy("c")
        assert [copy(key).read_at(1, 9) for key in "ab"] == [b"2345", b"2345"]
        assert written == ["a", "b", "c", "b"]
        assert copy("big", b"x" * 99).read_at(98, 9) == b"x"
        assert first.read_at(0, 2) == b"12"

    def test_a_failed_copy_is_tried_again(self):
        spool = Spool(limit=10)

        def failing(file):
            raise OSError("no room")

        with pytest.raises(OSError, match="no room"):
            spool.get("a", failing)
        assert spool.get("a", lambda file: file.write(b"x")).read_at(0, 9) == b"x"
