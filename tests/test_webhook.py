"""The webhook: signed posts that an independent library accepts, told again until they arrive."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hosted_jobs import flags_for
from photographs import write_manifest
from standardwebhooks import Webhook as Receiver
from standardwebhooks import WebhookVerificationError
from standins.kinds import WAYS
from test_job import errors_of, run, stored
from test_job_providers import manifest_for
from website import Answer, Website, reset

from alphabeam.pipeline.announcements import read_untold
from alphabeam.pipeline.verify import verify
from alphabeam.transforms import persistence

SECRET = "whsec_" + base64.b64encode(b"twenty-four bytes or more").decode()
VARIABLE = "TEST_WEBHOOK_SECRET"
SIGNED = ["--webhook_secret", f"env:{VARIABLE}"]


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    monkeypatch.setattr(persistence, "_backoff", lambda state: 0.0)
    with Website() as website:
        yield website


def flags_to(site, *answers):
    """Gives the flags of a run that tells a site, which answers so."""
    return ["--webhook_url", site.on("/hook", *(answers or (Answer(),))), *SIGNED]


def posts(site, kind=None):
    """Gives what was posted, checked by an independent library: id and content, in order."""
    found = []
    for asked in site.requests:
        assert asked.method == "POST"
        assert asked.headers["Content-Type"] == "application/json"
        content = Receiver(SECRET).verify(asked.body, dict(asked.headers))
        if kind is None or content["type"] == kind:
            found.append((asked.headers["webhook-id"], content))
    return found


def units(site):
    return {content["data"]["unit"]: name for name, content in posts(site, "unit.committed")}


def test_each_commit_and_the_end_are_told(site, tmp_path):
    manifest = write_manifest(str(tmp_path))
    os.unlink(tmp_path / "photos" / "coffee_0.jpg")
    out = tmp_path / "out"
    assert run(manifest, out, "--unit_size", "2", *flags_to(site)) == 0
    told = posts(site)
    assert len({name for name, _ in told}) == 4
    *commits, (_, end) = told
    assert [content["type"] for _, content in commits] == ["unit.committed"] * 3
    for _, content in commits:
        data = content["data"]
        marker = json.loads((out / data["marker"]).read_text())
        assert data["dataset"] == str(out)
        for name in ("unit", "rows", "done", "failed", "errors", "generation"):
            assert data[name] == marker[name]
        assert data["files"]
        assert all((out / path).exists() for path in data["files"])
    assert end["type"] == "run.finished"
    data = end["data"]
    assert (data["rows"], data["done"], data["failed"]) == (6, 5, 1)
    assert data["errors"] == {"not_found": 1}
    assert (data["run"], data["untold_units"]) == (1, 0)
    assert not (out / "_untold").exists()
    assert not (out / "_tmp").exists()
    assert verify(str(out)).faults == ()
    with pytest.raises(WebhookVerificationError):
        asked = site.requests[0]
        Receiver(SECRET).verify(asked.body + b" ", dict(asked.headers))


def test_a_secret_need_not_be_base64(site, tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABEAM_WEBHOOK_SECRET", "just some words")
    manifest = write_manifest(str(tmp_path), 1)
    hook = site.on("/hook", Answer())
    assert run(manifest, tmp_path / "out", "--webhook_url", hook) == 0
    for asked in site.requests:
        Receiver(b"just some words").verify(asked.body, dict(asked.headers))


@pytest.mark.parametrize("down", [Answer(status=500), reset])
def test_a_receiver_that_is_down_costs_no_picture_and_is_told_later(
    site, tmp_path, capsys, caplog, down
):
    manifest = write_manifest(str(tmp_path))
    out = tmp_path / "out"
    flags = ["--unit_size", "2", *flags_to(site, down)]
    assert run(manifest, out, *flags) == 1
    said = capsys.readouterr().out
    assert "6 rows: 6 cutouts, 0 errors" in said
    assert "4 posts to the webhook are not delivered" in said
    assert len(caplog.messages) == 1 or all("not delivered" in line for line in caplog.messages)
    assert verify(str(out)).faults == ()
    before = stored(out)
    assert len(read_untold(str(out))) == 4
    assert {record.tries for record in read_untold(str(out)) if record.name != "run"} <= {1, 2}
    meant = {} if down is reset else units(site)
    site.requests.clear()
    site.on("/hook", Answer())
    assert run(manifest, out, *flags) == 0
    told = units(site)
    assert len(told) == 3
    assert meant.items() <= told.items()
    assert [content["data"]["run"] for _, content in posts(site, "run.finished")] == [2]
    assert read_untold(str(out)) == []
    assert stored(out) == before
    site.requests.clear()
    assert run(manifest, out, *flags) == 0
    assert [content["type"] for _, content in posts(site)] == ["run.finished"]


def test_a_receiver_that_was_down_for_a_while_is_told_at_the_end_of_the_run(site, tmp_path):
    manifest = write_manifest(str(tmp_path))
    answers = [Answer(status=400), Answer(status=503), Answer()]
    assert run(manifest, tmp_path / "out", "--unit_size", "2", *flags_to(site, *answers)) == 0
    told = posts(site, "unit.committed")
    assert len(told) == 5
    assert len({name for name, _ in told}) == 3
    repeated = [content for name, content in told if name == told[0][0]]
    assert len(repeated) == 2
    assert repeated[0] == repeated[1]
    assert posts(site)[-1][1]["type"] == "run.finished"


def test_mended_rows_are_a_commit_of_their_own(site, tmp_path):
    manifest = write_manifest(str(tmp_path), 2)
    picture = next((tmp_path / "photos").iterdir())
    kept = picture.read_bytes()
    picture.unlink()
    assert run(manifest, tmp_path / "out", *flags_to(site)) == 0
    picture.write_bytes(kept)
    assert run(manifest, tmp_path / "out", *flags_to(site), "--retry_failed") == 0
    assert errors_of(tmp_path / "out") == []
    told = posts(site, "unit.committed")
    assert [content["data"]["generation"] for _, content in told] == [0, 1]
    assert [content["data"]["done"] for _, content in told] == [1, 2]
    assert told[0][0] != told[1][0]


def test_a_dataset_started_anew_is_told_under_other_ids(site, tmp_path):
    manifest = write_manifest(str(tmp_path), 1)
    assert run(manifest, tmp_path / "out", *flags_to(site)) == 0
    assert run(manifest, tmp_path / "out", *flags_to(site), "--overwrite") == 0
    assert len({name for name, _ in posts(site)}) == 4


def test_a_run_killed_while_it_tells_tells_again_under_the_same_id(site, tmp_path):
    manifest = write_manifest(str(tmp_path), 4)
    out = tmp_path / "out"
    flags = ["--unit_size", "2", *flags_to(site)]
    site.on("/hook", site.drip(b""))  # never a whole answer
    process = start(manifest, out, *flags)
    deadline = time.monotonic() + 60
    while not site.requests:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert len(list((out / "_units").iterdir())) == 1
    assert [record.error for record in read_untold(str(out))] == [""]
    site.on("/hook", Answer())
    assert run(manifest, out, *flags) == 0
    first, *told = posts(site, "unit.committed")
    assert sorted(content["data"]["unit"] for _, content in told) == sorted(units(site))
    assert len(told) == 2
    assert first in told
    assert read_untold(str(out)) == []
    assert verify(str(out)).faults == ()


def start(manifest, output, *flags):
    """Starts the job in a process of its own."""
    command = [
        sys.executable, "-m", "alphabeam.pipeline", "run", "--manifest", manifest, "--output",
        str(output), "--engine", "stub_engines:Disc", "--no_report", *flags,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.usefixtures("hurried")
def test_a_run_that_stops_short_says_so(site, tmp_path, monkeypatch):
    way = WAYS["fal-bria sync"]
    with way.open() as standin:
        manifest = manifest_for(way, standin, tmp_path, 2)
        flags = flags_for(way, standin, *flags_to(site))
        key = standin.key
        standin.key = "another"
        engine = ["--engine", way.provider]
        assert run(manifest, tmp_path / "out", *flags, engine=engine) == 1
        ((_, content),) = posts(site)
        assert content["type"] == "run.stopped"
        assert "fal-bria" in content["data"]["reason"]
        assert key not in content["data"]["reason"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--webhook_url", "hooks.example/x", *SIGNED], "takes a web address"),
        (["--webhook_url", "https://hooks.example", "--webhook_secret", "s3cret"], "a reference"),
        (
            ["--webhook_url", "https://hooks.example", "--webhook_secret", "env:NO_SUCH_SECRET"],
            "no key in env:NO_SUCH_SECRET; give --webhook_secret",
        ),
        (["--webhook_url", "https://hooks.example"], "no key in env:ALPHABEAM_WEBHOOK_SECRET"),
        (SIGNED, "--webhook_url, which is not given"),
    ],
)
def test_flags_that_cannot_work_are_refused(tmp_path, capsys, monkeypatch, flags, expected):
    monkeypatch.setenv(VARIABLE, SECRET)
    manifest = write_manifest(str(tmp_path), 1)
    assert run(manifest, tmp_path / "out", *flags) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert "s3cret" not in said
    assert not (tmp_path / "out").exists()


def test_a_secret_that_only_looks_encoded_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(VARIABLE, "whsec_no base64 at all")
    manifest = write_manifest(str(tmp_path), 1)
    flags = ["--webhook_url", "https://hooks.example", *SIGNED]
    assert run(manifest, tmp_path / "out", *flags) == 2
    said = capsys.readouterr().err
    assert "goes on with base64" in said
    assert "at all" not in said
