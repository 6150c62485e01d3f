"""All faults at once, beside live streams."""

import asyncio
import threading
from pathlib import Path

import pytest
from hostile_cases import answers, tree_mb
from processes import running
from siege import besiege

from grove.tools.load import run_load


@pytest.mark.slow
def test_streams_beside_a_siege_lose_no_frame(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        siege = threading.Thread(target=besiege, args=(server.port, 20, 5))
        siege.start()
        report = asyncio.run(run_load(server.url, 6, 20, None, 1))
        siege.join()
        assert (report.completed, report.failed, report.refused) == (6, {}, {})
        assert report.missing_frames == 0
        assert server.process.poll() is None
        assert answers(server.url)
        assert tree_mb(server.process.pid) < 600
