"""One server for all tests that need no settings of their own."""

from collections.abc import Iterator

import pytest
from running import RunningServer, make_settings


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = make_settings(tmp_path_factory.mktemp("state"))
    with RunningServer(settings) as running:
        yield running
