import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from evaluation_cases import speech_like

from grove.codec.errors import AudioError
from grove.training.evaluation import peers
from grove.training.evaluation.metrics import score
from grove.training.evaluation.ogg import lose, packets, pages, read_opus, write_opus
from grove.training.evaluation.peers import (
    DEFAULT_PEERS,
    Codec2Peer,
    OpusPeer,
    Peer,
    PeerError,
    SpeexPeer,
    missing_programs,
    speex_payload_bytes,
    transcode,
)

SPEECH = speech_like(1.5)
PACKET_SAMPLES = 960


def ogg(subtype: str) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, SPEECH, 24_000, format="OGG", subtype=subtype)
    return out.getvalue()


OPUS = ogg("OPUS")


def decoded(data: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(data), dtype="float32")[0]


# --- Ogg --------------------------------------------------------------------------------


def test_an_opus_file_has_two_headers_and_a_packet_every_20_ms() -> None:
    stream = read_opus(OPUS)
    assert [head[:8] for head in stream.headers] == [b"OpusHead", b"OpusTags"]
    assert 75 <= len(stream.audio) <= 78
    assert 72_000 <= stream.last_granule <= 78 * PACKET_SAMPLES


def test_pages_add_up_to_the_file_and_packets_to_the_pages() -> None:
    found = list(pages(OPUS))
    assert sum(page.size for page in found) == len(OPUS)
    assert packets(OPUS) == [packet for page in found for packet in page.packets]


def test_packets_longer_than_a_segment_are_put_together() -> None:
    headers = packets(ogg("VORBIS"))[:3]
    assert [head[:7] for head in headers] == [b"\x01vorbis", b"\x03vorbis", b"\x05vorbis"]
    assert len(headers[2]) > 255


def test_a_file_written_from_its_packets_decodes_to_the_same_samples() -> None:
    written = write_opus(read_opus(OPUS), PACKET_SAMPLES)
    assert read_opus(written) == read_opus(OPUS)
    np.testing.assert_array_equal(decoded(written), decoded(OPUS))


def test_a_lost_packet_changes_the_sound_from_there_on_and_not_the_length() -> None:
    lost = [False] * 30 + [True] * 3
    damaged = decoded(write_opus(lose(read_opus(OPUS), lost), PACKET_SAMPLES))
    whole = decoded(OPUS)
    assert damaged.shape == whole.shape
    at = 29 * 480
    np.testing.assert_array_equal(damaged[:at], whole[:at])
    assert (damaged[at : at + 2400] != whole[at : at + 2400]).any()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 logical streams"),
        (b"RIFF" + OPUS, "no whole Ogg page at byte 0"),
        (OPUS[:-1], "no whole Ogg page at byte .* unable to read full data"),
        (OPUS[:-1] + bytes([OPUS[-1] ^ 1]), "does not have the CRC of its bytes"),
        (ogg("VORBIS"), "expected b'OpusHead'"),
    ],
)
def test_what_is_not_an_opus_file_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        read_opus(data)


def test_speex_payload_is_refused_in_another_codecs_file() -> None:
    with pytest.raises(AudioError, match="expected b'Speex   '"):
        speex_payload_bytes(OPUS)


# --- programs ---------------------------------------------------------------------------


def put_programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_peer_that_copies_its_input_is_exact_below_its_band_and_costs_128_kbps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_programs(tmp_path, monkeypatch, c2enc='cp "$2" "$3"', c2dec='cp "$2" "$3"')
    coded = transcode(Codec2Peer(bitrate_bps=3200), SPEECH)
    assert coded.kbps == pytest.approx(128)
    assert coded.samples.shape == SPEECH.shape
    assert score(SPEECH, coded.samples).stoi > 0.95


def test_a_peers_delay_is_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = 'head -c 640 /dev/zero > "$3"; cat "$2" >> "$3"'
    put_programs(tmp_path, monkeypatch, c2enc='cp "$2" "$3"', c2dec=late)
    delayed = transcode(Codec2Peer(bitrate_bps=3200), SPEECH)
    assert score(SPEECH, delayed.samples).stoi > 0.95


def test_a_failing_program_is_named_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_programs(tmp_path, monkeypatch, c2enc="echo no such mode >&2; exit 3")
    with pytest.raises(PeerError, match="c2enc ended with status 3, expected 0: no such mode"):
        transcode(Codec2Peer(bitrate_bps=1200), SPEECH)


def test_a_program_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_programs(OpusPeer(bitrate_kbps=6)) == ("opusenc", "opusdec")
    with pytest.raises(PeerError, match="speexenc is not on this system"):
        transcode(SpeexPeer(), SPEECH)


def test_packets_cannot_be_lost_from_a_peer_that_has_no_means_to_lose_them() -> None:
    with pytest.raises(PeerError, match="cannot lose packets, asked to lose 2"):
        transcode(SpeexPeer(), SPEECH, [True, False, True])


NOMINAL_KBPS = (6, 8, 12, 16, 3.2, 1.2, 16.8)


@pytest.mark.parametrize(
    ("peer", "nominal_kbps"),
    [
        pytest.param(
            peer,
            kbps,
            marks=pytest.mark.skipif(bool(missing_programs(peer)), reason=f"{peer.name} is absent"),
        )
        for peer, kbps in zip(DEFAULT_PEERS, NOMINAL_KBPS, strict=True)
    ],
)
def test_a_real_peer_returns_the_clip_in_time_near_its_nominal_rate(
    peer: Peer, nominal_kbps: float
) -> None:
    coded = transcode(peer, SPEECH)
    # Opus varies its rate, and the clip is half silence; the others do not.
    lowest = 0.5 if isinstance(peer, OpusPeer) else 0.97
    assert lowest * nominal_kbps < coded.kbps < 1.05 * nominal_kbps
    assert coded.samples.shape == SPEECH.shape
    again = peers.align(SPEECH, coded.samples, 2400, "envelope")
    assert np.corrcoef(np.abs(again), np.abs(SPEECH))[0, 1] > 0.3
    assert score(SPEECH, coded.samples).stoi > 0.4


@pytest.mark.skipif(bool(missing_programs(OpusPeer(bitrate_kbps=12))), reason="Opus is absent")
def test_opus_conceals_lost_packets_at_a_cost() -> None:
    peer = OpusPeer(bitrate_kbps=12)
    whole, holed = transcode(peer, SPEECH), transcode(peer, SPEECH, [False, True] * 35)
    assert holed.kbps == whole.kbps
    quality = [score(SPEECH, one.samples).pesq_wb for one in (whole, holed)]
    assert quality[0] > quality[1] + 0.3
