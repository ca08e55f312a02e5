"""Where the providers are reached, and how another address stands in for one of theirs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit, urlunsplit

# name: the address requests go to, and the provider's own hosts that the name stands for.
# A leading dot covers every subdomain.
_BASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "fal_run": ("https://fal.run", ("fal.run",)),
    "fal_queue": ("https://queue.fal.run", ("queue.fal.run",)),
    "fal_rest": ("https://api.fal.ai", ("api.fal.ai", "rest.fal.ai")),
    "fal_cdn": ("https://v3.fal.media", ("fal.media", ".fal.media")),
    "pixazo": ("https://gateway.pixazo.ai", (".pixazo.ai",)),
    "gmi": ("https://console.gmicloud.ai", (".gmicloud.ai",)),
    "runware": ("https://api.runware.ai", (".runware.ai",)),
}


@dataclass(frozen=True)
class Endpoints:
    """Base addresses, some of them replaced.

    Attributes:
      overrides: name to URL; it replaces scheme, host and port of every address the name stands
        for, in requests and in answers, and the path stays. Names: fal_run, fal_queue,
        fal_rest, fal_cdn, pixazo, gmi, runware.

    Raises:
      ValueError: a name is unknown or a URL is not just scheme, host and port.
    """

    overrides: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, url in self.overrides.items():
            if name not in _BASES:
                raise ValueError(_unknown(name))
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(parts):
                raise ValueError(f"--provider_url {name}={url}: give http(s)://HOST[:PORT]")
            if parts.path.strip("/") or parts.query or parts.username:
                raise ValueError(
                    f"--provider_url {name}={url}: give scheme, host and port only; paths stay"
                )

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Endpoints:
        """Reads `NAME=URL` entries.

        Raises:
          ValueError: an entry has another form, or the name or URL will not do.
        """
        overrides = {}
        for entry in entries:
            name, equals, url = entry.partition("=")
            if not equals:
                raise ValueError(f"--provider_url {entry}: give NAME=URL")
            overrides[name.strip()] = url.strip()
        return cls(overrides)

    def url(self, name: str, path: str) -> str:
        """Gives the address of a path under a base."""
        return self.overrides.get(name, _BASES[name][0]).rstrip("/") + path

    def localise(self, url: str) -> str:
        """Moves an address on a provider's own host to the override of its name, if any."""
        host = urlsplit(url).hostname or ""
        for name, override in self.overrides.items():
            if _is_host_of(host, name):
                return _rebased(url, override)
        return url

    def own(self, url: object, name: str) -> str | None:
        """Gives the address when it is under a base, so that the key may be sent there.

        Args:
          url: what an answer gave; anything.
          name: the base it has to be under.

        Returns:
          The address on the configured host, or None when it leads elsewhere.
        """
        if not isinstance(url, str) or not url.isprintable():
            return None
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        base = urlsplit(self.url(name, ""))
        if (parts.scheme, parts.netloc) == (base.scheme, base.netloc):
            return url
        if parts.scheme == "https" and _is_host_of(parts.hostname or "", name):
            return _rebased(url, self.url(name, ""))
        return None


def _has_port(parts: SplitResult) -> bool:
    """Tells whether an address's port is one, or left out."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _is_host_of(host: str, name: str) -> bool:
    return any(
        host.endswith(own) if own.startswith(".") else host == own for own in _BASES[name][1]
    )


def _rebased(url: str, base: str) -> str:
    target = urlsplit(base)
    return urlunsplit(urlsplit(url)._replace(scheme=target.scheme, netloc=target.netloc))


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _BASES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_BASES)}"
    return f"--provider_url {name}: unknown name; {hint}"
