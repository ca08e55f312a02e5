"""What the providers' pages show on the wire, and short ways to hand it to an adapter."""

from __future__ import annotations

import json
from typing import Any

from alphabeam.transforms.providers.catalogue import make_adapter
from alphabeam.transforms.providers.messages import HttpRequest, HttpResponse, Picture, Submission

PANDA = "https://fal.media/files/panda/K5Rndvzmn1j-OI1VZXDVd.jpeg"
TASK = "774667b4-96b9-4ee5-8cfc-c2f550145db2"
PIXAZO_ID = "a1b2c3d4-e5f6-7890-g1h2-i3j4k5l6m7n8"

FAL_RESULT = {
    "image": {
        "file_size": 1076276,
        "height": 1024,
        "file_name": "070c731993e949d993c10ef6283d335d.png",
        "content_type": "image/png",
        "url": "https://v3.fal.media/files/tiger/GQEMNjRyxSoza7N8LPPqb_070c.png",
        "width": 1024,
    }
}

FAL_QUEUED = {
    "status": "IN_QUEUE",
    "request_id": "r1",
    "response_url": "https://queue.fal.run/fal-ai/bria/requests/r1",
    "status_url": "https://queue.fal.run/fal-ai/bria/requests/r1/status",
    "cancel_url": "https://queue.fal.run/fal-ai/bria/requests/r1/cancel",
    "queue_position": 0,
}

PIXAZO_QUEUED = {
    "status": "IN_QUEUE",
    "request_id": PIXAZO_ID,
    "response_url": f"https://queue.fal.run/fal-ai/bria/requests/{PIXAZO_ID}",
}

PIXAZO_COMPLETED = {
    "status": "COMPLETED",
    "request_id": PIXAZO_ID,
    "result": {
        "image_url": f"https://storage.pixazo.ai/results/{PIXAZO_ID}.png",
        "width": 800,
        "height": 600,
        "content_type": "image/png",
        "original_image_url": PANDA,
    },
}

RUNWARE_REQUEST = {
    "taskType": "removeBackground",
    "taskUUID": TASK,
    "model": "bria:2@1",
    "providerSettings": {"bria": {"preserveAlpha": False}},
    "inputs": {
        "image": "https://assets.runware.ai/assets/inputs/35565f4c-e973-4f27-bb01-e988b23539ae.jpg"
    },
}

RUNWARE_RESPONSE = {
    "taskType": "imageBackgroundRemoval",
    "taskUUID": TASK,
    "imageUUID": "5659b74f-885d-4589-94fd-5a0b52f164ef",
    "imageURL": "https://im.runware.ai/image/os/a24d12/ws/3/ii/5659b74f-885d-4589.png",
    "cost": 0.018,
    "inputImageUUID": "48ca9faf-715d-4128-8cb1-e90124606212",
}

PNG = b"\x89PNG\r\n\x1a\nrest"

SUBMISSION = Submission(Picture(url=PANDA), TASK, sent_at=1_700_000_000.0)


def answered(status: int, document: Any = None, **headers: str) -> HttpResponse:
    """Makes an answer; header names with underscores for hyphens."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return HttpResponse(status, names, body)


def submitted(name: str, picture: Picture, **options: object) -> HttpRequest:
    """Builds the submit of a picture."""
    return make_adapter(name, options).submit(Submission(picture, TASK))
