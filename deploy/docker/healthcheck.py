"""Exit with 0 if the server in this container is alive: HEALTHCHECK without curl."""

import os
import sys
import urllib.error
import urllib.request

PORT = os.environ.get("GROVE_PORT", "8000")

# A proxy of the environment has no business between a container and itself.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    with opener.open(f"http://127.0.0.1:{PORT}/live", timeout=4) as reply:
        sys.exit(0 if reply.status == 200 else 1)
except (urllib.error.URLError, OSError) as error:
    sys.exit(f"not alive: {error}")
