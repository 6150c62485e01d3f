"""Code a file, keep its tokens, hear it again: python files.py <url> <audio file>"""

# ruff: noqa: T201

import sys
from pathlib import Path

from grove_client import Grove

url, source = sys.argv[1], Path(sys.argv[2])
with Grove(url) as grove:
    tokens = grove.encode(source.read_bytes(), levels=3)
    Path(f"{source.stem}.grv").write_bytes(tokens)
    Path(f"{source.stem}-coded.wav").write_bytes(grove.decode(tokens))
print(f"{len(tokens)} bytes of tokens")
