"""Finished pictures put to presigned addresses: every one, once stored there, and none lost."""

from __future__ import annotations

import json
import os
import signal

import pyarrow.parquet as pq
import pytest
from hosted_jobs import flags_for
from photographs import write_manifest
from standins.kinds import WAYS
from test_job import errors_of, rows_of, run, stored
from test_job_providers import manifest_for
from test_kill import run as run_and_kill
from website import Answer, Website, redirect, reset

from alphabeam.pipeline.verify import verify
from alphabeam.transforms.errors import DeliveryError
from alphabeam.transforms.fetch import FetchLimits
from alphabeam.transforms.upload import upload, upload_trouble

LIMITS = FetchLimits(allow_private_hosts=True)
SIGNED = "?X-Amz-Credential=someone&X-Amz-Signature=5ec7e7"
OPEN = ["--allow_private_hosts"]


@pytest.fixture
def site():
    with Website() as website:
        yield website


def put_to(site, manifest, *answers, rows=None):
    """Gives every row of a manifest a presigned address that answers so; gives the paths."""
    table = pq.read_table(manifest)
    paths = [f"/bucket/{key}" for key in table.column("key").to_pylist()]
    for number, path in enumerate(paths):
        wanted = rows is None or number in rows
        site.on(path, *(answers if answers and wanted else (Answer(),)))
    addresses = [site.url(path) + SIGNED for path in paths]
    pq.write_table(table.append_column("put_to", [addresses]), manifest)
    return paths


def bodies(site):
    return {asked.path.partition("?")[0]: asked.body for asked in site.requests}


@pytest.mark.parametrize(
    ("form", "kind"), [("png", "image/png"), ("webp", "image/webp"), ("jpg", "image/jpeg")]
)
def test_a_picture_is_put_with_its_type_and_the_whole_address(site, form, kind):
    assert upload(site.on("/a", Answer()) + SIGNED, b"picture", form, LIMITS) == 1
    (asked,) = site.requests
    assert (asked.method, asked.path, asked.body) == ("PUT", "/a" + SIGNED, b"picture")
    assert asked.headers["Content-Type"] == kind
    assert asked.headers["Content-Length"] == "7"


@pytest.mark.parametrize("hindrance", [Answer(status=503), Answer(status=429), reset])
def test_what_may_pass_is_tried_again(site, hindrance):
    pauses = []
    site.on("/a", hindrance, hindrance, Answer(status=204))
    assert upload(site.url("/a"), b"picture", "png", LIMITS, sleep=pauses.append) == 3
    assert len(pauses) == 2
    assert [asked.body for asked in site.requests if asked.method == "PUT"][-1] == b"picture"


def test_a_redirect_to_the_same_request_elsewhere_is_followed(site):
    site.on("/a", redirect(site.on("/b", Answer()), status=307))
    upload(site.url("/a"), b"picture", "png", LIMITS)
    assert [(asked.method, asked.path, asked.body) for asked in site.requests] == [
        ("PUT", "/a", b"picture"),
        ("PUT", "/b", b"picture"),
    ]


@pytest.mark.parametrize(
    ("answer", "kind", "retryable"),
    [
        (Answer(status=403), "http_403", False),
        (redirect("/elsewhere", status=302), "http_302", False),
        (redirect("/a", status=307), "too_many_redirects", False),
        (Answer(status=500), "http_500", True),
    ],
)
def test_a_refusal_names_the_address_without_its_signature(site, answer, kind, retryable):
    with pytest.raises(DeliveryError) as caught:
        upload(site.on("/a", answer) + SIGNED, b"picture", "png", LIMITS, sleep=lambda _: None)
    error = caught.value
    assert (error.stage, error.kind, error.retryable) == ("upload", kind, retryable)
    assert error.attempts == (4 if retryable else 1)
    assert site.url("/a") in error.message
    assert "5ec7e7" not in error.message


def test_private_addresses_are_guarded(site):
    with pytest.raises(DeliveryError, match="not on the public internet") as caught:
        upload(site.url("/a"), b"picture", "png", FetchLimits())
    assert caught.value.kind == "private_address"
    assert site.requests == []


@pytest.mark.parametrize("target", [None, "", "gs://bucket/a.png", "http://", "http://[1", 7])
def test_what_is_no_address_is_told_before_anything_is_done(target):
    trouble = upload_trouble(target)
    assert trouble is not None
    assert trouble.kind == ("bad_upload_url" if target else "no_upload_url")
    assert upload_trouble("https://bucket.example/a.png" + SIGNED) is None


def test_every_picture_is_uploaded_as_it_is_stored(site, tmp_path):
    manifest = write_manifest(str(tmp_path))
    paths = put_to(site, manifest)
    flags = ["--upload_column", "put_to", "--unit_size", "4", *OPEN]
    assert run(manifest, tmp_path / "out", *flags) == 0
    assert verify(str(tmp_path / "out")).faults == ()
    rows = rows_of(tmp_path / "out")
    assert {f"/bucket/{row['key']}" for row in rows} == set(paths) == set(bodies(site))
    for row in rows:
        picture = (tmp_path / "out" / row["image_path"]).read_bytes()
        assert bodies(site)[f"/bucket/{row['key']}"] == picture
        assert row["put_to"].endswith(SIGNED)
    marker = json.loads(next((tmp_path / "out" / "_units").iterdir()).read_text())
    assert marker["seconds"]["upload"] > 0


def test_a_failed_upload_is_an_error_row_that_retry_failed_mends(site, tmp_path, capsys):
    manifest = write_manifest(str(tmp_path))
    put_to(site, manifest, Answer(status=403), Answer(), rows=[1, 3])
    flags = ["--upload_column", "put_to", *OPEN]
    assert run(manifest, tmp_path / "out", *flags) == 0
    assert "2 × http_403" in capsys.readouterr().out
    assert verify(str(tmp_path / "out")).faults == ()
    errors = errors_of(tmp_path / "out")
    assert {(row["stage"], row["error"], row["engine"]) for row in errors} == {
        ("upload", "http_403", "stub_engines:Disc")
    }
    assert not any("5ec7e7" in row["message"] for row in errors)
    assert len(rows_of(tmp_path / "out")) == 4
    assert run(manifest, tmp_path / "out", *flags, "--retry_failed") == 0
    assert errors_of(tmp_path / "out") == []
    assert verify(str(tmp_path / "out")).faults == ()
    for row in rows_of(tmp_path / "out"):
        picture = (tmp_path / "out" / row["image_path"]).read_bytes()
        assert bodies(site)[f"/bucket/{row['key']}"] == picture
    assert len(site.requests) == 8


@pytest.mark.usefixtures("hurried")
def test_a_hosted_picture_whose_upload_failed_is_not_paid_again(site, tmp_path):
    way = WAYS["runware-bria async"]
    with way.open() as standin:
        manifest = manifest_for(way, standin, tmp_path, 3)
        put_to(site, manifest, Answer(status=403), Answer(), rows=[0, 1, 2])
        flags = flags_for(way, standin, "--upload_column=put_to")
        engine = ["--engine", way.provider]
        assert run(manifest, tmp_path / "out", *flags, engine=engine) == 0
        assert [row["error"] for row in errors_of(tmp_path / "out")] == ["http_403"] * 3
        assert len(standin.bills) == 3
        assert run(manifest, tmp_path / "out", *flags, "--retry_failed", engine=engine) == 0
        rows = rows_of(tmp_path / "out")
        assert len(rows) == len(standin.bills) == 3
        assert all(row["cost_usd"] for row in rows)
        assert verify(str(tmp_path / "out")).faults == ()


@pytest.mark.usefixtures("hurried")
def test_rows_that_name_no_address_fail_before_they_are_paid_for(tmp_path):
    way = WAYS["runware-bria async"]
    with way.open() as standin:
        manifest = manifest_for(way, standin, tmp_path, 2)
        table = pq.read_table(manifest).append_column("put_to", [[None, "bucket/a.png"]])
        pq.write_table(table, manifest)
        flags = flags_for(way, standin, "--upload_column=put_to")
        assert run(manifest, tmp_path / "out", *flags, engine=["--engine", way.provider]) == 0
        errors = {row["error"]: row["stage"] for row in errors_of(tmp_path / "out")}
        assert errors == {"no_upload_url": "upload", "bad_upload_url": "upload"}
        assert standin.bills == []


def test_a_killed_run_uploads_the_rest_and_leaves_no_trace(site, tmp_path, monkeypatch):
    manifest = write_manifest(str(tmp_path), 8)
    paths = put_to(site, manifest)
    flags = ["--upload_column", "put_to", *OPEN]
    assert run_and_kill(manifest, tmp_path / "out", 24, *flags) == -signal.SIGKILL
    assert len(site.requests) > 0
    assert run_and_kill(manifest, tmp_path / "out", 0, *flags) == 0
    assert set(bodies(site)) == set(paths)
    assert verify(str(tmp_path / "out")).faults == ()
    assert run_and_kill(manifest, tmp_path / "whole", 0, *flags) == 0
    assert stored(tmp_path / "out") == stored(tmp_path / "whole")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--upload_column", "no"], "it has split, pixels, put_to"),
        (["--upload_column", "pixels"], "of type int64; use a column of web addresses"),
        (["--upload_column", "put_to", "--partition_by", "put_to"], "no folder names"),
    ],
)
def test_a_column_that_cannot_be_uploaded_to_is_refused(site, tmp_path, capsys, flags, expected):
    manifest = write_manifest(str(tmp_path), 2, pixels=[1, 2])
    put_to(site, manifest)
    assert run(manifest, tmp_path / "out", *flags) == 2
    assert expected in capsys.readouterr().err
    assert not os.path.exists(tmp_path / "out")
