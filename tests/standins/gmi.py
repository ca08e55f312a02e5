"""Stand-in for GMI Cloud's request queue."""

from __future__ import annotations

from typing import Any

from .core import Answer, Request
from .studio import Job, Studio

_REQUESTS = "/api/v1/ie/requestqueue/apikey/requests"
_MODEL = "bria-image-remove-background"


class GmiStandIn(Studio):
    """GMI. Job faults: `fail`, `fail_money`. Poll faults: `empty` (success without an outcome).

    Attributes:
      blocking: the submit is answered when the picture is finished, without the outcome.
      page: how many jobs the list shows; None for all, and then it says how many there are.
      newest_first: the list's order.
      echoes: the list shows what its jobs are of.
    """

    blocking = False
    page: int | None = None
    newest_first = True
    echoes = True

    def urls(self) -> dict[str, str]:
        return {"gmi": self.url}

    def step(self, request: Request) -> str:
        if request.path.startswith("/media/"):
            return "media"
        if request.method == "POST":
            return "submit"
        if request.method == "DELETE":
            return "cancel"
        return "find" if request.path == _REQUESTS else "poll"

    def refusal(self, status: int, request: Request) -> Answer:
        if status == 402:
            details = {"message": "Insufficient credits", "details": '{"balance": 0}'}
            return Answer(402, {"error": details})
        if status == 500:
            return Answer(500, {"error": "Backend error (400). Please try again."})
        return Answer(status, {"error": f"status {status}"})

    async def answer(self, step: str, request: Request, fault: str | None) -> Answer:
        if step == "media":
            return self.media(request, fault)
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return Answer(401, {"error": "invalid api key"})
        if step == "submit":
            return await self._submit(request)
        if step == "find":
            return Answer(200, self._list())
        job = self.jobs.get(request.path.removeprefix(_REQUESTS + "/"))
        if job is None:
            return Answer(404, {"error": "request not found"})
        if step == "cancel":
            if job.state in ("queued", "running"):
                job.state = "cancelled"
            return Answer(200, {})
        document = self._state(job)
        if fault == "empty":
            document.pop("outcome", None)
        return Answer(200, document)

    async def _submit(self, request: Request) -> Answer:
        document = request.document or {}
        image = (document.get("payload") or {}).get("image")
        if document.get("model") != _MODEL:
            return Answer(404, {"error": "you do not have access"})
        if not isinstance(image, str) or not image:
            return Answer(400, {"error": "invalid payload parameters"})
        if self.has_no_money():
            return self.refusal(402, request)
        job = self.accept(image, {})
        if self.blocking:
            await job.finished.wait()
        answer = self._state(job)
        answer.pop("outcome", None)
        answer.pop("payload")
        return Answer(200, answer)

    def _list(self) -> dict[str, Any]:
        jobs = list(self.jobs.values())[:: -1 if self.newest_first else 1]
        shown = [self._state(job) for job in jobs[: self.page]]
        if not self.echoes:
            shown = [{**job, "payload": None} for job in shown]
        listed: dict[str, Any] = {"requests": shown}
        if self.page is None:
            listed["total"] = len(jobs)
        return listed

    def _state(self, job: Job) -> dict[str, Any]:
        names = {"running": "processing", "done": "success"}
        document: dict[str, Any] = {
            "request_id": job.id,
            "model": _MODEL,
            "status": names.get(job.state, job.state),
            "org_id": "org",
            "is_public": False,
            "created_at": int(job.created),
            "payload": {"image": job.reference},
        }
        if job.state == "done":
            document["outcome"] = {"media_urls": [{"id": "0", "url": self.media_url(job)}]}
        if job.state == "failed":
            money = job.fault == "fail_money"
            document["error"] = "Insufficient credits" if money else "processing failed"
        return document
