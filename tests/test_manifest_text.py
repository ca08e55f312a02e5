"""CSV, TSV and JSON Lines manifests, cut into units and read back."""

import base64
import csv
import gzip
import io
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import run_program

from alphabeam.pipeline.manifest import ManifestUnusable, open_manifest, plan_units, read_unit
from alphabeam.pipeline.manifests import text as manifest_text
from alphabeam.pipeline.manifests.csv import Dialect


def write(path, data):
    data = data.encode() if isinstance(data, str) else data
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def read_all(manifest, unit_size):
    """Reads every unit; checks what holds for all of them."""
    records, tables, names = [], [manifest.schema.empty_table()], set()
    for unit in plan_units(manifest, unit_size):
        rows = read_unit(manifest, unit)
        found = list(rows.records)
        assert 0 < len(found) == rows.columns.num_rows == unit.rows <= unit_size
        assert [record.row for record in found] == list(range(unit.rows))
        assert rows.columns.schema == manifest.schema
        names.add(unit.name)
        records += found
        tables.append(rows.columns)
    assert len(names) == len(tables) - 1
    if not manifest.schema.names:
        return records, None
    return records, pa.concat_tables(tables)


cells = st.text(
    st.sampled_from("ab\",;\t\r\n  'é€")
    | st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    max_size=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("text")


class TestCsv:
    @given(
        rows=st.lists(st.tuples(cells, cells, cells), max_size=12),
        unit_size=st.integers(1, 5),
        end=st.sampled_from(["\n", "\r\n"]),
        kind=st.sampled_from(["csv", "tsv", "csv.gz"]),
        mark=st.sampled_from(["", "\ufeff"]),
        cut=st.booleans(),
    )
    @settings(deadline=None, max_examples=100)
    def test_written_rows_read_back_as_csv_reader_reads_them(
        self, folder, rows, unit_size, end, kind, mark, cut
    ):
        delimiter = "\t" if kind == "tsv" else ","
        rows = [(note, f"a picture {image}", code) for note, image, code in rows]
        # With lines that end in \n alone, csv.writer would leave a lone \r bare.
        bare = end == "\n" and any("\r" in cell for row in rows for cell in row)
        quoting = csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator=end, delimiter=delimiter, quoting=quoting)
        writer.writerows([["note", "image", "code"], *rows])
        content = text.getvalue().removesuffix(end) if cut else text.getvalue()
        expected = list(csv.reader(io.StringIO(content, newline=""), delimiter=delimiter))[1:]
        manifest = open_manifest(write(folder / f"m.{kind}", mark + content))
        records, table = read_all(manifest, unit_size)
        assert manifest.schema == pa.schema([("note", pa.string()), ("code", pa.string())])
        assert table.to_pylist() == [{"note": row[0], "code": row[2]} for row in expected]
        assert [record.source for record in records] == [
            f"{folder}/{row[1].strip()}".rstrip("/") for row in expected
        ]

    @given(
        content=st.text(st.sampled_from('a,"\n'), max_size=40),
        block=st.integers(1, 12),
        unit_size=st.integers(1, 4),
    )
    @settings(deadline=None, max_examples=100)
    def test_stray_quotes_mean_what_csv_reader_takes_them_for(self, content, block, unit_size):
        data = content.encode()
        dialect = Dialect(b",")
        expected = [row for row in csv.reader(io.StringIO(content, newline="")) if row]
        found = [dialect.fields(record) for record in dialect.records(io.BytesIO(data))]
        assert [[field.decode() for field in fields] for fields in found] == expected or (
            unclosed(content)
        )
        if unclosed(content):
            with pytest.raises(ManifestUnusable, match="opens a quote that is never closed"):
                measure_in_blocks(data, block, unit_size, dialect)
        else:
            extent = measure_in_blocks(data, block, unit_size, dialect)
            assert extent.rows == len(expected)
            parts = [data[a:b] for a, b in zip(extent.offsets, extent.offsets[1:], strict=False)]
            assert b"".join(parts) == data[: extent.offsets[-1]]
            assert not data[extent.offsets[-1] :].strip()
            again = [dialect.fields(r) for part in parts for r in dialect.records([*lines(part)])]
            assert again == found
            assert len(parts) == math.ceil(len(expected) / unit_size)

    def test_nothing_is_guessed_about_types(self, tmp_path):
        path = write(tmp_path / "m.csv", "image,zip,x,y\na.jpg,007,1e3,\nb.jpg,NA,null,true\n")
        _, table = read_all(open_manifest(path), 10)
        assert table.to_pylist() == [
            {"zip": "007", "x": "1e3", "y": ""},
            {"zip": "NA", "x": "null", "y": "true"},
        ]

    def test_bad_rows_have_trouble_and_empty_columns_and_the_rest_goes_on(self, tmp_path):
        data = b"image,key,a\nx.jpg,k1,1\ny.jpg,k2\nz.jpg,k3,1,2\n\n\xff.jpg,k4,1\nv.jpg,k5,5\n"
        records, table = read_all(open_manifest(write(tmp_path / "m.csv", data)), 2)
        assert [r.trouble and (r.trouble.kind, r.trouble.message) for r in records] == [
            None,
            ("bad_row", "m.csv row 2: 2 fields where the header has 3"),
            ("bad_row", "m.csv row 3: 4 fields where the header has 3"),
            ("bad_row", "m.csv row 4: not UTF-8: byte 0xff"),
            None,
        ]
        assert [r.key for r in records] == ["k1", "m.csv row 2", "m.csv row 3", "m.csv row 4", "k5"]
        assert table.column("a").to_pylist() == ["1", None, None, None, "5"]

    def test_a_nameless_column_gets_a_name(self, tmp_path):
        manifest = open_manifest(write(tmp_path / "m.csv", ",image\n0,a.jpg\n"))
        assert manifest.schema.names == ["column_1"]

    def test_a_single_column_is_enough(self, tmp_path):
        records, table = read_all(open_manifest(write(tmp_path / "m.csv", "image\na.jpg\n")), 9)
        assert [record.key for record in records] == ["a"]
        assert table is None

    def test_files_of_a_folder_may_lack_and_reorder_columns(self, tmp_path):
        write(tmp_path / "a.csv", "image,x,y\n1.jpg,1,2\n")
        write(tmp_path / "b.csv", "y,image\n3,2.jpg\n")
        records, table = read_all(open_manifest(str(tmp_path)), 9)
        assert [record.key for record in records] == ["1", "2"]
        assert table.to_pylist() == [{"x": "1", "y": "2"}, {"x": None, "y": "3"}]

    @pytest.mark.parametrize(
        ("header", "told"),
        [("image,x,z", 'has a column "z" that the first'), ("x,y", 'has no image column "image"')],
    )
    def test_columns_that_do_not_go_together_are_refused_in_planning(self, tmp_path, header, told):
        write(tmp_path / "a.csv", "image,x,y\n1.jpg,1,2\n")
        write(tmp_path / "b.csv", f"{header}\n")
        manifest = open_manifest(str(tmp_path))
        with pytest.raises(ManifestUnusable, match=r"b\.csv") as caught:
            list(plan_units(manifest, 9))
        assert told in str(caught.value)

    @pytest.mark.parametrize(
        ("data", "told"),
        [
            (b"", "is empty"),
            (b"\n\n", "is empty"),
            ("image,x\n".encode("utf-16"), "UTF-16"),
            (b"image,x\ra.jpg,1\r", "carriage returns"),
            (b"image,x,x\n", 'two columns called "x"'),
            (b"im\xffage\n", "not UTF-8"),
            (b"a,b\n", "among a, b"),
            (b'"image\n' + b"x" * (17 << 20), "has no end"),
            (b"image;label\na.jpg;1\n", "its header is one column, 'image;label', with ';' within"),
        ],
    )
    def test_a_header_that_will_not_do_is_explained(self, tmp_path, data, told):
        with pytest.raises(ManifestUnusable) as caught:
            open_manifest(write(tmp_path / "m.csv", data))
        assert told in str(caught.value)

    def test_a_quote_that_is_never_closed_swallows_no_rows(self, tmp_path):
        manifest = open_manifest(write(tmp_path / "m.csv", 'image,x\na,1\nb,"2\nc,3\n'))
        with pytest.raises(ManifestUnusable, match="row 2 opens a quote that is never closed"):
            list(plan_units(manifest, 1))


def unclosed(content):
    try:
        list(csv.reader(io.StringIO(content, newline=""), strict=False))
        # csv.reader takes an unclosed quote silently; one more line shows whether it was open.
        rows = list(csv.reader(io.StringIO(content + "\nz", newline="")))
        return rows[-1] != ["z"]
    except csv.Error:
        return False


def measure_in_blocks(data, block, unit_size, dialect):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_text, "_BLOCK", block)
        return manifest_text.measure(io.BytesIO(data), "m.csv", 0, unit_size, dialect)


def lines(data):
    return io.BytesIO(data)


json_scalars = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | cells
)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner),
    max_leaves=4,
)


class TestJsonLines:
    @given(
        rows=st.lists(
            st.fixed_dictionaries({"image": cells}, optional={"a": json_values, "b": json_values}),
            min_size=1,
            max_size=12,
        ),
        unit_size=st.integers(1, 5),
        end=st.sampled_from(["\n", "\r\n", "\n \n\n"]),
        kind=st.sampled_from(["jsonl", "ndjson", "json", "jsonl.gz"]),
        block=st.integers(1, 200),
    )
    @settings(deadline=None, max_examples=100)
    def test_written_rows_read_back(self, folder, rows, unit_size, end, kind, block):
        text = end.join(json.dumps(row) for row in rows)
        manifest = open_manifest(write(folder / f"m.{kind}", text))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(manifest_text, "_BLOCK", block)
            records, table = read_all(manifest, unit_size)
        assert [record.trouble and record.trouble.kind for record in records] == [
            None if row["image"].strip() else "no_image" for row in rows
        ]
        for name in manifest.schema.names:
            is_text = pa.types.is_string(table.schema.field(name).type)
            for row, found in zip(rows, table.column(name).to_pylist(), strict=True):
                value = row.get(name)
                if is_text and value is not None and not isinstance(value, str):
                    found = json.loads(found)
                assert same(found, value)

    def test_types_are_inferred_and_unified(self, tmp_path):
        rows = [
            {"image": "a.jpg", "i": 1, "f": 1, "m": 1, "s": "2020-01-01", "l": [], "t": {"a": 1}},
            {"image": "b.jpg", "i": None, "f": 2.5, "m": "x", "n": None, "l": [1], "big": 2**70},
        ]
        path = write(tmp_path / "m.jsonl", "\n".join(map(json.dumps, rows)))
        _, table = read_all(open_manifest(path), 9)
        assert table.schema == pa.schema(
            {
                "i": pa.int64(),
                "f": pa.float64(),
                "m": pa.string(),
                "s": pa.string(),
                "l": pa.list_(pa.int64()),
                "t": pa.struct({"a": pa.int64()}),
                "n": pa.string(),
                "big": pa.string(),
            }
        )
        assert table.column("m").to_pylist() == ["1", "x"]
        assert table.column("big").to_pylist() == [None, str(2**70)]

    def test_lines_that_are_broken_or_do_not_fit_are_bad_rows(self, tmp_path, monkeypatch):
        good = {"image": "a.jpg", "id": 1, "n": 1, "f": 1.5, "t": {"a": 1}, "s": "x"}
        late = [
            b'{"image": "b.jpg", ',
            b'["b.jpg"]',
            b'{"image": "\xff"}',
            b"[" * 100_000,
            *(
                json.dumps({**good, **change}).encode()
                for change in ({"n": 1.5}, {"n": True}, {"n": "1"}, {"n": 2**63}, {"f": 2**60 + 1},
                               {"t": {"a": 1, "b": 2}}, {"t": {"a": "1"}}, {"u": 1})
            ),
            json.dumps({**good, "s": [1, "é"], "f": 2, "t": None}).encode(),
        ]  # fmt: skip
        monkeypatch.setattr("alphabeam.pipeline.manifests.jsonl._SAMPLE", 1)
        path = write(tmp_path / "m.jsonl", b"\n".join([json.dumps(good).encode(), *late]))
        records, table = read_all(open_manifest(path), 4)
        kinds = [record.trouble and record.trouble.kind for record in records]
        assert kinds == [None, *["bad_row"] * 12, None]
        assert [record.key for record in records[::13]] == ["1", "1"]
        assert table.slice(1, 12).to_pylist() == [dict.fromkeys(table.column_names)] * 12
        assert table.slice(13).to_pylist() == [
            {"id": 1, "n": 1, "f": 2.0, "t": None, "s": '[1, "é"]'}
        ]
        told = [record.trouble.message for record in records[1:13]]
        assert all(f"m.jsonl row {i}: " in message for i, message in enumerate(told, 2))
        assert 'column "u" does not occur in the first 16 MiB' in told[-1]

    @pytest.mark.parametrize(
        ("data", "told"),
        [
            (b'[{"image": "a"}]', "is a JSON array"),
            (b"\n", "holds no JSON object"),
            (b"{broken\n", "holds no JSON object"),
            (b'{"label": 1}', "among label"),
        ],
    )
    def test_a_file_that_will_not_do_is_explained(self, tmp_path, data, told):
        with pytest.raises(ManifestUnusable) as caught:
            open_manifest(write(tmp_path / "m.json", data))
        assert told in str(caught.value)


def same(found, value):
    """Compares after Arrow: absent fields of structs are null, and 1 is 1.0."""
    if isinstance(found, dict) and isinstance(value, dict):
        return all(same(found.get(name), value.get(name)) for name in {*found, *value})
    if isinstance(found, list) and isinstance(value, list):
        return len(found) == len(value) and all(map(same, found, value))
    return found == value


class TestGzip:
    def test_units_deep_inside_are_reached_by_many_threads(self, tmp_path):
        data = b"image,n\n" + b"".join(b"%d.jpg,%d\n" % (i, i) for i in range(5000))
        packed = gzip.compress(data[:20_000]) + gzip.compress(data[20_000:])  # two members
        (tmp_path / "m.csv.gz").write_bytes(packed)
        manifest = open_manifest(str(tmp_path / "m.csv.gz"))
        units = list(plan_units(manifest, 64))
        with ThreadPoolExecutor(8) as pool:
            tables = list(pool.map(lambda u: read_unit(manifest, u).columns, reversed(units)))
        numbers = pa.concat_tables(reversed(tables)).column("n").to_pylist()
        assert numbers == [str(i) for i in range(5000)]

    @pytest.mark.parametrize(
        "damage",
        [
            lambda d: d[: len(d) // 2],
            lambda d: d[:-8] + b"abcd" + d[-4:],
            lambda d: d[:40] + b"\xff" * 30 + d[70:],
        ],
    )
    def test_damage_is_named(self, tmp_path, damage):
        data = gzip.compress(b"image\n" + b"".join(b"%d.jpg\n" % (i * i) for i in range(9999)))
        path = tmp_path / "m.csv.gz"
        path.write_bytes(damage(data))
        with pytest.raises(ManifestUnusable, match=r"m\.csv\.gz is damaged gzip"):
            list(plan_units(open_manifest(str(path)), 100))


class TestUnits:
    def test_a_file_that_shrank_since_planning_is_named(self, tmp_path):
        path = tmp_path / "m.csv"
        manifest = open_manifest(write(path, "image\n" + "a.jpg\n" * 10))
        unit = list(plan_units(manifest, 5))[-1]
        write(path, "image\n" + "a.jpg\n" * 6)
        with pytest.raises(ManifestUnusable, match="has changed since it was planned: 1 rows"):
            read_unit(manifest, unit)

    def test_pictures_within_the_text_are_never_all_in_memory(self, tmp_path):
        size, rows = 1 << 20, 128
        picture = base64.b64encode(b"\xff\xd8\xff" + os.urandom(size))
        with open(tmp_path / "m.csv", "wb") as file:
            file.write(b"image,n\n")
            for i in range(rows):
                file.write(picture + b",%d\n" % i)
        program = f"""
from memory import peak_rss
from alphabeam.pipeline.manifest import open_manifest, plan_units, read_unit
manifest = open_manifest({str(tmp_path / "m.csv")!r})
before = peak_rss()
(unit,) = plan_units(manifest, {rows})
rows = read_unit(manifest, unit)
assert rows.columns.column("n").to_pylist() == [str(i) for i in range({rows})]
assert sum(len(record.source) for record in rows.records) == {rows * len(picture)}
print(peak_rss() - before)
"""
        assert 0 < int(run_program(program)) < rows * len(picture) / 2
