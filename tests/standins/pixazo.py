"""Stand-in for Pixazo's gateway in both of its dialects."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from .core import Answer, Request
from .studio import Job, Studio

_MODEL = "bria-rmbg-2-0-682"
_BASE = f"/{_MODEL}/v1/bria-rmbg-2-0-request"


class PixazoStandIn(Studio):
    """Pixazo. Job faults: `fail`, `fail_download`, `fail_error` (the newer dialect's ERROR).

    Attributes:
      dialect: 1 (poll by POST) or 2 (poll by GET).
      immediate: the submit's answer already holds the picture's address.
    """

    dialect = 1
    immediate = False

    def urls(self) -> dict[str, str]:
        return {"pixazo": self.url}

    def step(self, request: Request) -> str:
        if request.path.startswith("/media/"):
            return "media"
        return "submit" if request.path == _BASE else "poll"

    def refusal(self, status: int, request: Request) -> Answer:
        texts = {402: "Insufficient Balance", 429: "Rate limit exceeded, please retry later"}
        return Answer(status, {"error": texts.get(status, "An unexpected error occurred")})

    async def answer(self, step: str, request: Request, fault: str | None) -> Answer:
        if step == "media":
            return self.media(request, fault)
        if request.headers.get("ocp-apim-subscription-key") != self.key:
            return Answer(401, {"statusCode": 401, "message": "Access denied: invalid key."})
        if step == "submit":
            return await self._submit(request)
        if self.dialect == 2:
            job_id = request.path.removeprefix("/v2/requests/status/")
        else:
            job_id = (request.document or {}).get("request_id", "")
        job = self.jobs.get(job_id)
        if job is None:
            return Answer(404, {"error": "Endpoint not found"})
        if fault == "empty" and job.state == "done":
            return Answer(200, {"status": "COMPLETED", "request_id": job.id, "result": {}})
        return Answer(200, self._state(job))

    async def _submit(self, request: Request) -> Answer:
        url = (request.document or {}).get("image_url")
        if not isinstance(url, str) or not url.startswith("http"):
            return Answer(400, {"error": "Invalid request parameters"})
        if self.has_no_money():
            return self.refusal(402, request)
        job = self.accept(url, {})
        if self.immediate:
            await job.finished.wait()
            if job.state == "failed":
                return Answer(200, self._state(job))
            return Answer(200, {"request_id": job.id, "images": [{"url": self.media_url(job)}]})
        if self.dialect == 2:
            polling_url = f"{self.url}/v2/requests/status/{job.id}"
            document = {"request_id": job.id, "status": "QUEUED", "polling_url": polling_url}
            return Answer(202, document)
        response_url = f"https://queue.fal.run/fal-ai/bria/requests/{job.id}"
        return Answer(
            200, {"status": "IN_QUEUE", "request_id": job.id, "response_url": response_url}
        )

    def _state(self, job: Job) -> dict[str, Any]:
        old = self.dialect == 1
        names = {"queued": "IN_QUEUE", "running": "IN_PROGRESS"} if old else {}
        names = names or {"queued": "QUEUED", "running": "PROCESSING"}
        document: dict[str, Any] = {"request_id": job.id}
        if not old:
            document.update(model_id=_MODEL, error=None, created_at=_moment(job.created))
            document["completed_at"] = _moment(job.ended) if job.finished.is_set() else None
        if job.state == "failed":
            status = "ERROR" if job.fault == "fail_error" else "FAILED"
            text = (
                "could not download the picture" if job.fault == "fail_download" else "no subject"
            )
            return {**document, "status": status, "error": text}
        if job.state != "done":
            document["status"] = names[job.state]
            if old and job.state == "running":
                document["estimated_completion_time_seconds"] = 1
            return document
        document["status"] = "COMPLETED"
        if old:
            width, height = job.size
            document["result"] = {
                "image_url": self.media_url(job),
                "width": width,
                "height": height,
                "content_type": "image/png",
                "original_image_url": job.reference,
            }
        else:
            document["output"] = {"media_url": [self.media_url(job)], "media_type": "image/png"}
        return document


def _moment(unix: float) -> str:
    moment = datetime.fromtimestamp(unix, timezone.utc).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")
