"""The main job through hosted providers, against stand-ins on loopback that keep a bill."""

import io
import json
import os
import pickle

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hosted_jobs import KEY, flags_for
from photographs import photograph, write_manifest, write_photographs
from PIL import Image
from standins.faults import Faults
from standins.kinds import WAYS
from standins.studio import luminance_alpha
from test_job import errors_of, rows_of, run

from alphabeam.pipeline.verify import verify

pytestmark = pytest.mark.usefixtures("hurried")


def manifest_for(way, standin, folder, count=6):
    """Writes a manifest of local files, or of addresses for ways that send those."""
    names = write_photographs(str(folder / "photos"), count)
    sources = [f"photos/{name}" for name in names]
    if not way.as_data:
        sources = [standin.offer(n, (folder / "photos" / n).read_bytes()) for n in names]
    table = pa.table({"key": [name[:-4] for name in names], "image": sources})
    pq.write_table(table, folder / "m.parquet")
    return folder / "m.parquet"


@pytest.mark.parametrize("label", WAYS)
def test_each_provider_makes_a_dataset_and_is_paid_once_a_picture(label, tmp_path):
    way = WAYS[label]
    with way.open() as standin:
        manifest = manifest_for(way, standin, tmp_path)
        engine = ["--engine", way.provider]
        flags = flags_for(way, standin)
        assert run(manifest, tmp_path / "out", *flags, engine=engine) == 0
        assert verify(str(tmp_path / "out")).faults == ()
        rows = rows_of(tmp_path / "out")
        assert errors_of(tmp_path / "out") == []
        assert len(rows) == len(standin.bills) == 6
        for row in rows:
            assert row["engine"] == way.provider
            assert row["provider_request_id"]
            assert row["attempts"] == 1
            source = np.asarray(Image.open(tmp_path / "photos" / f"{row['key']}.jpg"))
            pixels = np.asarray(Image.open(tmp_path / "out" / row["image_path"]))
            assert pixels.shape[:2] == source.shape[:2]
            if way.as_data:
                assert row["source_width"] == source.shape[1]
                visible = pixels[..., 3] > 0
                assert np.array_equal(pixels[visible][:, :3], source[visible])
        settings = json.loads((tmp_path / "out" / "dataset.json").read_text())
        spent = sum(row["cost_usd"] or 0 for row in rows)
        assert settings["totals"]["cost_usd"] == pytest.approx(spent)
        # Started anew, the same pictures come from the ledger.
        assert run(manifest, tmp_path / "out", *flags, "--overwrite", engine=engine) == 0
        assert len(rows_of(tmp_path / "out")) == len(standin.bills) == 6


def test_a_bad_key_ends_the_run_with_one_line(tmp_path, capsys):
    way = WAYS["fal-bria sync"]
    with way.open() as standin:
        manifest = manifest_for(way, standin, tmp_path)
        flags = flags_for(way, standin)
        os.environ[KEY] = "not-the-key-at-all"
        assert run(manifest, tmp_path / "out", *flags, engine=["--engine", way.provider]) == 1
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert "fal-bria" in last
        assert "not-the-key-at-all" not in last
        assert standin.bills == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (['--provider_options={"sync_mod": true}'], "sync_mode"),
        (["--provider_options=[1]"], "JSON object"),
        (["--provider_options={"], "not JSON"),
        (['--provider_options={"fal-bria": true}'], "the options of fal-bria are no object: true"),
        (
            ['--provider_options={"gmi-bria": {}}'],
            "gmi-bria is not one of --engine fal-bria",
        ),
        (["--api_key=sk-123456789"], "reference"),
        (["--api_key=env:NO_SUCH_VARIABLE_HERE"], "NO_SUCH_VARIABLE_HERE"),
        (["--provider_url=fal_quue=http://127.0.0.1:1"], "fal_queue"),
        (["--max_cost_usd=-1"], "--max_cost_usd"),
        (["--escalate_when=is_blank"], "second engine"),
    ],
)
def test_what_a_provider_cannot_do_with_is_refused_before_the_run(
    tmp_path, capsys, flags, expected
):
    os.environ["FAL_KEY"] = "a-key:of-two-halves"
    manifest = write_manifest(str(tmp_path), 1)
    assert run(manifest, tmp_path / "out", *flags, engine=["--engine", "fal-bria"]) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "sk-123456789" not in message
    assert not (tmp_path / "out").exists()


def test_options_of_providers_are_refused_where_none_is_asked(tmp_path, capsys):
    manifest = write_manifest(str(tmp_path), 1)
    assert run(manifest, tmp_path / "out", '--provider_options={"sync_mode": true}') == 2
    assert "--provider_options is for hosted engines" in capsys.readouterr().err


@pytest.mark.parametrize("transport", ["queue", "sync"])
def test_what_rembg_crops_is_laid_back_where_it_came_from(transport, tmp_path):
    way = WAYS["fal-rembg queue"]
    source = np.full((120, 160, 3), 255, np.uint8)
    subject = cv2.resize(photograph("coffee"), (60, 40), interpolation=cv2.INTER_AREA)
    source[21:61, 37:97] = subject
    Image.fromarray(source).save(tmp_path / "source.png")
    pq.write_table(pa.table({"key": ["a"], "image": ["source.png"]}), tmp_path / "m.parquet")
    options = {"crop_to_bbox": True, "transport": transport}
    with way.open() as standin:
        flags = flags_for(way, standin, options=options)
        engine = ["--engine", "fal-rembg"]
        assert run(tmp_path / "m.parquet", tmp_path / "out", *flags, engine=engine) == 0
        (job,) = standin.jobs.values()
        assert Image.open(io.BytesIO(job.picture)).size < source.shape[1::-1]
    (row,) = rows_of(tmp_path / "out")
    alpha = np.asarray(Image.open(tmp_path / "out" / row["image_path"]))[..., 3]
    assert np.array_equal(alpha, luminance_alpha(source[..., ::-1]))


def test_the_budget_is_kept_and_a_later_run_goes_on(tmp_path, capsys):
    way = WAYS["runware-bria sync"]
    with way.open() as standin:
        manifest = manifest_for(way, standin, tmp_path)
        engine = ["--engine", way.provider]
        flags = flags_for(way, standin, "--provider_concurrency=1", "--unit_size=2")
        assert run(manifest, tmp_path / "out", *flags, "--max_cost_usd=0.06", engine=engine) == 1
        assert "--max_cost_usd 0.06 is reached" in capsys.readouterr().err
        assert len(standin.bills) == 3
        assert run(manifest, tmp_path / "out", *flags, engine=engine) == 0
        assert len(standin.bills) == 6
        assert verify(str(tmp_path / "out")).faults == ()


def test_a_chain_falls_over_to_the_next_engine_by_row(tmp_path):
    way = WAYS["fal-bria sync"]
    faults = Faults({"submit": ["401"] * 50})
    with way.open(faults) as standin:
        manifest = manifest_for(way, standin, tmp_path, 4)
        flags = flags_for(way, standin)
        engine = ["--engine", "fal-bria,stub_engines:Disc"]
        assert run(manifest, tmp_path / "out", *flags, engine=engine) == 0
        rows = rows_of(tmp_path / "out")
        assert {row["engine"] for row in rows} == {"stub_engines:Disc"}
        assert len(rows) == 4


def test_a_chain_asks_nobody_else_for_what_may_have_been_paid_for(tmp_path):
    way = WAYS["runware-bria sync"]
    with way.open(Faults({"submit": ["drop_after"] + ["402"] * 9})) as standin:
        manifest = manifest_for(way, standin, tmp_path, 3)
        flags = flags_for(way, standin, "--provider_concurrency=1")
        engine = ["--engine", "runware-bria,stub_engines:Disc"]
        assert run(manifest, tmp_path / "out", *flags, engine=engine) == 0
        (error,) = errors_of(tmp_path / "out")
        assert (error["error"], error["retryable"]) == ("ambiguous", True)
        assert [row["engine"] for row in rows_of(tmp_path / "out")] == ["stub_engines:Disc"] * 2
        assert len(standin.bills) == 1


def test_doubtful_cutouts_are_escalated_and_the_row_says_so(tmp_path):
    way = WAYS["runware-bria async"]
    with way.open() as standin:
        manifest = manifest_for(way, standin, tmp_path, 6)
        flags = flags_for(way, standin, "--escalate_when=height > 100 or confidence < 0.95",
                          options={"runware-bria": dict(way.options)})  # fmt: skip
        engine = ["--engine", "stub_engines:Disc,runware-bria"]
        assert run(manifest, tmp_path / "out", *flags, engine=engine) == 2
        flags[-1:] = []
        flags = flags_for(way, standin, "--escalate_when=bbox_height > 85",
                          options={"runware-bria": dict(way.options)})  # fmt: skip
        assert run(manifest, tmp_path / "out", *flags, engine=engine) == 0
        rows = rows_of(tmp_path / "out")
        asked = [row for row in rows if row["engine"] == "runware-bria"]
        assert 0 < len(asked) < 6
        assert len(standin.bills) == len(asked)
        assert {row["escalated_from"] for row in asked} == {"stub_engines:Disc"}
        assert all(0 < row["escalated_confidence"] <= 1 for row in asked)
        kept = [row for row in rows if row["engine"] != "runware-bria"]
        assert all(row["bbox_height"] <= 85 and row["escalated_from"] is None for row in kept)


def test_no_key_is_in_anything_that_is_stored_or_said(tmp_path, capsys, caplog):
    way = WAYS["fal-bria queue"]
    with way.open(Faults({"submit": [None, "500", "422"]})) as standin:
        manifest = manifest_for(way, standin, tmp_path)
        flags = flags_for(way, standin)
        run(manifest, tmp_path / "out", *flags, engine=["--engine", way.provider])
        secret = standin.key.encode()
        assert len(secret) > 8
        said = capsys.readouterr()
        assert standin.key not in said.out + said.err + caplog.text
        for path in (tmp_path / "out").rglob("*"):
            assert path.is_dir() or secret not in path.read_bytes(), path


def test_the_job_of_a_provider_travels_without_its_key(tmp_path):
    from apache_beam.options.pipeline_options import PipelineOptions

    from alphabeam.pipeline.job import CutOutUnits
    from alphabeam.pipeline.settings import settings_from_options

    way = WAYS["fal-bria queue"]
    with way.open() as standin:
        manifest = manifest_for(way, standin, tmp_path, 1)
        options = PipelineOptions(
            [
                "--manifest",
                str(manifest),
                "--output",
                str(tmp_path / "out"),
                "--engine",
                way.provider,
                *flags_for(way, standin),
            ]
        )
        job = settings_from_options(options)
        assert standin.key.encode() not in pickle.dumps(CutOutUnits(job))
