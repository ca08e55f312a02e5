"""Imports every module of the installed package, far from the checkout; prints how many."""

import importlib
import pkgutil
import sys

import alphabeam.pipeline
import alphabeam.transforms

names = []
for package in (alphabeam.transforms, alphabeam.pipeline):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            names.append(module.name)
assert all("site-packages" in sys.modules[name].__file__ for name in names)
print(f"{len(names)} modules import")
