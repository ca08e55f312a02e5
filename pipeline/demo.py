"""The photographs of `alphabeam demo`, as a manifest."""

from __future__ import annotations

import os
from importlib import resources

import pyarrow as pa
import pyarrow.parquet as pq

_SUBJECTS = {
    "astronaut": "person",
    "chelsea": "animal",
    "china": "scene",
    "coffee": "product",
    "flower": "plant",
    "rocket": "scene",
}


def write_demo_manifest(folder: str) -> str:
    """Copies the packaged photographs to a folder and writes a Parquet manifest of them.

    Args:
      folder: created if it is missing; written only where something differs, so that a finished
        demo resumes.

    Returns:
      The manifest's path.
    """
    photographs = os.path.join(folder, "photographs")
    os.makedirs(photographs, exist_ok=True)
    packaged = resources.files(__spec__.parent) / "photographs"
    for name in _SUBJECTS:
        with open(os.path.join(photographs, f"{name}.jpg"), "wb") as file:
            file.write((packaged / f"{name}.jpg").read_bytes())
    table = pa.table(
        {
            "key": list(_SUBJECTS),
            "image": [f"photographs/{name}.jpg" for name in _SUBJECTS],
            "subject": list(_SUBJECTS.values()),
        }
    )
    manifest = os.path.join(folder, "manifest.parquet")
    pq.write_table(table, manifest)
    return manifest
