"""Finding the entries of a kind, one file each: a new file in the package is a new entry, and nothing else lists them."""

import importlib
import pkgutil
from types import ModuleType
from typing import Any


def entries(package: ModuleType, name: str) -> dict[str, Any]:
    """The value of `name` in every module of a package, by the module's name, in alphabetical order."""
    modules = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))
    return {module: getattr(importlib.import_module(f"{package.__name__}.{module}"), name) for module in modules}
