"""`verify` finds rows, columns and records that do not fit one another, also after a compaction."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_datasets import LAYOUTS, run
from photographs import write_manifest
from planting import Planter

from alphabeam.pipeline.compact import compact
from alphabeam.pipeline.dataset import open_dataset
from alphabeam.pipeline.stored_content import open_stored
from alphabeam.pipeline.verification import rows as rows_module
from alphabeam.pipeline.verify import verify


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("columns")
    labels = pa.array([[n] for n in range(9)], pa.list_(pa.int16()))
    kinds = pa.array(list("abcabcabc")).dictionary_encode()
    manifest = write_manifest(str(folder), 9, size=48, label=labels, kind=kinds)
    for missing in ("coffee_0", "chelsea_1"):
        (folder / "photos" / f"{missing}.jpg").unlink()
    datasets = {}
    for layout in LAYOUTS:
        out = folder / layout
        run(
            manifest, out, layout, "--partition_by", "split,kind", "--save_mask", "--unit_size", "4"
        )
        datasets[layout, False] = out
        datasets[layout, True] = shutil.copytree(out, folder / f"{layout}-compacted")
        compact(str(datasets[layout, True]))
    return datasets


@pytest.fixture(params=[(layout, whole) for layout in LAYOUTS for whole in (False, True)])
def planter(request, made, tmp_path):
    return Planter(shutil.copytree(made[request.param], tmp_path / "out"))


def faults(planter):
    found = verify(str(planter.root)).faults
    assert not any("\n" in line for line in found)
    return found


def edit_table(planter, pattern, change):
    """Changes the largest file of a kind, and its marker's hash; gives its path."""
    paths = planter.files(pattern)
    path = max(paths, key=lambda path: pq.ParquetFile(planter.root / path).metadata.num_rows)
    table = change(pq.ParquetFile(planter.root / path).read())
    pq.write_table(table, planter.root / path)
    planter.rehash(path)
    return path


def rows(out):
    return sorted(open_dataset(out).to_table().to_pylist(), key=lambda row: row["key"])


def with_column(table, name, values):
    return table.set_column(table.schema.get_field_index(name), name, values)


def test_what_was_made_has_no_fault(planter):
    assert faults(planter) == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.append_column("stray", [[1] * len(t)]), "has columns of its own: stray"),
        (lambda t: t.drop_columns(["label"]), "has no column label of type list<element: int16>"),
        (
            lambda t: with_column(t, "label", t["label"].cast(pa.list_(pa.int32()))),
            "has no column label of type list<element: int16>",
        ),
        (lambda t: t.select(t.column_names[::-1]), "has other columns' order"),
        (lambda t: t.replace_schema_metadata(None), "has the schema version none, the dataset 2"),
    ],
)
@pytest.mark.parametrize("folder", ["data", "errors"])
def test_other_columns_in_one_file_are_named(planter, folder, change, told):
    path = edit_table(planter, f"{folder}/**/*.parquet", change)
    found = faults(planter)
    assert found[0].startswith(f"{path}: ")
    assert told.replace("element", "item") in found[0].replace("element", "item")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("key", None, "it has no key"),
        ("engine", None, "it has no engine"),
        ("confidence", 1.5, "confidence is 1.5, and not from 0 to 1"),
        ("confidence", float("nan"), "confidence is nan, and not from 0 to 1"),
    ],
)
def test_values_that_no_row_can_have_are_found(planter, name, value, told):
    def change(table):
        return with_column(
            table, name, pa.array([value] * len(table), table.schema.field(name).type)
        )

    path = edit_table(planter, "data/**/*.parquet", change)
    assert any(line.startswith(f"{path}: ") and told in line for line in faults(planter))


def test_errors_of_another_class_are_found(planter):
    edit_table(
        planter, "errors/*", lambda t: with_column(t, "error", pa.array(["made_up"] * len(t)))
    )
    (fault,) = faults(planter)
    assert "rows in errors/ are {'made_up': 1} by their class, and not {'not_found': 1}" in fault


def test_an_error_row_without_key_is_found(planter):
    path = edit_table(
        planter, "errors/*", lambda t: with_column(t, "key", pa.nulls(len(t), pa.string()))
    )
    assert faults(planter) == (f"{path}: has a row without key or error",)


def test_a_missing_file_of_errors_is_found_whether_it_is_listed_or_not(planter):
    path, *_ = planter.files("errors/*")
    size = (planter.root / path).stat().st_size
    (planter.root / path).unlink()
    assert any(line.startswith(f"{path}: missing") for line in faults(planter))
    marker, *_ = planter.markers()
    planter.edit_json(
        marker,
        lambda values: values.update(
            files=[file for file in values["files"] if file["path"] != path]
        ),
    )
    planter.edit_totals(files=-1, bytes=-size)
    (fault,) = faults(planter)
    assert "and 0 in errors/, and not" in fault


def test_rows_in_the_folder_of_another_partition_are_found(planter):
    path = planter.files("data/**/*.parquet")[0]
    other = path.replace("split=test", "split=moved")
    (planter.root / other).parent.mkdir(parents=True)
    (planter.root / path).rename(planter.root / other)

    def change(values):
        for file in values["files"]:
            file["path"] = file["path"].replace(path, other)

    record = planter.root / "_compaction.json"
    for marker in [*planter.markers(), *([record] if record.exists() else [])]:
        planter.edit_json(marker, change)
    found = faults(planter)
    told = "belongs into data/split=test/" if planter.layout == "embedded" else "another partition"
    assert any(line.startswith(f"{other}: ") and told in line for line in found)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_row_in_place_of_another_is_found_after_a_compaction(made, tmp_path, layout):
    planter = Planter(shutil.copytree(made[layout, True], tmp_path / "out"))
    path = edit_table(
        planter,
        "data/**/*.parquet",
        lambda t: pa.concat_tables([t.slice(0, 1), t.slice(0, len(t) - 1)]),
    )
    merged = f"{path.rpartition('/')[0]}/: its rows are not those that were merged"
    told = {"files": "do not name every picture once", "webdataset": "are not those in shards/"}
    others = {f"data/: its rows {told[layout]}"} if layout in told else set()
    assert set(faults(planter)) == {merged, *others}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_that_a_second_compaction_leaves_alone_are_still_known(made, tmp_path, layout):
    planter = Planter(shutil.copytree(made[layout, True], tmp_path / "out"))
    record = (planter.root / "_compaction.json").read_bytes()
    assert not compact(str(planter.root)).changed
    assert (planter.root / "_compaction.json").read_bytes() == record
    planter.edit_json("_compaction.json", lambda values: values.pop("sums"))
    assert faults(planter) == ()  # as compactions were recorded before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_out_of_order_are_found_after_a_compaction(made, tmp_path, layout):
    planter = Planter(shutil.copytree(made[layout, True], tmp_path / "out"))
    path = edit_table(planter, "data/**/*.parquet", lambda t: t.take(list(range(len(t)))[::-1]))
    found = faults(planter)
    assert found
    assert all(line.startswith(f"{path}: ") and "rows are not sorted" in line for line in found)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"failed_rows": [9]}, "failed_rows names a row twice, or one that is not among its"),
        ({"errors": {"not_found": 2}}, "1 rows failed, but its errors are {'not_found': 2}"),
        ({"errors": {"not_found": "1"}}, "cannot be read as a commit marker"),
        ({"errors": None}, "cannot be read as a commit marker"),
        ({"cost_usd": -1.0}, "cannot be read as a commit marker"),
        ({"cost_usd": None}, "cannot be read as a commit marker"),
        ({"cost_usd": float("nan")}, "cannot be read as a commit marker"),
        ({"seconds": {"wall": "1"}}, "cannot be read as a commit marker"),
        ({"seconds": {"wall": float("inf")}}, "cannot be read as a commit marker"),
        ({"seconds": {"decode": 1.0}}, "cannot be read as a commit marker"),
        ({"seconds": [1.0]}, "cannot be read as a commit marker"),
        ({"finished": "today"}, "cannot be read as a commit marker"),
        ({"engine": ["grabcut"]}, "cannot be read as a commit marker"),
    ],
)
def test_markers_that_contradict_themselves_are_found(planter, change, told):
    marker = planter.markers()[0]
    planter.edit_json(marker, lambda values: values.update(change))
    assert any(
        line.startswith(f"_units/{marker.name}: ") and told in line for line in faults(planter)
    )


@pytest.mark.parametrize("name", ["failed", "files", "bytes"])
def test_every_total_is_compared(planter, name):
    planter.edit_totals(**{name: 1})
    (fault,) = faults(planter)
    assert fault.startswith("dataset.json: its totals are ")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cost_usd": 0.5}, "cost_usd is 0.5, the markers' 0.0"),
        ({"errors": {"not_found": 3}}, "errors is {'not_found': 3}, the markers' {'not_found': 2}"),
        ({"errors": {}}, "errors is {}, the markers' {'not_found': 2}"),
        ({"seconds": {"wall": 1e9}}, "seconds is {'wall': 1000000000.0}, the markers' {"),
    ],
)
def test_amounts_and_kinds_in_the_totals_are_compared(planter, change, told):
    planter.edit_json("dataset.json", lambda values: values["totals"].update(change))
    (fault,) = faults(planter)
    assert fault.startswith(f"dataset.json: its totals' {told}")


@pytest.mark.parametrize("cost", [0.5, 1e-6])
def test_a_cost_that_is_not_its_rows_is_found(planter, cost):
    marker = planter.markers()[0]
    planter.edit_json(marker, lambda values: values.update(cost_usd=values["cost_usd"] + cost))
    planter.edit_totals(cost_usd=cost)
    (fault,) = faults(planter)
    if (planter.root / "_compaction.json").exists():
        assert fault == f"data/: its rows cost $0, the markers say ${cost:g}"
    else:
        assert fault == f"_units/{marker.name}: its rows cost $0, it says ${cost:g}"


def test_rows_that_cost_what_their_markers_do_not_say_are_found(planter):
    edit_table(
        planter, "data/**/*.parquet", lambda t: with_column(t, "cost_usd", [[0.25] * len(t)])
    )
    assert any(": its rows cost $" in line for line in faults(planter))


def test_a_sample_opens_the_files_of_its_rows_alone(planter, monkeypatch):
    opened = []

    def counted(paths, file):
        opened.append(file.path)
        return open_stored(paths, file)

    monkeypatch.setattr(rows_module, "open_stored", counted)
    assert verify(str(planter.root), 1).faults == ()
    owners = {path.rpartition("/")[2].partition(".")[0] for path in opened if "errors/" not in path}
    sampled = len(opened)
    opened.clear()
    assert verify(str(planter.root)).faults == ()
    assert 0 < sampled < len(opened)
    assert len(owners) <= 2


def test_edited_settings_are_found(planter):
    planter.edit_json("dataset.json", lambda values: values["settings"].update(engine="other"))
    assert faults(planter) == ("dataset.json: its settings are not those of its settings_hash",)


def test_manifests_of_every_type_of_column_have_no_fault(tmp_path):
    columns = {
        "small": pa.array([1, None, 3], pa.uint8()),
        "seconds": pa.array([1, 2, None], pa.timestamp("s")),
        "day": pa.array([0, 86_400_000, None], pa.date64()),
        "span": pa.array([1, 2, None], pa.duration("ns")),
        "view": pa.array(["a", None, "c"], pa.string_view()),
        "kind": pa.array(["a", None, "a"], pa.dictionary(pa.int8(), pa.large_string())),
        "pair": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float16(), 2)),
        "none": pa.nulls(3),
        "map": pa.array([[("k", [1])], None, []], pa.map_(pa.string(), pa.large_list(pa.int8()))),
        "deep": pa.array([{"a": [{"b": b"x"}]}, None, {"a": None}]),
    }
    manifest = write_manifest(str(tmp_path), 3, size=48, **columns)
    for layout in LAYOUTS:
        out = str(tmp_path / layout)
        assert run(manifest, out, layout, "--unit_size", "1") == 0
        assert verify(out).faults == ()
        before = rows(out)
        assert compact(out).after == 1
        assert verify(out).faults == ()
        assert rows(out) == before
