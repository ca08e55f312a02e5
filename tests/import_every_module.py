"""Imports every module of the installed package, far from the checkout; prints how many."""

import importlib
import importlib.util
import pkgutil
import sys

import alphabeam.pipeline
import alphabeam.transforms

# The GPU kernels are written in Triton, which comes with CUDA builds of torch only.
WITHOUT_TRITON = importlib.util.find_spec("triton") is None

names = []
for package in (alphabeam.transforms, alphabeam.pipeline):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name.endswith("__main__") or (WITHOUT_TRITON and "_triton" in module.name):
            continue
        importlib.import_module(module.name)
        names.append(module.name)
assert all("site-packages" in sys.modules[name].__file__ for name in names)
print(f"{len(names)} modules import")
