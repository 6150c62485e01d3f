"""Sandbox processes that die between orders."""

import asyncio
from pathlib import Path

import pytest
from running import make_settings, noise, wav_bytes

from grove.server.sandbox.messages import END, HEAD, DecodeAudio, Order
from grove.server.sandbox.pool import SandboxPool


def order(path: Path) -> Order:
    path.write_bytes(wav_bytes(noise(1000)))
    return DecodeAudio(
        path=str(path),
        sample_rate_hz=24_000,
        max_bytes=1_000_000,
        max_seconds=10.0,
        max_channels=2,
        exact_length=False,
    )


async def hear_all(pool: SandboxPool, wanted: Order) -> list[bytes]:
    async with pool.open("input", wanted) as conversation:
        kinds = []
        while not conversation.has_ended:
            kinds.append((await conversation.hear())[0])
        return kinds


def test_an_idle_process_that_died_unnoticed_costs_no_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> list[bytes]:
        pool = SandboxPool(make_settings(tmp_path), 1)
        await pool.warm_up()
        for process in pool._idle:
            process.kill()
            await process.wait()
            # The end of a process and the end of its pipes come in no certain order.
            monkeypatch.setattr(process._transport, "_returncode", None)  # type: ignore[attr-defined]
        try:
            return await hear_all(pool, order(tmp_path / "clip.wav"))
        finally:
            await pool.close()

    kinds = asyncio.run(run())
    assert kinds[0] == HEAD
    assert kinds[-1] == END
