"""Stand-in for Runware's REST transport."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from .core import Answer, Request
from .studio import PNG, WEBP, Job, Studio

_FAILURES = {
    "fail": "processingFailed",
    "fail_download": "downloadFailed",
    "fail_server": "noAvailableServer",
    "fail_safety": "unsafeContentDetected",
    "fail_input": "invalidImage",
    "fail_money": "insufficientCredits",
}


class RunwareStandIn(Studio):
    """Runware. Job faults: `fail`, `fail_download`, `fail_server`, `fail_safety`, `fail_input`,
    `fail_money`."""

    def urls(self) -> dict[str, str]:
        return {"runware": self.url}

    def step(self, request: Request) -> str:
        if request.path.startswith("/media/"):
            return "media"
        kind = (request.document or [{}])[0].get("taskType")
        return {"getResponse": "poll", "getTaskDetails": "recall"}.get(kind, "submit")

    def refusal(self, status: int, request: Request) -> Answer:
        codes = {402: "insufficientCredits", 429: "rateLimitExceeded", 401: "invalidApiKey"}
        error = {"code": codes.get(status, "serviceUnavailable"), "message": f"status {status}"}
        return Answer(status, {"errors": [error]})

    async def answer(self, step: str, request: Request, fault: str | None) -> Answer:
        if step == "media":
            return self.media(request, fault)
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return self.refusal(401, request)
        parts = await asyncio.gather(*(self._task(task) for task in request.document))
        data = [item for item, _ in parts if item is not None]
        errors = [error for _, error in parts if error is not None]
        document: dict[str, Any] = {"data": data}
        if errors:
            document["errors"] = errors
        if not errors or data:
            return Answer(200, document)
        money = any(error["code"] == "insufficientCredits" for error in errors)
        return Answer(402 if money else 400, document)

    async def _task(self, task: dict) -> tuple[dict | None, dict | None]:
        kind, task_id = task["taskType"], task["taskUUID"]
        job = self.jobs.get(task_id)
        if kind == "getResponse":
            return self._response(job)
        if kind == "getTaskDetails":
            return self._details(task_id, job)
        if job is not None:
            return None, _error("conflictTaskUUID", task_id, "taskUUID")
        image = (task.get("inputs") or {}).get("image")
        if kind != "removeBackground" or task.get("model") != "bria:2@1":
            return None, _error("unsupportedTaskType", task_id, "taskType")
        if not isinstance(image, str) or not image:
            return None, _error("missingInputImage", task_id, "inputs.image")
        if self.has_no_money():
            return None, _error("insufficientCredits", task_id)
        job = self.accept(image, task, task_id)
        if task.get("deliveryMethod", "sync") == "async":
            return {"taskType": kind, "taskUUID": task_id}, None
        await job.finished.wait()
        if job.state == "failed":
            return None, _error(_FAILURES[job.fault or ""], task_id, "inputs.image")
        return self._item(job), None

    def _response(self, job: Job | None) -> tuple[dict | None, dict | None]:
        if job is None:
            return None, None
        common = {"taskType": "removeBackground", "taskUUID": job.id}
        if job.state == "failed":
            error = {"code": _FAILURES[job.fault or ""], "message": "failed"}
            return {**common, "status": "error", "error": error}, None
        if job.state != "done":
            return {**common, "status": "processing", "progress": 10}, None
        return {**self._item(job), "status": "success"}, None

    def _details(self, task_id: str, job: Job | None) -> tuple[dict | None, dict | None]:
        if job is None or job.state != "done":
            return None, _error("taskFailedOrNotFound", task_id)
        item = {**self._item(job), "imageURL": f"{self.url}/media/{job.id}.png?again=1"}
        common = {"taskType": "getTaskDetails", "taskUUID": task_id}
        return {**common, "request": [job.arguments], "response": {"data": [item]}}, None

    def _item(self, job: Job) -> dict[str, Any]:
        item: dict[str, Any] = {
            "taskType": "imageBackgroundRemoval",
            "taskUUID": job.id,
            "imageUUID": f"image-{job.id}",
            "inputImageUUID": "48ca9faf-715d-4128-8cb1-e90124606212",
        }
        if job.arguments.get("includeCost"):
            item["cost"] = self.price
        encoded = base64.b64encode(job.picture).decode()
        kind = job.arguments.get("outputType", "URL")
        if kind == "URL":
            item["imageURL"] = self.media_url(job)
        elif kind == "base64Data":
            item["imageBase64Data"] = encoded
        else:
            item["imageDataURI"] = f"data:image/png;base64,{encoded}"
        return item

    def output_form(self, job: Job) -> str:
        return WEBP if job.arguments.get("outputFormat") == "WEBP" else PNG

    def _load(self, reference: str) -> bytes:
        stored = self._inputs.get(f"/inputs/{reference}")
        return stored if stored is not None else super()._load(reference)


def _error(code: str, task_id: str, parameter: str | None = None) -> dict[str, Any]:
    error = {"code": code, "message": f"{code}.", "taskUUID": task_id}
    if parameter is not None:
        error["parameter"] = parameter
    return error
