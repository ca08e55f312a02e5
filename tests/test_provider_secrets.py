"""Secrets after a run in which everything went wrong: nowhere but in the requests they are for."""

from __future__ import annotations

import base64
import logging
import pickle
import traceback
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from hosted_jobs import flags_for
from service import job_for
from standins.faults import Faults
from standins.kinds import QUICK, WAYS
from test_job import errors_of, rows_of, run
from test_job_providers import manifest_for
from website import Answer, Website, reset

from alphabeam.pipeline.job import CutOutDataset, CutOutUnits
from alphabeam.pipeline.settings import settings_from_options
from alphabeam.transforms import persistence
from alphabeam.transforms.providers.driver import Provider
from alphabeam.transforms.providers.errors import ProviderError, ProviderStoppedError

KEY = "keyid-4711-abcdef:keysecret-0815-ghijkl"
PARTS = ("keyid-4711", "keysecret-0815")

SCRIPT = {
    "submit": ["503", "429:0", "drop_after", "garbage", None, None, "400", "422", None, None],
    "poll": ["503", "429", "drop_before", "404", "garbage", None],
    "fetch": ["500", "404", None],
    "find": ["503", None],
    "media": ["404", "truncate", "jpeg", "503", None],
    "job": ["fail", None, "wedge", None],
}
LAST_WORDS = {"fal": "403", "pixazo": "402", "gmi": "402", "runware": "402"}


@pytest.mark.parametrize(
    "label",
    ["fal-bria queue", "fal-bria sync", "pixazo-bria 2", "gmi-bria queued", "runware-bria async"],
)
def test_no_error_log_pickle_or_file_holds_the_key(label, tmp_path, caplog):
    way = WAYS[label]
    with way.open(Faults(SCRIPT), key=KEY) as standin:
        standin.gossip = f"(your key is {KEY}, that is {PARTS[0]}-abcdef)"
        timing = replace(QUICK, deadline=0.3, grace=0.1, submit_timeout=1.0)
        settings = way.settings(standin, tmp_path, timing=timing)
        errors: list[BaseException] = []
        with caplog.at_level(logging.DEBUG), Provider(settings) as provider:
            shown = repr(vars(provider)) + repr(vars(provider._lane()))
            for number in range(10):
                future = provider.submit(job_for(way, standin, number))
                error = future.exception(60)
                if error is not None:
                    errors.append(error)
            standin.faults = Faults({"submit": [LAST_WORDS[label.partition("-")[0]]]})
            stopped = provider.submit(job_for(way, standin, 11)).exception(60)
            assert isinstance(stopped, ProviderStoppedError)
        standin.key = "another"
        with Provider(settings) as provider:
            refused = provider.submit(job_for(way, standin, 12)).exception(60)
            assert isinstance(refused, ProviderStoppedError)
        errors += [stopped, refused]
        assert any(isinstance(error, ProviderError) for error in errors)
        assert any("***" in str(error) for error in errors)
        texts = [shown, caplog.text, pickle.dumps(provider).decode("latin-1")]
        texts += [record.getMessage() for record in caplog.records]
        for error in errors:
            texts += ["".join(traceback.format_exception(error)), repr(error), repr(vars(error))]
            texts.append(pickle.dumps(error).decode("latin-1"))
            assert str(pickle.loads(pickle.dumps(error))) == str(error)
        files = [file for file in tmp_path.rglob("*") if file.is_file()]
        texts += [file.read_bytes().decode("latin-1") for file in files]
        texts += [request.path + str(request.query) for request in standin.seen]
        texts += [str(request.document) for request in standin.seen]
        assert files
        assert not [text for text in texts if any(part in text for part in PARTS)]


WORDS = "the words that sign posts"
ENCODED = base64.b64encode(WORDS.encode()).decode()
SIGNED = "?X-Goog-Signature=5ec7e7-0f-an-upload"


@pytest.mark.usefixtures("hurried")
def test_neither_the_webhooks_secret_nor_upload_signatures_leave_their_requests(
    tmp_path, capsys, caplog, monkeypatch
):
    monkeypatch.setenv("TEST_WEBHOOK_SECRET", f"whsec_{ENCODED}")
    monkeypatch.setattr(persistence, "_backoff", lambda state: 0.0)
    way, out = WAYS["fal-bria sync"], tmp_path / "out"
    with way.open(Faults({"submit": [None, "503", "429"]})) as standin, Website() as site:
        manifest = manifest_for(way, standin, tmp_path, 6)
        table = pq.read_table(manifest)
        troubles = [Answer(), Answer(status=403), Answer(status=500), reset, Answer(status=301)]
        addresses = [site.on(f"/{n}", trouble) + SIGNED for n, trouble in enumerate(troubles)]
        addresses.append(f"http://nowhere.invalid/5{SIGNED}")
        pq.write_table(table.append_column("put_to", [addresses]), manifest)
        hook = site.on("/hook", reset, Answer(status=500), Answer(status=400), Answer())
        flags = [
            *flags_for(way, standin, "--upload_column=put_to", "--unit_size=3"),
            f"--webhook_url={hook}?token=5ec7e7-0f-an-address",
            "--webhook_secret=env:TEST_WEBHOOK_SECRET",
        ]
        flags.remove("--no_report")
        with caplog.at_level(logging.DEBUG):
            run(manifest, out, *flags, engine=["--engine", way.provider])
            site.on("/hook", Answer(status=503))
            run(manifest, out, *flags, "--retry_failed", engine=["--engine", way.provider])
        assert (out / "_untold" / "run.json").exists()
        errors = {row["error"] for row in errors_of(out)}
        assert errors == {"http_403", "http_500", "http_301", "connection", "dns"}
        assert len(rows_of(out)) == 1
        options = ["--manifest", str(manifest), "--output", str(out), "--engine", way.provider]
        job = settings_from_options(PipelineOptions([*options, *flags]))
        said = capsys.readouterr()
        texts = [said.out, said.err, caplog.text]
        texts += [
            pickle.dumps(part(job)).decode("latin-1") for part in (CutOutUnits, CutOutDataset)
        ]
        for file in out.rglob("*"):
            rows_with_the_manifests_columns = file.suffix == ".parquet"
            if file.is_file() and not rows_with_the_manifests_columns:
                texts.append(file.read_bytes().decode("latin-1"))
        for row in [*rows_of(out), *errors_of(out)]:
            texts.append(str({name: value for name, value in row.items() if name != "put_to"}))
        secrets = (WORDS, ENCODED, "5ec7e7-0f-an-upload")
        assert not [text for text in texts if any(secret in text for secret in secrets)]
        assert "5ec7e7-0f-an-address" not in said.out + said.err
        records = [file.read_text() for file in (out / "_untold").iterdir()]
        assert not [text for text in records if "5ec7e7" in text]
