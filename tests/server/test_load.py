"""The load generator measures what it says."""

import asyncio

import pytest
from running import RunningServer, make_settings

from grove.tools.load import run_load


def test_every_frame_of_every_stream_is_heard_and_refusals_are_counted(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = make_settings(tmp_path_factory.mktemp("state"), slots=3)
    with RunningServer(settings) as server:
        report = asyncio.run(
            run_load(server.url, streams=5, seconds=0.6, levels=2, ramp_seconds=0.1)
        )
    assert (report.completed, report.refused, report.failed) == (3, {"overloaded": 2}, {})
    assert (report.frames, report.missing_frames) == (90, 0)
    assert 0 < report.added_latency_ms.p50 <= report.added_latency_ms.p99
    assert report.server_rss_bytes_before > 0


def test_a_server_that_is_not_there_is_a_failure_and_no_hang(server: RunningServer) -> None:
    with pytest.raises(OSError, match="refused"):
        asyncio.run(run_load("http://127.0.0.1:9", 1, 0.1, None, 0.0))
    assert server.client.get("/live").status_code == 200
