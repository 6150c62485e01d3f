"""Files, models, jobs and tokens of the Python client against a real server."""

import asyncio
from pathlib import Path

import pytest
from client_cases import KEY, ServerProcess
from grove_client import AsyncGrove, FileSettings, Grove, GroveError, Job, Model


def test_models_are_what_the_server_has_loaded(grove_server: ServerProcess) -> None:
    with Grove(grove_server.url) as grove:
        (model,) = grove.models()
    assert model.default
    assert (model.name, model.levels, model.hop_samples) == ("grove-24k", 6, 480)
    assert model.code_sizes == (1024,) * 12

    async def run() -> list[Model]:
        async with AsyncGrove(grove_server.url) as grove:
            return await grove.models()

    assert asyncio.run(run()) == [model]


def test_a_path_and_its_bytes_give_the_same_file(
    grove_server: ServerProcess, speech_wav: Path, tmp_path: Path
) -> None:
    settings = FileSettings(levels=2, format="flac", sample_rate=16_000)
    with Grove(grove_server.url) as grove:
        coded = grove.convert("transcode", speech_wav, settings, tmp_path / "sync.flac")
        assert coded.content == b""
        assert (coded.media_type, coded.damage) == ("audio/flac", None)
        assert coded.model.startswith("grove-24k@")
        content = grove.convert("transcode", speech_wav.read_bytes(), settings).content

    async def run() -> None:
        async with AsyncGrove(grove_server.url) as grove:
            await grove.convert("transcode", speech_wav, settings, tmp_path / "async.flac")

    asyncio.run(run())
    assert (tmp_path / "sync.flac").read_bytes() == content
    assert (tmp_path / "async.flac").read_bytes() == content


def test_damage_is_named_where_it_may_be_concealed(
    grove_server: ServerProcess, speech_wav: Path
) -> None:
    with Grove(grove_server.url) as grove:
        tokens = bytearray(grove.encode(speech_wav, levels=6))
        tokens[len(tokens) // 2] ^= 0xFF
        with pytest.raises(GroveError, match="bad_content"):
            grove.decode(bytes(tokens))
        coded = grove.convert("decode", bytes(tokens), FileSettings(damage="conceal"))
    assert coded.damage
    assert len(coded.content) == speech_wav.stat().st_size


def test_a_job_is_started_waited_for_fetched_and_dropped(
    grove_server: ServerProcess, speech_wav: Path, tmp_path: Path
) -> None:
    with Grove(grove_server.url) as grove:
        started = grove.jobs.start("encode", speech_wav, FileSettings(levels=3))
        done = grove.jobs.wait(started.id, 60)
        assert (done.state, done.percent, done.operation) == ("done", 100, "encode")
        assert done in grove.jobs.list()
        result = grove.jobs.result(started.id)
        grove.jobs.download(started.id, tmp_path / "job.grv")
        assert grove.jobs.delete(started.id).id == started.id
        with pytest.raises(GroveError, match="not_found"):
            grove.jobs.get(started.id)
        assert result == (tmp_path / "job.grv").read_bytes() == grove.encode(speech_wav, 3)


def test_the_async_client_has_the_same_jobs(grove_server: ServerProcess, speech_wav: Path) -> None:
    async def run() -> tuple[list[Job], bytes, bytes]:
        async with AsyncGrove(grove_server.url) as grove:
            started = await grove.jobs.start("encode", speech_wav, FileSettings(levels=3))
            jobs = [job async for job in grove.jobs.events(started.id)]
            assert jobs[-1] == await grove.jobs.get(started.id)
            assert jobs[-1] in await grove.jobs.list()
            result = await grove.jobs.result(started.id)
            await grove.jobs.delete(started.id)
            return jobs, result, await grove.encode(speech_wav, 3)

    jobs, result, wanted = asyncio.run(run())
    assert jobs[-1].has_ended
    assert result == wanted


def test_the_same_key_starts_one_job(grove_server: ServerProcess, speech_wav: Path) -> None:
    with Grove(grove_server.url) as grove:
        started = [grove.jobs.start("encode", speech_wav, None, "once") for _ in range(2)]
        assert started[0].id == started[1].id
        assert grove.jobs.wait(started[0].id, 60).state == "done"
        grove.jobs.delete(started[0].id)


def test_what_is_no_audio_is_refused_with_its_code(grove_server: ServerProcess) -> None:
    noise = b"this is not audio" * 100
    with Grove(grove_server.url) as grove, pytest.raises(GroveError, match="unsupported_media"):
        grove.jobs.wait(grove.jobs.start("encode", noise).id, 60)


def test_a_token_stands_for_the_key_in_a_page(
    locked_server: ServerProcess, speech_wav: Path
) -> None:
    with Grove(locked_server.url, KEY) as grove:
        given = grove.token()
    assert given.seconds > 0
    with Grove(locked_server.url, given.token) as page:
        assert page.encode(speech_wav)
