"""`--retry_failed` after broken pictures were mended in place: theirs are the only rows to change."""

import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import stores
from made_datasets import LAYOUTS, run
from photographs import write_photographs

from alphabeam.pipeline.compact import compact
from alphabeam.pipeline.dataset import open_dataset, open_errors
from alphabeam.pipeline.report.write import write_report
from alphabeam.pipeline.verify import verify

UNITS = ("--unit_size", "2")


def keys(table):
    """Gives the keys without the folder, which those of tables begin with."""
    return sorted(key.removeprefix("photos_") for key in table.to_table(["key"])["key"].to_pylist())


class Photos:
    """A folder of photographs, some of which are broken, and manifests of it."""

    def __init__(self, folder):
        self.folder, self.out = folder / "photos", folder / "out"
        self.names = sorted(write_photographs(str(self.folder), 7, 64))
        self._whole = {name: (self.folder / name).read_bytes() for name in self.names}

    def break_(self, *numbers):
        for number in numbers:
            name = self.names[number]
            (self.folder / name).write_bytes(self._whole[name][:200])

    def mend(self, *numbers):
        for number in numbers:
            name = self.names[number]
            (self.folder / name).write_bytes(self._whole[name])

    def manifest(self, kind):
        if kind == "folder":
            return str(self.folder)
        if kind == "glob":
            return str(self.folder / "*_[01].jpg")
        table = pa.table({"image": [f"photos/{name}" for name in self.names]})
        path = self.folder.parent / f"m.{kind}"
        if not path.exists() and kind == "parquet":
            pq.write_table(table, path)
        elif not path.exists():
            path.write_text("\n".join(["image", *table["image"].to_pylist()]) + "\n")
        return str(path)


@pytest.fixture
def photos(tmp_path):
    return Photos(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["folder", "glob", "parquet", "csv"])
def test_pictures_that_were_mended_in_place_are_run_again(photos, layout, kind, capsys):
    photos.break_(0, 3, 4)
    manifest = photos.manifest(kind)
    assert run(manifest, photos.out, layout, *UNITS) == 0
    assert len(keys(open_errors(str(photos.out)))) == 3
    photos.mend(0, 3)
    capsys.readouterr()

    assert run(manifest, photos.out, layout, *UNITS, "--retry_failed") == 0
    assert "3 pictures in" in capsys.readouterr().out
    assert keys(open_errors(str(photos.out))) == [photos.names[4].removesuffix(".jpg")]
    assert verify(str(photos.out)).faults == ()

    assert run(manifest, photos.out, layout, *UNITS) == 0  # what was mended is what is known now
    assert "0 pictures in" in capsys.readouterr().out
    photos.mend(4)
    compact(str(photos.out))
    assert run(manifest, photos.out, layout, *UNITS, "--retry_failed") == 0
    assert keys(open_dataset(str(photos.out))) == [n.removesuffix(".jpg") for n in photos.names]
    assert verify(str(photos.out)).faults == ()
    write_report(str(photos.out))


def test_a_plain_run_names_the_flag_that_runs_a_mended_picture_again(photos, capsys):
    photos.break_(3)
    manifest = photos.manifest("folder")
    assert run(manifest, photos.out, "files", *UNITS) == 0
    photos.mend(3)
    capsys.readouterr()
    assert run(manifest, photos.out, "files", *UNITS) == 2
    told = capsys.readouterr().err
    assert (
        f"{photos.folder / photos.names[3]} has another content, and its row failed: "
        f"--retry_failed runs it again"
    ) in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("flags", [(), ("--retry_failed",), ("--retry_failed", "--watch", "0")])
def test_a_changed_picture_that_is_cut_out_already_is_refused(photos, capsys, flags):
    photos.break_(3)
    manifest = photos.manifest("folder")
    assert run(manifest, photos.out, "files", *UNITS) == 0
    before = sorted(photos.out.rglob("*"))
    recorded = [path.read_bytes() for path in (photos.out / "_manifest").iterdir()]
    photos.mend(3)
    photos.break_(5)
    capsys.readouterr()
    assert run(manifest, photos.out, "files", *UNITS, "--retry_failed") == 2
    told = capsys.readouterr().err
    assert f"{photos.folder / photos.names[5]} has another content, and its row did not" in told
    assert "put it back as it was" in told
    assert told.count("\n") == 1
    assert sorted(photos.out.rglob("*")) == before
    assert [path.read_bytes() for path in (photos.out / "_manifest").iterdir()] == recorded
    photos.mend(5)
    assert run(manifest, photos.out, "files", *UNITS, "--retry_failed") == 0
    assert verify(str(photos.out)).faults == ()
    photos.break_(3)  # whose row has not failed any more
    assert run(manifest, photos.out, "files", *UNITS, *flags) == 2


def test_a_picture_that_is_gone_is_refused_though_its_row_failed(photos, capsys):
    photos.break_(3)
    manifest = photos.manifest("folder")
    assert run(manifest, photos.out, "files", *UNITS) == 0
    os.unlink(photos.folder / photos.names[3])
    capsys.readouterr()
    assert run(manifest, photos.out, "files", *UNITS, "--retry_failed") == 2
    assert f"{photos.folder / photos.names[3]} is gone" in capsys.readouterr().err


def test_pictures_of_every_lot_are_mended_and_new_ones_taken_up(photos):
    later = photos.folder.parent / "later"
    later.mkdir()
    for name in photos.names[1::2]:
        shutil.move(photos.folder / name, later)
    photos.break_(0, 4)
    manifest = photos.manifest("folder")
    assert run(manifest, photos.out, "files", *UNITS) == 0
    for path in later.iterdir():
        shutil.move(path, photos.folder)
    newest = photos.folder / photos.names[5]
    shutil.move(newest, later)
    photos.break_(3)
    assert run(manifest, photos.out, "files", *UNITS, "--watch", "0") == 0
    assert len(keys(open_errors(str(photos.out)))) == 3
    shutil.move(later / newest.name, photos.folder)
    photos.mend(0, 3)
    assert run(manifest, photos.out, "files", *UNITS, "--watch", "0", "--retry_failed") == 0
    photos.mend(4)
    assert run(manifest, photos.out, "files", *UNITS, "--retry_failed") == 0
    assert len(keys(open_dataset(str(photos.out)))) == 7
    assert verify(str(photos.out)).faults == ()
    identity = json.loads((photos.out / "dataset.json").read_text())["manifest"]["identity"]
    assert run(manifest, photos.out, "files", *UNITS) == 0
    again = json.loads((photos.out / "dataset.json").read_text())["manifest"]["identity"]
    assert again == identity


def test_in_a_store_with_checksums_a_change_of_the_same_size_is_told(tmp_path, capsys):
    photos = Photos(tmp_path)
    with stores.s3():
        import fsspec

        fs = fsspec.filesystem("s3")
        base = f"s3://{stores.BUCKET}/mending"
        photos.break_(3)
        fs.put(str(photos.folder), f"{base}/photos", recursive=True)
        assert run(f"{base}/photos", f"{base}/out", "files", *UNITS) == 0
        assert len(keys(open_errors(f"{base}/out"))) == 1
        good, broken = (f"{base}/photos/{photos.names[number]}" for number in (5, 3))
        content = fs.cat_file(good)
        fs.pipe_file(broken, fs.cat_file(broken)[::-1])
        assert run(f"{base}/photos", f"{base}/out", "files", *UNITS, "--retry_failed") == 0
        fs.pipe_file(good, content[::-1])
        assert run(f"{base}/photos", f"{base}/out", "files", *UNITS, "--retry_failed") == 2
        assert f"{good} has another content, and its row did not" in capsys.readouterr().err
        fs.pipe_file(good, content)
        photos.mend(3)
        fs.put_file(str(photos.folder / photos.names[3]), broken)
        assert run(f"{base}/photos", f"{base}/out", "files", *UNITS, "--retry_failed") == 0
        assert len(keys(open_dataset(f"{base}/out"))) == 7
        assert verify(f"{base}/out").faults == ()
