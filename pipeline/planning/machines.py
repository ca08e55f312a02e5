"""Google Cloud's machine types: what a worker is made of, and what its hour costs on Dataflow."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import UsageError
from . import prices
from .prices import ListPrice

# GB of memory a vCPU, by family, as Compute Engine documents its predefined types.
_GB_A_VCPU = {
    "n1-standard": 3.75, "n1-highmem": 6.5, "n1-highcpu": 0.9,
    "n2-standard": 4, "n2-highmem": 8, "n2-highcpu": 1,
    "n2d-standard": 4, "n2d-highmem": 8, "n2d-highcpu": 1,
    "e2-standard": 4, "e2-highmem": 8, "e2-highcpu": 1,
    "c2-standard": 4, "c3-standard": 4, "c3-highmem": 8, "c3-highcpu": 2,
}  # fmt: skip
# Types that come with GPUs: vCPUs, GB of memory, GPUs, their kind.
_WITH_GPUS = {
    "g2-standard-4": (4, 16, 1, "nvidia-l4"),
    "g2-standard-8": (8, 32, 1, "nvidia-l4"),
    "g2-standard-12": (12, 48, 1, "nvidia-l4"),
    "g2-standard-16": (16, 64, 1, "nvidia-l4"),
    "g2-standard-24": (24, 96, 2, "nvidia-l4"),
    "g2-standard-32": (32, 128, 1, "nvidia-l4"),
    "g2-standard-48": (48, 192, 4, "nvidia-l4"),
    "g2-standard-96": (96, 384, 8, "nvidia-l4"),
    "a2-highgpu-1g": (12, 85, 1, "nvidia-tesla-a100"),
    "a2-highgpu-2g": (24, 170, 2, "nvidia-tesla-a100"),
    "a2-ultragpu-1g": (12, 170, 1, "nvidia-a100-80gb"),
    "a3-highgpu-1g": (26, 234, 1, "nvidia-h100-80gb"),
}
_PREDEFINED = re.compile(r"([a-z]\w*-[a-z]+)-([1-9]\d*)")
_CUSTOM = re.compile(r"(?:(?:n1|n2|n2d|e2)-)?custom-([1-9]\d*)-([1-9]\d*)")


@dataclass(frozen=True)
class Machine:
    """What a worker is made of.

    Attributes:
      name: of the machine type.
      vcpus: how many.
      memory_gb: GB of memory.
      gpus: how many.
      gpu_kind: as Compute Engine calls them; empty without GPUs.
    """

    name: str
    vcpus: int
    memory_gb: float
    gpus: int = 0
    gpu_kind: str = ""

    def price(self, disk_gb: float) -> float:
        """Gives the dollars of one hour on Dataflow, batch, with a standard disk."""
        return sum(price.usd * amount for price, amount in self.parts(disk_gb))

    def parts(self, disk_gb: float) -> list[tuple[ListPrice, float]]:
        """Gives what an hour is billed by: prices, and how much of each.

        Raises:
          UsageError: no price of its GPUs is known.
        """
        parts = [
            (prices.VCPU_HOUR, self.vcpus),
            (prices.MEMORY_GB_HOUR, self.memory_gb),
            (prices.DISK_GB_HOUR, disk_gb),
        ]
        if self.gpus:
            if self.gpu_kind not in prices.GPU_HOUR:
                raise UsageError(
                    f"--gpu: no price of {self.gpu_kind} is known: give "
                    f"--machine_usd_per_hour, or one of {', '.join(prices.GPU_HOUR)}"
                )
            parts.append((prices.GPU_HOUR[self.gpu_kind], self.gpus))
        return parts

    def text(self) -> str:
        gpus = f", {self.gpus} × {self.gpu_kind}" if self.gpus else ""
        return f"{self.name} ({self.vcpus} vCPUs, {self.memory_gb:g} GB{gpus})"


def find_machine(name: str, gpu: str | None = None) -> Machine:
    """Finds a machine type by its name.

    Args:
      name: predefined (`n1-standard-8`, `g2-standard-8`) or custom (`n2-custom-8-32768`).
      gpu: GPUs added to it, `nvidia-tesla-t4` or `nvidia-tesla-t4:2`; None leaves it with
        those it comes with.

    Raises:
      UsageError: its vCPUs and memory are not known here, or it comes with other GPUs.
    """
    machine = _machine(name)
    if gpu is None:
        return machine
    kind, _, count = gpu.partition(":")
    if count and not (count.isdecimal() and int(count)):
        raise UsageError(f"--gpu is TYPE or TYPE:COUNT: given {gpu!r}")
    if machine.gpus and (kind, int(count or machine.gpus)) != (machine.gpu_kind, machine.gpus):
        raise UsageError(
            f"--gpu {gpu}: {name} comes with {machine.gpus} × {machine.gpu_kind} "
            f"and takes no others"
        )
    return Machine(name, machine.vcpus, machine.memory_gb, int(count or 1), kind)


def comes_with_gpus(name: str) -> bool:
    """Tells whether a machine type is known to have GPUs of its own."""
    return name in _WITH_GPUS


def _machine(name: str) -> Machine:
    if name in _WITH_GPUS:
        return Machine(name, *_WITH_GPUS[name])
    if custom := _CUSTOM.fullmatch(name):
        return Machine(name, int(custom[1]), int(custom[2]) / 1024)
    found = _PREDEFINED.fullmatch(name)
    if found is None or found[1] not in _GB_A_VCPU:
        families = ", ".join([f"{family}-N" for family in _GB_A_VCPU] + list(_WITH_GPUS))
        raise UsageError(
            f"--machine {name!r} is not known: give --machine_usd_per_hour instead, a custom type "
            f"such as n2-custom-8-32768, or one of {families}"
        )
    return Machine(name, int(found[2]), int(found[2]) * _GB_A_VCPU[found[1]])
