"""`/v1/encode`, `/v1/decode`, `/v1/transcode` over HTTP."""

import io
import json
import struct
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import soundfile
from fake_codec import SPEC, FakeCodec
from running import RunningServer, make_settings, noise, wav_bytes

from grove.codec.container.file import ContainerFile
from grove.codec.sound.pcm import encode_pcm
from grove.codec.stream import decode as decode_stream
from grove.codec.stream import encode as encode_stream
from grove.server.auth import Caller


def post(server: RunningServer, path: str, **request: object) -> httpx.Response:
    return server.client.post(path, **request)  # type: ignore[arg-type]


def problem(reply: httpx.Response, status: int, code: str) -> dict[str, object]:
    """Check that a reply is a problem document, and return it."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    document = reply.json()
    assert (document["code"], document["status"]) == (code, status)
    assert document["request_id"] == reply.headers["x-request-id"]
    return document


@pytest.mark.parametrize("name", ["grv", "json", "npy"])
def test_tokens_in_every_format_decode_to_the_same_audio(server: RunningServer, name: str) -> None:
    samples = noise(10_000)
    tokens = post(server, f"/v1/encode?format={name}", content=wav_bytes(samples))
    assert tokens.status_code == 200
    audio = post(server, "/v1/decode?format=raw", content=tokens.content)
    codec = FakeCodec()
    codes = encode_stream(codec, samples)  # type: ignore[arg-type]
    expected = decode_stream(codec, codes, len(samples))  # type: ignore[arg-type]
    made = np.frombuffer(audio.content, "<i2")
    np.testing.assert_array_equal(
        made[: len(samples)], np.frombuffer(encode_pcm(expected, "s16le"), "<i2")
    )
    # An npy array does not say where its audio ends.
    assert len(made) == (len(codes) * 480 - 240 if name == "npy" else len(samples))


def test_a_container_names_the_model_and_the_exact_length(server: RunningServer) -> None:
    reply = post(server, "/v1/encode?levels=2", content=wav_bytes(noise(4410), 44_100))
    file = ContainerFile(io.BytesIO(reply.content))
    assert file.header.codec == SPEC
    assert file.header.source_sample_rate_hz == 44_100
    assert file.sample_count == 2400
    assert file.damage == ()
    _, levels = file.frames(0, file.frame_count)
    assert set(levels.ravel().tolist()) == {2}
    assert reply.headers["codec-model"] == f"fake-24k@{SPEC.model_sha256}"


@pytest.mark.parametrize(("name", "container"), [("wav", "WAV"), ("flac", "FLAC"), ("ogg", "OGG")])
def test_audio_comes_in_the_format_asked_for(
    server: RunningServer, name: str, container: str
) -> None:
    reply = post(server, f"/v1/transcode?format={name}", content=wav_bytes(noise(12_345)))
    info = soundfile.info(io.BytesIO(reply.content))
    assert (info.format, info.samplerate, info.channels) == (container, 24_000, 1)
    assert info.frames == 12_345


@pytest.mark.parametrize(
    ("container", "subtype", "rate_hz"),
    [
        ("WAV", "PCM_U8", 8_000),
        ("WAV", "PCM_24", 48_000),
        ("WAV", "FLOAT", 24_000),
        ("WAVEX", "PCM_16", 16_000),
        ("RF64", "PCM_16", 24_000),
        ("FLAC", "PCM_16", 44_100),
        ("OGG", "VORBIS", 24_000),
        ("OGG", "OPUS", 48_000),
        ("MP3", "MPEG_LAYER_III", 44_100),
        ("AIFF", "PCM_16", 22_050),
    ],
)
def test_every_kind_of_audio_is_taken_whatever_it_is_called(
    server: RunningServer, container: str, subtype: str, rate_hz: int
) -> None:
    file = io.BytesIO()
    stereo = np.stack((noise(rate_hz // 4, 1), noise(rate_hz // 4, 2)), axis=1) * 0.3
    soundfile.write(file, stereo, rate_hz, format=container, subtype=subtype)
    reply = post(
        server,
        "/v1/encode?format=json",
        content=file.getvalue(),
        headers={"Content-Type": "image/png"},
    )
    assert reply.status_code == 200
    assert 13 <= len(reply.json()["codes"]) <= 22


def test_a_multipart_body_gives_what_a_raw_body_gives(server: RunningServer) -> None:
    data = wav_bytes(noise(5000))
    raw = post(server, "/v1/encode", content=data)
    parts = post(server, "/v1/encode", files={"file": ("a.mp3", data, "text/plain")})
    assert parts.content == raw.content


def test_accept_chooses_the_format(server: RunningServer) -> None:
    reply = post(
        server,
        "/v1/transcode",
        content=wav_bytes(noise(1000)),
        headers={"Accept": "audio/wav;q=0.1, audio/flac;q=0.9, */*;q=0.2"},
    )
    assert reply.headers["content-type"] == "audio/flac"


def test_output_streams_before_the_input_is_done(server: RunningServer) -> None:
    seconds = 60
    data = wav_bytes(noise(24_000 * seconds))
    with server.client.stream("POST", "/v1/transcode?format=raw", content=data) as reply:
        chunks = reply.iter_raw()
        next(chunks)
        done_s = reply.num_bytes_downloaded / 48_000
        assert done_s < seconds / 4
        for _ in chunks:
            pass
    assert reply.num_bytes_downloaded == 48_000 * seconds


@pytest.mark.parametrize(
    ("path", "content", "status", "code"),
    [
        ("/v1/encode", b"", 400, "bad_request"),
        ("/v1/encode", b"hello, this is text", 415, "unsupported_media"),
        ("/v1/encode", wav_bytes(noise(500))[:700], 422, "bad_content"),
        ("/v1/encode", b"fLaC" + bytes(300), 422, "bad_content"),
        ("/v1/decode", wav_bytes(noise(500)), 415, "unsupported_media"),
        ("/v1/decode", b"\x89GRV\r\n\x1a\n" + bytes(50), 422, "bad_content"),
        ("/v1/decode", b"\x93NUMPY" + bytes(50), 422, "bad_content"),
        ("/v1/decode", b'{"codes": [[1', 422, "bad_content"),
        ("/v1/decode", b'{"codes": [[1, 70000]]}', 422, "bad_content"),
        ("/v1/decode", b'{"codes": [[255, 512]]}', 422, "bad_content"),
        ("/v1/decode", b'{"codes": [[1, 2, 3]]}', 422, "bad_content"),
        ("/v1/decode", b'{"codes": [[1, 2]], "samples": 9999}', 422, "bad_content"),
        ("/v1/decode", b'{"codes": [[1, 2]], "sha256": "%s"}' % (b"a" * 64), 409, "conflict"),
        ("/v1/encode?levels=4", wav_bytes(noise(500)), 422, "invalid_parameter"),
        ("/v1/encode?levels=0", wav_bytes(noise(500)), 422, "invalid_parameter"),
        ("/v1/encode?format=wav", wav_bytes(noise(500)), 422, "invalid_parameter"),
        ("/v1/transcode?sample_rate=1", wav_bytes(noise(500)), 422, "invalid_parameter"),
        ("/v1/encode?model=nobody", wav_bytes(noise(500)), 404, "not_found"),
        ("/v1/nothing", b"x", 404, "not_found"),
    ],
)
def test_what_cannot_be_done_is_a_problem_document(
    server: RunningServer, path: str, content: bytes, status: int, code: str
) -> None:
    problem(post(server, path, content=content), status, code)


def test_problems_point_at_the_parameter(server: RunningServer) -> None:
    reply = post(server, "/v1/encode?levels=4", content=b"x")
    assert problem(reply, 422, "invalid_parameter")["pointer"] == "#/query/levels"


def test_a_format_nobody_can_give_is_406(server: RunningServer) -> None:
    reply = post(server, "/v1/encode", content=b"x", headers={"Accept": "image/png"})
    problem(reply, 406, "not_acceptable")


def test_a_wrong_method_is_405(server: RunningServer) -> None:
    problem(server.client.get("/v1/encode"), 405, "method_not_allowed")


def test_a_damaged_multipart_body_is_400(server: RunningServer) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    problem(post(server, "/v1/encode", content=b"--y\r\n", headers=headers), 400, "bad_request")
    reply = post(server, "/v1/encode", files={"other": b"data"})
    problem(reply, 400, "bad_request")


def test_adpcm_is_refused(server: RunningServer) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise(2000), 24_000, format="WAV", subtype="MS_ADPCM")
    problem(post(server, "/v1/encode", content=file.getvalue()), 422, "bad_content")


def test_a_small_file_cannot_claim_hours(server: RunningServer) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise(2000), 24_000, format="FLAC")
    claim = bytearray(file.getvalue())
    claim[21:26] = struct.pack(">Q", 2**36 - 1)[3:]
    claim[21] |= file.getvalue()[21] & 0xF0
    problem(post(server, "/v1/encode", content=bytes(claim)), 422, "bad_content")


def test_limits_on_bytes_seconds_and_channels_hold(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = make_settings(
        tmp_path_factory.mktemp("state"),
        max_body_bytes=100_000,
        max_audio_seconds=1,
        max_channels=2,
        body_deadline_seconds=0.5,
    )

    def slow_body() -> Iterator[bytes]:
        yield wav_bytes(noise(100))[:50]
        time.sleep(0.8)
        yield b""

    with RunningServer(settings) as server:
        problem(post(server, "/v1/encode", content=bytes(100_001)), 413, "body_too_large")
        chunked = (bytes(60_000) for _ in range(2))
        problem(post(server, "/v1/encode", content=chunked), 413, "body_too_large")
        long = wav_bytes(noise(24_001))
        problem(post(server, "/v1/encode", content=long), 422, "bad_content")
        file = io.BytesIO()
        soundfile.write(file, np.zeros((100, 3)), 24_000, format="WAV")
        problem(post(server, "/v1/encode", content=file.getvalue()), 422, "bad_content")
        codes = json.dumps({"codes": [[1, 2]] * 51})
        problem(post(server, "/v1/decode", content=codes), 422, "bad_content")
        problem(post(server, "/v1/encode", content=slow_body()), 408, "body_timeout")


def test_a_decoder_that_dies_costs_its_own_request_only(server: RunningServer) -> None:
    pool = server.service.pool
    for process in list(pool._idle):
        process.kill()
    reply = post(server, "/v1/encode", content=wav_bytes(noise(1000)))
    # Either it had died before it was taken, and another one took over, or the request says so.
    assert reply.status_code in (200, 422)
    assert post(server, "/v1/encode", content=wav_bytes(noise(1000))).status_code == 200


def test_two_models_are_chosen_by_name_and_by_hash(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = make_settings(tmp_path_factory.mktemp("state"), bundles=("fake-24k", "beta"))
    data = wav_bytes(noise(1000))
    with RunningServer(settings) as server:
        for wanted in ("beta", "beta@1.0.0", "b" * 8):
            reply = post(server, f"/v1/encode?model={wanted}", content=data)
            assert reply.headers["codec-model"] == f"beta@{'b' * 64}"
        listed = server.client.get("/v1/models").json()["models"]
        assert [(one["name"], one["default"]) for one in listed] == [
            ("fake-24k", True),
            ("beta", False),
        ]
        # Tokens know their model; asking for another one is refused.
        tokens = post(server, "/v1/encode?model=beta", content=data).content
        decoded = post(server, "/v1/decode", content=tokens)
        assert decoded.headers["codec-model"] == f"beta@{'b' * 64}"
        reply = post(server, "/v1/decode?model=fake-24k", content=tokens)
        problem(reply, 409, "conflict")


def test_one_caller_cannot_take_all_places(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = make_settings(
        tmp_path_factory.mktemp("state"), requests_per_caller=1, requests_at_once=1
    )
    with RunningServer(settings) as server:
        data = wav_bytes(noise(100))
        with server.service.admission.request(Caller("anonymous", "127.0.0.1", has_key=False)):
            reply = post(server, "/v1/encode", content=data)
            problem(reply, 429, "too_many_requests")
            assert int(reply.headers["retry-after"]) > 0
        with server.service.admission.request(Caller("anonymous", "10.0.0.1", has_key=False)):
            problem(post(server, "/v1/encode", content=data), 503, "overloaded")
        assert post(server, "/v1/encode", content=data).status_code == 200


def test_a_request_id_is_kept_where_it_is_harmless(server: RunningServer) -> None:
    kept = server.client.get("/health", headers={"X-Request-Id": "abc-123"})
    assert kept.headers["x-request-id"] == "abc-123"
    made = server.client.get("/health", headers={"X-Request-Id": 'a"b'})
    assert made.headers["x-request-id"] != 'a"b'
