"""`python -m server`: serve as `GROVE_*` says."""

import sys

from server.launch import serve
from server.settings import Settings

if __name__ == "__main__":
    sys.exit(serve(Settings()))
