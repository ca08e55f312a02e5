"""alphabeam's transforms: cut the subjects out of images within any Beam pipeline."""

from importlib import import_module

_HOMES = {
    "ChainSettings": ".cutout",
    "ComposeSettings": ".matte",
    "Condition": ".conditions",
    "Cutout": ".records",
    "CutterSettings": ".cutters",
    "DecodeLimits": ".codec",
    "Engine": ".engines.contract",
    "Failure": ".records",
    "FetchLimits": ".fetch",
    "ImageRecord": ".records",
    "MaskStats": ".mask_stats",
    "Matte": ".engines.contract",
    "MattingModelHandler": ".inference",
    "ProviderSettings": ".providers.settings",
    "RemoveBackground": ".background",
    "cut_out": ".cutout",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    """Imports a public name when it is first asked for, so that pixel code stays free of Beam."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
