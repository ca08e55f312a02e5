"""Pictures staged for a provider that fetches them itself: signed, bought once, and taken away."""

from __future__ import annotations

import functools
import http.server
import json
import os
import threading
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import doomed
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hosted_jobs import flags_for
from moto.server import ThreadedMotoServer
from photographs import photograph, write_photographs
from PIL import Image
from service import is_right, outcomes, picture
from standins.faults import Faults
from standins.kinds import WAYS
from test_job import errors_of, rows_of, run
from website import Answer, Website

from alphabeam.pipeline.verify import verify
from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.errors import ProviderError
from alphabeam.transforms.providers.messages import Picture
from alphabeam.transforms.providers.settings import Job
from alphabeam.transforms.providers.staging import Staging, hide_queries

WAY = WAYS["pixazo-bria 2"]
ENGINE = ["--engine", "pixazo-bria"]
pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(moto, monkeypatch):
    """An S3 bucket on loopback; gives its file system."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of the store")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    kind = fsspec.get_filesystem_class("s3")
    kind.clear_instance_cache()
    fs = kind()
    if not fs.exists("staging"):
        fs.mkdir("staging")
    yield fs
    kind.clear_instance_cache()


@pytest.fixture
def served(tmp_path):
    """A folder, and the address at which a web server gives its files."""
    folder = tmp_path / "staging"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Says nothing."""


def local_manifest(folder, count=3):
    names = write_photographs(str(folder / "photos"), count)
    table = pa.table({"key": [name[:-4] for name in names],
                      "image": [f"photos/{name}" for name in names]})  # fmt: skip
    pq.write_table(table, folder / "m.parquet")
    return folder / "m.parquet"


def texts(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes().decode("latin-1")


def test_local_pictures_reach_pixazo_through_a_bucket(bucket, tmp_path, capsys, caplog):
    manifest = local_manifest(tmp_path)
    with WAY.open(Faults({"submit": [None, "400", None]})) as standin:
        standin.gossip = "could not read http://127.0.0.1/staging/x.jpg?X-Amz-Signature=5ec7e7"
        flags = flags_for(WAY, standin, "--staging_uri=s3://staging/pictures")
        assert run(manifest, tmp_path / "out", *flags, engine=ENGINE) == 0
        (error,) = errors_of(tmp_path / "out")
        assert error["error"] == "rejected_input"
        assert "staging/x.jpg?…" in error["message"]
        assert verify(str(tmp_path / "out")).faults == ()
        rows = rows_of(tmp_path / "out")
        assert len(rows) == len(standin.bills) == 2
        for row in rows:
            source = np.asarray(Image.open(tmp_path / "photos" / f"{row['key']}.jpg"))
            pixels = np.asarray(Image.open(tmp_path / "out" / row["image_path"]))
            visible = pixels[..., 3] > 0
            assert np.array_equal(pixels[visible][:, :3], source[visible])
            assert row["source_sha256"]
            assert row["provider_resized"] is False
        for bill in standin.bills:
            address = urlsplit(bill.reference)
            assert address.path.startswith("/staging/pictures/")
            asked = parse_qs(address.query)
            (secret,) = asked["X-Amz-Signature"]
            assert not [text for text in texts(tmp_path / "out") if secret in text]
        said = capsys.readouterr()
        logged = [line.getMessage() for line in caplog.records if line.name != "werkzeug"]
        assert not [text for text in (said.out, said.err, *logged) if "ignature=" in text]
        assert not [text for text in texts(tmp_path / "out") if "ignature=" in text]
        bucket.invalidate_cache()
        assert bucket.find("staging") == []
        # Started anew, what was bought comes from the ledger: its name follows from the picture.
        assert run(manifest, tmp_path / "out", *flags, "--overwrite", engine=ENGINE) == 0
        assert len(standin.bills) == 2


def test_addresses_last_as_long_as_a_job_may_take(bucket):
    address = Staging("s3://staging/pictures").put("a.png", b"picture", 3841)
    asked = parse_qs(urlsplit(address).query)
    assert asked["X-Amz-Expires"] == ["3841"]
    bucket.rm("staging/pictures/a.png")


def test_a_folder_that_a_web_server_serves_will_do(served, tmp_path):
    folder, url = served
    manifest = local_manifest(tmp_path)
    with WAY.open() as standin:
        flags = flags_for(WAY, standin, f"--staging_uri={folder}", f"--staging_url={url}")
        assert run(manifest, tmp_path / "out", *flags, engine=ENGINE) == 0
        assert len(rows_of(tmp_path / "out")) == len(standin.bills) == 3
        assert all(bill.reference.startswith(f"{url}/") for bill in standin.bills)
    assert list(folder.iterdir()) == []


def test_public_addresses_are_downloaded_where_everything_is_to_be_known(served, tmp_path):
    folder, url = served
    turned = Image.fromarray(photograph("chelsea")[:90, :120])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    with WAY.open() as standin, Website() as site:
        address = site.on("/turned.jpg", Answer((tmp_path / "turned.jpg").read_bytes()))
        pq.write_table(pa.table({"key": ["cat"], "image": [address]}), tmp_path / "m.parquet")
        flags = flags_for(WAY, standin)
        assert run(tmp_path / "m.parquet", tmp_path / "passed", *flags, engine=ENGINE) == 0
        (passed,) = rows_of(tmp_path / "passed")
        assert (passed["exif_orientation"], passed["provider_resized"]) == (None, None)
        flags += ["--download_first", f"--staging_uri={folder}", f"--staging_url={url}"]
        assert run(tmp_path / "m.parquet", tmp_path / "out", *flags, engine=ENGINE) == 0
        (row,) = rows_of(tmp_path / "out")
        assert (row["width"], row["height"], row["exif_orientation"]) == (90, 120, 6)
        assert row["provider_resized"] is False
        assert standin.bills[1].reference.startswith(url)
    assert run(tmp_path / "m.parquet", tmp_path / "out", *flags[:-3], engine=ENGINE) == 2


def test_a_picture_that_was_scaled_back_says_so_in_its_row(tmp_path):
    way = WAYS["runware-bria async"]
    with way.open(Faults({"media": ["small"]})) as standin:
        manifest = local_manifest(tmp_path, 2)
        flags = flags_for(way, standin)
        assert run(manifest, tmp_path / "out", *flags, engine=["--engine", way.provider]) == 0
        assert verify(str(tmp_path / "out")).faults == ()
        rows = rows_of(tmp_path / "out")
        assert sorted(row["provider_resized"] for row in rows) == [False, True]
        for row in rows:
            assert (row["width"], row["height"]) == (row["source_width"], row["source_height"])


@pytest.mark.parametrize("point", doomed.POINTS)
def test_a_killed_purchase_goes_on_with_the_same_staged_picture(point, served, tmp_path):
    folder, url = served
    data = picture(0)
    with WAY.open() as standin:
        settings = WAY.settings(
            standin, tmp_path / "ledger", staging_uri=str(folder), staging_url=url
        )
        job = Job("a picture", Picture(data=data), (64, 48))
        doomed.start(settings, [job], point).join(60)
        left = {path.name for path in folder.iterdir()}
        with Provider(settings) as provider:
            (outcome,) = outcomes(provider, [job])
        assert len(standin.bills) <= 1
        if point in ("after intend", "before accept"):
            assert isinstance(outcome, ProviderError)
            assert outcome.kind == "ambiguous"
            assert {path.name for path in folder.iterdir()} == left
            with Provider(replace(settings, repay_ambiguous=True)) as provider:
                (outcome,) = outcomes(provider, [job])
        assert is_right(outcome)
        gone = point != "after buy"  # bought, and not asked for again: the bucket's rule removes it
        assert [path for path in folder.iterdir() if gone] == []


def test_a_store_that_takes_nothing_costs_nothing_and_is_worth_another_run(tmp_path):
    with WAY.open() as standin:
        (tmp_path / "staging").write_text("no folder")
        settings = WAY.settings(
            standin,
            tmp_path / "ledger",
            staging_uri=str(tmp_path / "staging"),
            staging_url="http://127.0.0.1:9",
        )
        job = Job("a picture", Picture(data=picture(0)), (64, 48))
        with Provider(settings) as provider:
            (outcome,) = outcomes(provider, [job])
            assert provider.spent_usd == 0
        assert isinstance(outcome, ProviderError)
        assert (outcome.kind, outcome.retryable) == ("unavailable", True)
        assert "--staging_uri" in outcome.message
        assert standin.bills == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--staging_uri={tmp}/here"], "its store cannot sign web addresses"),
        (["--staging_uri={tmp}/here", "--staging_url=ftp://x"], "--staging_url takes http(s)"),
        (["--staging_url=https://cdn.example"], "--staging_uri, which is not given"),
        (["--staging_uri={tmp}/out/here", "--staging_url=https://cdn.example"], "within --output"),
        (["--staging_uri={tmp}/m.parquet", "--staging_url=https://cdn.example"], "cannot be used"),
        (["--staging_uri=nosuch://bucket"], "nosuch"),
        (["--preserve_alpha"], "--preserve_alpha needs every picture here first"),
        (["--download_first"], "--download_first gets every picture here first"),
    ],
)
def test_what_cannot_reach_the_provider_is_refused(tmp_path, capsys, flags, expected):
    manifest = local_manifest(tmp_path, 1)
    with WAY.open() as standin:
        given = [flag.format(tmp=tmp_path) for flag in flags]
        flags = flags_for(WAY, standin, *given)
        assert run(manifest, tmp_path / "out", *flags, engine=ENGINE) == 2
        assert expected in capsys.readouterr().err
        assert not os.path.exists(tmp_path / "out")


def test_a_folder_of_pictures_is_refused_where_only_addresses_are_taken(tmp_path, capsys):
    write_photographs(str(tmp_path / "photos"), 1)
    with WAY.open() as standin:
        flags = flags_for(WAY, standin)
        assert run(tmp_path / "photos", tmp_path / "out", *flags, engine=ENGINE) == 2
        assert "--staging_uri" in capsys.readouterr().err


def test_a_key_file_signs_for_gcs_without_asking_google(tmp_path, monkeypatch):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account", "project_id": "p", "private_key": key.decode(),
        "client_email": "stager@p.iam.gserviceaccount.com",
        "token_uri": "http://127.0.0.1:9/token",
    }  # fmt: skip
    (tmp_path / "key.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setattr("alphabeam.transforms.storage.write_atomic", lambda uri, data: None)
    kind = fsspec.get_filesystem_class("gs")
    kind.clear_instance_cache()
    try:
        address = urlsplit(Staging("gs://bucket/staged").put("a.png", b"picture", 3841))
    finally:
        kind.clear_instance_cache()
    asked = parse_qs(address.query)
    assert address.path == "/bucket/staged/a.png"
    assert asked["X-Goog-Expires"] == ["3841"]
    assert asked["X-Goog-Credential"][0].startswith("stager@p.iam.gserviceaccount.com/")
    assert len(asked["X-Goog-Signature"][0]) == 512


def test_signatures_are_cut_off_every_address_in_a_text():
    text = 'read "https://a.example/b.png?X-Goog-Signature=5ec7e7", https://c.example/d?e=f too'
    assert hide_queries(text) == 'read "https://a.example/b.png?…", https://c.example/d?… too'
