"""The pinned packages, and those that the project says it needs."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), flags=re.MULTILINE))
PINS = {canonicalize_name(name): version for name, version in PINS.items()}
NEEDED = [Requirement(line) for line in PROJECT["dependencies"]]
FOR_TESTS = [Requirement(line) for line in PROJECT["optional-dependencies"]["test"]]


def test_every_package_needed_is_pinned_within_its_bounds():
    for needed in (*NEEDED, *FOR_TESTS):
        assert PINS[canonicalize_name(needed.name)] in needed.specifier, needed.name


def test_every_package_imported_is_declared():
    declared = {canonicalize_name(needed.name) for needed in NEEDED}
    own = {"preference_study", "stages", "experiments"}
    ours = own | {"benchmarks"}
    of_module = packages_distributions()
    elsewhere = ROOT / "preference_study/engines/vllm_program.py"  # runs in an environment of its own
    for folder in own:
        for file in set((ROOT / folder).rglob("*.py")) - {elsewhere}:
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
                for module in {name.split(".")[0] for name in names} - ours - set(sys.stdlib_module_names):
                    found = {canonicalize_name(name) for name in of_module[module]}
                    assert found & declared, f"{file}: {module}"
