"""What can go wrong with one image, as exceptions that become rows of `errors/`."""

from __future__ import annotations

from typing import ClassVar


class ImageError(Exception):
    """Trouble with one image. The rest of the dataset goes on.

    Attributes:
      stage: where it happened: `manifest`, `fetch`, `decode`, `engine`, `compose` or `upload`.
      kind: a short stable class of trouble in snake_case, for example `not_found` or `http_404`.
      retryable: whether the same row may succeed when it is run again.
      attempts: how often it was tried.
      retry_after: seconds that a server asks to wait before the next try; None where none does.
    """

    stage: ClassVar[str] = "unknown"
    retry_after: float | None = None

    def __init__(
        self, kind: str, message: str, *, retryable: bool = False, attempts: int = 1
    ) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message
        self.retryable = retryable
        self.attempts = attempts

    def __str__(self) -> str:
        return self.message


class ManifestError(ImageError):
    """A manifest row that names no usable image."""

    stage = "manifest"


class FetchError(ImageError):
    """The image's bytes could not be had."""

    stage = "fetch"


class DecodeError(ImageError):
    """The bytes are not a picture that can be read within the limits."""

    stage = "decode"


class EngineError(ImageError):
    """The engine or provider gave no usable matte."""

    stage = "engine"


class ComposeError(ImageError):
    """The picture and its matte could not be joined or encoded."""

    stage = "compose"


class DeliveryError(ImageError):
    """What was made, or word of it, could not be handed over."""

    stage = "upload"
