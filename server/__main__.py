"""`python -m grove.server`: serve as `GROVE_*` says."""

import sys

from grove.server.launch import serve
from grove.server.settings import Settings

if __name__ == "__main__":
    sys.exit(serve(Settings()))
