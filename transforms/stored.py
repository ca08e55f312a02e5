"""One object of a store (`gs://`, `s3://`, `memory://`, …), read within limits in one request."""

from __future__ import annotations

import re

from . import storage
from .download import causes, may_pass
from .errors import FetchError

# The stores' own exceptions by name, since none of their packages need be installed.
_TIMEOUTS = {
    "TimeoutError",
    "FSTimeoutError",
    "ReadTimeoutError",
    "ConnectTimeoutError",
    "TimeoutException",
}
_CONNECTION = {
    "ConnectionError",
    "ClientConnectionError",
    "ClientPayloadError",
    "HTTPClientError",
    "NetworkError",
}
_LOGIN = {"PermissionError", "GoogleAuthError", "NoCredentialsError", "PartialCredentialsError"}


def read_object(uri: str, *, max_bytes: int, timeout: float) -> bytes:
    """Reads one object, with the credentials that its fsspec file system finds.

    Asks for one byte more than the limit, so that size and content come in a single ranged GET.

    Args:
      uri: any scheme that fsspec knows, chained ones (`zip://a.png::gs://…`) included.
      max_bytes: the object's greatest size; also bounds the memory taken.
      timeout: seconds for the whole read. File systems that are not asynchronous (SFTP, archives)
        have only the limits of their own.

    Raises:
      FetchError: whatever went wrong.
    """
    try:
        fs, path = storage.resolve(uri)
        bounded = {"timeout": timeout} if fs.async_impl else {}
        data = fs.cat_file(path, start=0, end=max_bytes + 1, **bounded)
    except Exception as error:  # every file system raises exceptions of its own
        raise _trouble(error, timeout) from error
    if len(data) > max_bytes:
        raise FetchError(
            "too_large",
            f"holds more than the limit of {max_bytes:,} bytes; raise --max_image_bytes",
        )
    if not data:
        raise FetchError("empty", "the object holds no bytes")
    return data


def _trouble(error: Exception, timeout: float) -> FetchError:
    chain = list(causes(error))
    names = {base.__name__ for cause in chain for base in type(cause).__mro__}
    status = next((status for status in map(_status, chain) if status), None)
    told = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, FileNotFoundError) or status == 404:
        return FetchError("not_found", "there is no such object")
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return FetchError("not_a_file", "is not a file")
    if names & _TIMEOUTS:
        return FetchError(
            "timeout", f"not read within {timeout:g} s, tries of its own included", retryable=True
        )
    # gcsfs turns 403 into an OSError that says so in words only.
    if names & _LOGIN or status in (401, 403) or told.startswith("Forbidden"):
        return FetchError("permission", f"not allowed, check the credentials: {told}")
    if status == 416:  # there is no first byte to give
        return FetchError("empty", "the object holds no bytes")
    if status is not None:
        return FetchError(f"http_{status}", told, retryable=may_pass(status))
    if names & _CONNECTION:
        return FetchError("connection", f"connection trouble: {told}", retryable=True)
    if isinstance(error, ImportError):
        return FetchError("missing_package", told)
    if isinstance(error, ValueError) and told.startswith("Protocol not known"):
        return FetchError("unknown_scheme", f"{told}; give a path, http(s):// or a store's scheme")
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
    return FetchError(kind, told)


def _status(error: BaseException) -> int | None:
    """Finds the HTTP status in an exception of aiohttp, gcsfs, google.api_core or botocore."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    for name in ("status", "code"):
        given = getattr(error, name, None)
        if isinstance(given, int) or (isinstance(given, str) and given.isdecimal()):
            return int(given)
    return None
