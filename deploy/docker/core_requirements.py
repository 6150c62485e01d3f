"""Print the core dependencies of a pyproject.toml, one a line, for pip."""

# ruff: noqa: T201

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
print("\n".join(project["dependencies"]))
