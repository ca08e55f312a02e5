"""Stand-in for fal: queue, synchronous runs, request history and media of both endpoints."""

from __future__ import annotations

import base64
import time
from datetime import datetime, timezone
from typing import Any

from .core import Answer, Request
from .studio import Job, Studio, cropped

ENDPOINTS = ("fal-ai/bria/background/remove", "fal-ai/imageutils/rembg")
_APPS = {"/".join(endpoint.split("/")[:2]): endpoint for endpoint in ENDPOINTS}


class FalStandIn(Studio):
    """fal. Job faults: `fail_file_download_error`, `fail_image_load_error`, `fail_500`,
    `fail_runner`. Fetch faults beside those of every step: `expired`. Cancel faults: `late` (the job
    leaves the queue before).

    Attributes:
      recording_lag: seconds by which the request history lags behind.
      absolute: answers name `https://queue.fal.run` as the real service does, not this server, and
        the result's address as the newer pages do.
    """

    door_count = 2
    recording_lag = 0.0
    absolute = False

    def urls(self) -> dict[str, str]:
        others = dict.fromkeys(("fal_queue", "fal_rest", "fal_cdn"), self.url)
        return {"fal_run": self.doors[1], **others}

    def step(self, request: Request) -> str:
        path = request.path
        if path.startswith("/media/"):
            return "media"
        if path.startswith("/v1/"):
            return "find"
        if "/requests/" not in path:
            return "submit"
        last = path.rpartition("/")[2]
        return {"status": "poll", "cancel": "cancel"}.get(last, "fetch")

    def refusal(self, status: int, request: Request) -> Answer:
        if status == 403:
            reason = "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai."
            return Answer(403, {"detail": reason})
        kinds = {429: "rate_limited", 500: "internal_server_error", 503: "service_unavailable"}
        document = {"detail": f"status {status}", "error_type": kinds.get(status, "error")}
        return Answer(status, document, {"X-Fal-Error-Type": document["error_type"]})

    async def answer(self, step: str, request: Request, fault: str | None) -> Answer:
        if step == "media":
            return self.media(request, fault)
        if request.headers.get("authorization") != f"Key {self.key}":
            return Answer(401, {"detail": "Authentication is required to access this application."})
        if step == "submit":
            return await self._submit(request)
        if step == "find":
            return self._history(request)
        _, owner, app, _, job_id, *_ = request.path.split("/")
        job = self.jobs.get(job_id)
        if job is None or f"{owner}/{app}" not in _APPS:
            return Answer(404, {"detail": "Request not found"})
        if step == "poll":
            return self._status(job)
        if step == "cancel":
            if fault == "late":
                job.fault = None
                self.set_to_work(job)
                await job.finished.wait()
                return Answer(202, {"status": "CANCELLATION_REQUESTED"})
            return self._cancel(job)
        if fault == "expired":
            return Answer(404, {"detail": "Request not found"})
        return self._result(job)

    async def _submit(self, request: Request) -> Answer:
        endpoint = request.path.strip("/")
        if endpoint not in ENDPOINTS:
            return Answer(404, {"detail": f"Path {request.path} not found"})
        arguments = request.document
        if not isinstance(arguments, dict) or not isinstance(arguments.get("image_url"), str):
            return Answer(422, _model_error("missing", "Field required"), _units(0))
        if self.has_no_money():
            return self.refusal(403, request)
        job = self.accept(arguments["image_url"], {"endpoint": endpoint, **arguments})
        if request.door == 1:
            await job.finished.wait()
            return self._result(job)
        return Answer(200, {"status": "IN_QUEUE", "queue_position": 0, **self._urls(job)})

    def _urls(self, job: Job) -> dict[str, str]:
        base = "https://queue.fal.run" if self.absolute else self.url
        app = "/".join(job.arguments["endpoint"].split("/")[:2])
        job_url = f"{base}/{app}/requests/{job.id}"
        return {
            "request_id": job.id,
            "response_url": f"{job_url}/response" if self.absolute else job_url,
            "status_url": f"{job_url}/status",
            "cancel_url": f"{job_url}/cancel",
        }

    def dressed(self, job: Job) -> bytes:
        return cropped(job.picture) if job.arguments.get("crop_to_bbox") else job.picture

    def _status(self, job: Job) -> Answer:
        states = {"queued": "IN_QUEUE", "running": "IN_PROGRESS"}
        status = states.get(job.state, "COMPLETED")
        document: dict[str, Any] = {"status": status, **self._urls(job)}
        if status == "IN_QUEUE":
            return Answer(202, {**document, "queue_position": 0})
        if status == "IN_PROGRESS":
            return Answer(202, {**document, "logs": None})
        document.update(logs=None, metrics={"inference_time": self.seconds})
        if job.state == "failed":
            document.update(error="the job failed", error_type=_fault_type(job))
        return Answer(200, document)

    def _result(self, job: Job) -> Answer:
        if job.state == "done":
            return Answer(200, self._output(job), {"x-fal-request-id": job.id, **_units(1)})
        if job.state == "cancelled":
            return Answer(499, {"detail": "cancelled", "error_type": "client_cancelled"})
        if job.state != "failed":
            return Answer(400, {"detail": "Request is still in progress"})
        kind = _fault_type(job)
        if kind == "runner":
            document = {"detail": "runner died", "error_type": "runner_disconnected"}
            return Answer(503, document, {"X-Fal-Error-Type": "runner_disconnected"})
        if kind == "500":
            return Answer(500, {"detail": "Internal Server Error"}, _units(0))
        return Answer(422, _model_error(kind, "the picture failed"), _units(0))

    def _output(self, job: Job) -> dict[str, Any]:
        url = "https://v3.fal.media" + f"/media/{job.id}.png" if self.absolute else None
        width, height = job.size
        image = {"content_type": "image/png", "file_name": f"{job.id}.png", "width": width}
        image.update(height=height, file_size=len(job.picture), url=url or self.media_url(job))
        if job.arguments.get("sync_mode"):
            image["url"] = "data:image/png;base64," + base64.b64encode(job.picture).decode()
        return {"image": image}

    def _cancel(self, job: Job) -> Answer:
        if job.state in ("done", "failed", "cancelled"):
            return Answer(400, {"status": "ALREADY_COMPLETED"})
        if job.state == "queued":
            job.state = "cancelled"
            self.refund(job)
        return Answer(202, {"status": "CANCELLATION_REQUESTED"})

    def _history(self, request: Request) -> Answer:
        query = request.query
        ended = [
            job
            for job in self.jobs.values()
            if job.state in ("done", "failed")
            and job.arguments["endpoint"] == query["endpoint_id"]
            and query.get("request_id") in (None, job.id)
            and _moment(job) >= query.get("start", "")
            and time.time() >= job.created + self.seconds + self.recording_lag
        ]
        page = int(query.get("cursor", "0"))
        limit = int(query["limit"])
        shown = ended[page * limit : (page + 1) * limit]
        more = len(ended) > (page + 1) * limit
        document = {"items": [self._item(job, query) for job in shown], "has_more": more}
        document["next_cursor"] = str(page + 1) if more else None
        return Answer(200, document)

    def _item(self, job: Job, query: dict[str, str]) -> dict[str, Any]:
        item: dict[str, Any] = {
            "request_id": job.id,
            "endpoint_id": job.arguments["endpoint"],
            "sent_at": _moment(job),
            "status_code": 200 if job.state == "done" else 422,
        }
        if query.get("expand") == "payloads":
            item["json_input"] = {k: v for k, v in job.arguments.items() if k != "endpoint"}
            if job.state == "done" and not job.arguments.get("sync_mode"):
                item["json_output"] = self._output(job)
        return item


def _fault_type(job: Job) -> str:
    return (job.fault or "").removeprefix("fail_")


def _moment(job: Job) -> str:
    return datetime.fromtimestamp(job.created, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _units(count: int) -> dict[str, str]:
    return {"x-fal-billable-units": str(count)}


def _model_error(kind: str, text: str) -> dict[str, Any]:
    return {"detail": [{"loc": ["body", "image_url"], "msg": text, "type": kind}]}
