"""A stand-in for the Dataflow service on loopback: takes jobs, and runs them here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch

from apache_beam.internal.gcp import auth
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import EmbeddedPythonEnvironment

from alphabeam.transforms import storage


class DataflowService:
    """What the service was asked for.

    Attributes:
      jobs: the description of each submitted job, by id.
      state: what a job is in once it was taken; `JOB_STATE_DONE` runs it first.
      endpoint: for `--dataflow_endpoint`.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.state = "JOB_STATE_DONE"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.endpoint = f"http://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, job: dict[str, Any]) -> dict[str, Any]:
        job["id"] = f"2026-11-25_00_00_00-{len(self.jobs)}"
        self.jobs[job["id"]] = job
        if self.state == "JOB_STATE_DONE":
            run_here(pipeline_of(job))
        return self.told(job["id"])

    def told(self, job_id: str) -> dict[str, Any]:
        job = self.jobs[job_id]
        return {"id": job_id, "name": job["name"], "currentState": self.state}

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(service: DataflowService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(service.take(json.loads(body)))

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.endswith(("/messages", "/metrics")):
                self._answer({})
            else:
                self._answer(service.told(path.rpartition("/")[2]))

        def _answer(self, values: dict[str, Any]) -> None:
            body = json.dumps(values).encode()
            self.send_response_only(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def pipeline_of(job: dict[str, Any]) -> beam_runner_api_pb2.Pipeline:
    """Reads the graph of a submitted job from where it was staged."""
    staged = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    return beam_runner_api_pb2.Pipeline.FromString(storage.read_bytes(staged))


def run_here(pipeline: beam_runner_api_pb2.Pipeline) -> None:
    """Runs a graph in this process instead of in containers."""
    here = EmbeddedPythonEnvironment.default().to_runner_api(PipelineContext())
    for environment in pipeline.components.environments.values():
        environment.CopyFrom(here)
    FnApiRunner().run_via_runner_api(pipeline, PipelineOptions()).wait_until_finish()


@contextmanager
def dataflow() -> Iterator[DataflowService]:
    """Starts the service; Beam's own storage client does without looking for credentials."""
    service = DataflowService()
    try:
        with patch.object(auth._Credentials, "_credentials_init", True):
            yield service
    finally:
        service.close()
