"""Objects of GCS and S3 by listings and ranges, in as few requests as they can be had.

Listings come page by page, so that what is held does not grow with what is stored. An opened object
costs one request for its size, where gcsfs asks three times, and one a range.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from fsspec.spec import AbstractBufferedFile
from fsspec.utils import glob_translate

_PAGE = 1000  # the most that GCS and S3 give at once
_READ_AHEAD = 5 << 20
_MAGIC = re.compile(r"[*?\[]")
# What is used of an object's description, so that no other is sent.
_GCS_FIELDS = "nextPageToken,items(name,size,md5Hash,crc32c,etag,generation)"

Page = list[dict[str, Any]]


def pages_of(fs: Any) -> Callable[[Any, str, str, str, int], Iterator[Page]] | None:
    """Gives what lists a file system's objects by pages; None when it has no pages."""
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if protocols & {"gs", "gcs"}:
        return _gcs_pages
    if protocols & {"s3", "s3a"}:
        return _s3_pages
    return None


def list_objects(fs: Any, path: str) -> Iterator[dict[str, Any]]:
    """Lists the objects under a prefix, or the one object of that name.

    Args:
      fs: one that `pages_of` knows.
      path: `bucket` or `bucket/key`; with a slash at its end only what is under it is listed.

    Returns:
      One description an object, in the order of their names. `name` has the bucket in front,
      `size` is in bytes; the rest is as the store says it. Placeholders of empty folders, which
      web consoles create, are left out.
    """
    bucket, _, key = path.strip("/").partition("/")
    empty = not path.endswith("/")
    for entry in _entries(fs, bucket, f"{key}/" if key else ""):
        empty = False
        if not entry["name"].endswith("/"):
            yield entry
    if empty and key:
        first = next(_entries(fs, bucket, key, most=1), None)  # the name itself sorts first
        if first is not None and first["name"] == f"{bucket}/{key}":
            yield first


def glob_objects(fs: Any, pattern: str) -> Iterator[dict[str, Any]]:
    """Lists the objects whose names match a glob, as `list_objects` does.

    `*` and `?` stay within a folder, `**` does not.
    """
    bucket, _, key = pattern.strip("/").partition("/")
    magic = _MAGIC.search(key)
    prefix = key[: magic.start()] if magic else key
    one_folder = "/" not in key[len(prefix) :] and "**" not in key
    wanted = re.compile(glob_translate(f"{bucket}/{key}"))
    for entry in _entries(fs, bucket, prefix, "/" if one_folder else ""):
        if wanted.match(entry["name"]) and not entry["name"].endswith("/"):
            yield entry


class StoredObject(AbstractBufferedFile):
    """An object, open for reading at any place; reads ahead."""

    def __init__(self, fs: Any, path: str) -> None:
        block: Any = _READ_AHEAD  # fsspec says that it is text
        super().__init__(fs, path, size=_size(fs, path), block_size=block, cache_type="readahead")

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.cat_file(self.path, start=start, end=end)


def _size(fs: Any, path: str) -> int:
    bucket, _, key = path.strip("/").partition("/")
    if pages_of(fs) is _s3_pages:
        return fs.call_s3("head_object", Bucket=bucket, Key=key)["ContentLength"]
    return int(fs.call("GET", "b/{}/o/{}", bucket, key, json_out=True, fields="size")["size"])


def _entries(
    fs: Any, bucket: str, prefix: str, delimiter: str = "", most: int | None = None
) -> Iterator[dict[str, Any]]:
    pages = pages_of(fs)
    assert pages is not None
    for page in pages(fs, bucket, prefix, delimiter, most or _PAGE):
        yield from page


def _gcs_pages(fs: Any, bucket: str, prefix: str, delimiter: str, most: int) -> Iterator[Page]:
    token = None
    while True:
        page = fs.call(
            "GET",
            "b/{}/o",
            bucket,
            json_out=True,
            prefix=prefix or None,
            delimiter=delimiter or None,
            maxResults=most,
            pageToken=token,
            fields=_GCS_FIELDS,
        )
        yield [
            {**item, "name": f"{bucket}/{item['name']}", "size": int(item.get("size") or 0)}
            for item in page.get("items", ())
        ]
        token = page.get("nextPageToken")
        if not token:
            return


def _s3_pages(fs: Any, bucket: str, prefix: str, delimiter: str, most: int) -> Iterator[Page]:
    more: dict[str, Any] = {}
    while True:
        page = fs.call_s3(
            "list_objects_v2",
            Bucket=bucket,
            Prefix=prefix,
            Delimiter=delimiter,
            MaxKeys=most,
            **more,
        )
        yield [
            {"name": f"{bucket}/{item['Key']}", "size": item["Size"], "ETag": item.get("ETag")}
            for item in page.get("Contents", ())
        ]
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}
