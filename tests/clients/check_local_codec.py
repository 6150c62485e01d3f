"""The codec of the JavaScript client in a real Node.js: the service's tokens without the service.

Not collected by default, since Node.js and `make web` are no dependencies of the project.
"""

import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from local_cases import (
    F32,
    U16,
    fixture_speech,
    python_codes,
    python_pcm,
    run_local,
    speech_of,
)

from grove.codec.bundle import load_bundle
from grove.codec.container.decode import decode_container
from grove.codec.container.encode import AudioEncoder, encode_audio
from grove.codec.container.file import ContainerReader
from grove.codec.container.header import ContainerHeader
from grove.codec.container.writer import ContainerWriter
from grove.codec.runtime import Codec

_log = logging.getLogger(__name__)
# WebAssembly rounds after each product, the server's processor after each product and sum. So
# latents differ by some 1e-6, and where two entries of a book are equally near, the other one wins.
MOST_FRAMES_PER_100_000 = 20
PCM_TOLERANCE = 1e-5

STREAM = """
const pcm = await floats("pcm.f32");
const codec = await GroveCodec.load(bundle, OPTIONS);
const [encoder, decoder] = [codec.encoder(), codec.decoder()];
const codes = [];
const heard = [];
for (let start = 0; start < pcm.length; start += CHUNK) {
  const packets = await encoder.push(pcm.subarray(start, start + CHUNK));
  for (const packet of packets) codes.push(packet.codes);
  if (packets.length) heard.push(await decoder.push(packets));
}
const joined = (parts, Kind) => {
  const all = new Kind(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) { all.set(part, place); place += part.length; }
  return all;
};
await save("codes.u16", joined(codes, Uint16Array));
await save("heard.f32", joined(heard, Float32Array));
await codec.close();
"""


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(load_bundle())


def streamed(pcm: F32, folder: Path, chunk: int, options: str = "{}") -> tuple[U16, F32]:
    """Return codes [T, K] and samples as the JavaScript codec makes them of chunks of pcm."""
    pcm.astype("<f4").tofile(folder / "pcm.f32")
    run_local(STREAM.replace("CHUNK", str(chunk)).replace("OPTIONS", options), folder, seconds=3000)
    codes = np.fromfile(folder / "codes.u16", "<u2").reshape(-1, 12)
    return codes, np.fromfile(folder / "heard.f32", "<f4")


def check_equal(codec: Codec, pcm: F32, codes: U16, heard: F32, most_frames: int) -> None:
    expected = python_codes(codec, pcm)
    assert codes.shape == expected.shape
    differing = np.flatnonzero((codes != expected).any(axis=1))
    assert len(differing) <= most_frames, f"frames {differing[:50]}"
    levels = np.full(len(codes), codec.spec.levels, np.int64)
    # Of the codes made here, so that a token that fell otherwise does not count twice.
    wanted = python_pcm(codec, codes, levels)[codec.spec.delay_samples :]
    worst = float(np.abs(heard - wanted).max())
    _log.info(
        f"{len(codes)} frames: {(codes != expected).sum()} codes in {len(differing)} frames differ"
    )
    _log.info(f"samples differ by at most {worst:.2g}; as 16 bits, {_differing_s16(heard, wanted)}")
    assert worst < PCM_TOLERANCE


def _differing_s16(heard: F32, wanted: F32) -> str:
    one, other = (np.rint(x * np.float32(32_768)) for x in (heard, wanted))
    return f"{(one != other).mean():.4%} of them, by at most {np.abs(one - other).max():.0f}"


@pytest.mark.parametrize(
    ("chunk", "options"),
    [(480, "{}"), (777, "{ worker: true }"), (96_000, "{}")],
    ids=["live", "worker", "blocks"],
)
def test_tokens_are_the_server_s_however_they_are_made(
    codec: Codec, tmp_path: Path, chunk: int, options: str
) -> None:
    pcm = fixture_speech()[: 3000 * 480]
    codes, heard = streamed(pcm, tmp_path, chunk, options)
    check_equal(codec, pcm, codes, heard, most_frames=0)


@pytest.mark.slow
def test_100_000_frames_of_speech_have_the_server_s_tokens(codec: Codec, tmp_path: Path) -> None:
    pcm = speech_of(100_000, codec.spec.hop_samples)
    codes, heard = streamed(pcm, tmp_path, 64 * 480)
    check_equal(codec, pcm, codes, heard, MOST_FRAMES_PER_100_000)


def test_levels_switch_and_losses_are_concealed_as_on_the_server(
    codec: Codec, tmp_path: Path
) -> None:
    pcm = fixture_speech()[: 300 * 480]
    pcm.astype("<f4").tofile(tmp_path / "pcm.f32")
    program = """
        const pcm = await floats("pcm.f32");
        const codec = await GroveCodec.load(bundle);
        const [encoder, decoder] = [codec.encoder({ levels: 2 }), codec.decoder()];
        const heard = [];
        for (let n = 0; n < 300; n++) {
          if (n === 100) encoder.setLevels(5);
          const [packet] = await encoder.push(pcm.subarray(480 * n, 480 * (n + 1)));
          if (packet.level !== (n < 100 ? 2 : 5)) throw new Error(`level ${packet.level} at ${n}`);
          const isLost = n % 10 > 7; // two in a row, so that a gap shows by the next packet's index
          if (!isLost) heard.push(...(await decoder.push({ ...packet, codes: undefined })));
          if (n === 50) heard.push(...(await decoder.push(packet))); // comes twice, counts once
        }
        heard.push(...(await decoder.lost(2)));
        await save("heard.f32", Float32Array.from(heard));
        await codec.close();
    """
    run_local(program, tmp_path)
    heard = np.fromfile(tmp_path / "heard.f32", "<f4")
    frames = np.arange(300)
    levels = np.where(frames % 10 > 7, 0, np.where(frames < 100, 2, 5))
    wanted = python_pcm(codec, python_codes(codec, pcm), levels)[codec.spec.delay_samples :]
    assert len(heard) == len(wanted)
    assert np.abs(heard - wanted).max() < PCM_TOLERANCE


class _Clip:
    """What an encoder has to know of audio before it comes."""

    name = "clip"
    channels = 1

    def __init__(self, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz


def python_file(codec: Codec, pcm: F32, rate_hz: int, levels: int) -> bytes:
    out = io.BytesIO()
    encoder = AudioEncoder(codec, _Clip(rate_hz))
    encode_audio(encoder, _Clip(rate_hz), [pcm[:, None]], out, levels)
    return out.getvalue()


def test_files_are_those_of_the_command_line_byte_for_byte_and_back(
    codec: Codec, tmp_path: Path
) -> None:
    pcm = fixture_speech()[:777_777]
    pcm.astype("<f4").tofile(tmp_path / "pcm.f32")
    theirs = python_file(codec, pcm, 24_000, 4)
    (tmp_path / "theirs.grv").write_bytes(theirs)
    program = """
        const codec = await GroveCodec.load(bundle);
        const ours = await codec.encode(await floats("pcm.f32"), { levels: 4 });
        await writeFile(`${folder}/ours.grv`, ours);
        const { channels, sampleRate, damage } = await codec.decode(await file("theirs.grv"));
        await save("heard.f32", channels[0]);
        const low = await codec.decode(await file("theirs.grv"), { levels: 1, sampleRate: 48000 });
        console.log(JSON.stringify([sampleRate, damage.length, low.channels[0].length]));
        await codec.close();
    """
    said = json.loads(run_local(program, tmp_path))
    assert said == [24_000, 0, 2 * len(pcm)]
    assert (tmp_path / "ours.grv").read_bytes() == theirs
    wanted = np.concatenate([*decode_container(codec, ContainerReader(io.BytesIO(theirs)))])[:, 0]
    heard = np.fromfile(tmp_path / "heard.f32", "<f4")
    assert len(heard) == len(pcm) == len(wanted)
    assert np.abs(heard - wanted).max() < PCM_TOLERANCE


@pytest.mark.parametrize("rate_hz", [48_000, 44_100, 16_000])
def test_other_rates_come_back_in_time_and_near_the_server_s_tokens(
    codec: Codec, tmp_path: Path, rate_hz: int
) -> None:
    import soxr  # noqa: PLC0415 - the way to audio at that rate

    pcm = soxr.resample(fixture_speech()[: 1500 * 480], 24_000, rate_hz, "VHQ")
    pcm.astype("<f4").tofile(tmp_path / "pcm.f32")
    program = """
        const codec = await GroveCodec.load(bundle);
        const pcm = await floats("pcm.f32");
        const grv = await codec.encode(pcm, { sampleRate: RATE });
        await writeFile(`${folder}/ours.grv`, grv);
        const encoder = codec.encoder({ sampleRate: RATE });
        const packets = [];
        for (let n = 0; n < pcm.length; n += 1001) {
          packets.push(...(await encoder.push(pcm.subarray(n, n + 1001))));
        }
        packets.push(...(await encoder.finish()));
        const codes = new Uint16Array(packets.flatMap((packet) => [...packet.codes]));
        await save("codes.u16", codes);
        const { channels } = await codec.decode(grv);
        console.log(JSON.stringify([channels[0].length]));
        await codec.close();
    """
    said = json.loads(run_local(program.replace("RATE", str(rate_hz)), tmp_path))
    assert said == [len(pcm)]
    ours = file_codes((tmp_path / "ours.grv").read_bytes())
    chunked = np.fromfile(tmp_path / "codes.u16", "<u2").reshape(-1, 12)
    assert np.array_equal(ours, chunked)
    theirs = file_codes(python_file(codec, pcm, rate_hz, codec.spec.levels))
    equal = float((ours == theirs).mean())
    first = float((ours[:, :2] == theirs[:, :2]).mean())
    _log.info(f"{rate_hz} Hz: {equal:.2%} of the codes are the server's, {first:.2%} of level 1's")
    assert ours.shape == theirs.shape
    assert first > 0.97


def file_codes(stored: bytes) -> U16:
    blocks = [block.codes[0] for block in ContainerReader(io.BytesIO(stored)).blocks()]
    return np.concatenate(blocks)


READ_DAMAGED = """
const { ContainerReader } = await import(new URL("./container_read.js", LOCAL).href);
const cases = JSON.parse(Buffer.from(await file("cases.json")).toString());
const said = cases.map((hex) => {
  try {
    const reader = new ContainerReader(Uint8Array.from(Buffer.from(hex, "hex")));
    const events = [...reader.events()].map((event) => event.kind === "block"
      ? ["block", event.firstFrame,
      event.channels.map(({ codes, levels }) => [[...codes], [...levels]])]
      : event.kind === "start"
        ? ["start", event.number, event.firstFrame, event.skipSamples]
        : ["end", event.number, event.endFrame, event.sampleCount, event.sourceSampleCount,
          event.isExact]);
    const damage = reader.damage.map(({ reason, firstFrame, frames }) =>
      [reason, firstFrame, frames]);
    return [events, damage];
  } catch (error) {
    return error.code;
  }
});
await writeFile(`${folder}/said.json`, JSON.stringify(said));
"""


def python_reading(stored: bytes) -> object:
    from grove.codec.container.assembler import Block, SegmentEnd, SegmentStart  # noqa: PLC0415
    from grove.codec.errors import BitstreamError  # noqa: PLC0415

    try:
        reader = ContainerReader(io.BytesIO(stored))
    except BitstreamError:
        return "bad_file"
    events: list[object] = []
    for event in reader.events():
        match event:
            case Block():
                pairs = zip(event.codes, event.levels, strict=True)
                channels = [[codes.ravel().tolist(), levels.tolist()] for codes, levels in pairs]
                events.append(["block", event.first_frame, channels])
            case SegmentStart():
                events.append(["start", event.number, event.first_frame, event.skip_samples])
            case SegmentEnd():
                segment = event.segment
                counts = [segment.sample_count, segment.source_sample_count]
                events.append(["end", event.number, segment.end_frame, *counts, event.exact])
    damage = [[str(d.reason), d.first_frame, d.frame_count] for d in reader.damage]
    return [events, damage]


def damaged_files() -> list[bytes]:
    """Return the golden files, whole and with seeded damage of every kind."""
    golden = Path(__file__).parents[1] / "codec" / "golden"
    whole = [path.read_bytes() for path in sorted(golden.glob("*.grv"))]
    random, made = np.random.default_rng(15), list(whole)
    for stored in whole * 60:
        at, size = int(random.integers(len(stored))), int(random.integers(1, 60))
        rest = stored[at + size :]
        noise = random.bytes(size)
        flipped = bytes([stored[at] ^ (1 << int(random.integers(8)))]) + stored[at + 1 : at + size]
        part = stored[at : at + size]
        choice = [b"", noise, flipped, part * 2, noise + part][int(random.integers(5))]
        made.append(stored[:at] + choice + rest)
        made.append(stored[:at])
    made += [one + other for one in whole for other in whole]
    return made


def test_damaged_files_are_read_as_the_command_line_reads_them(tmp_path: Path) -> None:
    cases = damaged_files()
    (tmp_path / "cases.json").write_text(json.dumps([case.hex() for case in cases]))
    from local_cases import LOCAL  # noqa: PLC0415

    run_local(READ_DAMAGED.replace("LOCAL", json.dumps(LOCAL.as_uri())), tmp_path)
    said = json.loads((tmp_path / "said.json").read_text())
    for number, (case, ours) in enumerate(zip(cases, said, strict=True)):
        assert ours == python_reading(case), f"case {number} of {len(case)} bytes"


def test_bad_input_has_one_named_error_and_closes_its_stream(codec: Codec, tmp_path: Path) -> None:
    other = codec.spec.model_copy(update={"model_sha256": "0" * 64})
    out = io.BytesIO()
    writer = ContainerWriter(
        out, ContainerHeader(codec=other, source_sample_rate_hz=24_000, source_channels=1)
    )
    writer.close(0)
    (tmp_path / "foreign.grv").write_bytes(out.getvalue())
    program = """
        const said = {};
        const changed = (name, change) =>
          ({ ...bundle, [name]: change(Buffer.from(bundle[name])) });
        const flip = (bytes) => { bytes[bytes.length >> 1] ^= 1; return bytes; };
        const load = (files, options) => codeOf(GroveCodec.load(files, options));
        said.flipped = await load(changed("decoder.onnx", flip));
        said.short = await load(changed("encoder.onnx", (bytes) => bytes.subarray(0, 1000)));
        said.swapped = await load({ ...bundle, "encoder.onnx": bundle["decoder.onnx"] });
        said.manifest = await load(changed("manifest.json", () => Buffer.from("{}")));
        const renamed = (bytes) =>
          Buffer.from(String(bytes).replace(/"model_sha256": "./, '"model_sha256": "x'));
        said.spec = await load(changed("manifest.json", renamed));
        const { "encoder.onnx": _, ...missing } = bundle;
        said.missing = await load(missing);
        said.nowhere = await load("http://127.0.0.1:9/bundle");
        said.threads = await load(bundle, { threads: 2 });
        said.runtime = await load(bundle, { runtime: "./no-such-module.mjs" });

        const codec = await GroveCodec.load(bundle);
        const streams = [];
        const use = async (kind, act, options) => {
          const stream = codec[kind](options);
          const code = await codeOf(Promise.resolve().then(() => act(stream)));
          const more = kind === "encoder" ? stream.push(new Float32Array(9)) : stream.lost(1);
          const after = await codeOf(more);
          return `${code} then ${after}`;
        };
        const packet = { index: 0, level: 1, bytes: Uint8Array.of(1, 2, 48) };
        said.nan = await use("encoder", (encoder) => encoder.push(Float32Array.of(0, NaN)));
        said.infinite = await use("encoder", (encoder) => encoder.push(Float32Array.of(-Infinity)));
        said.kind = await use("encoder", (encoder) => encoder.push([1, 2, 3]));
        const push = (change) =>
          use("decoder", (decoder) => decoder.push({ ...packet, ...change }));
        said.size = await push({ bytes: new Uint8Array(4) });
        said.padding = await push({ bytes: Uint8Array.of(1, 2, 49) });
        said.level = await push({ level: 7 });
        said.gap = await push({ index: 1e6 });
        said.nothing = await use("decoder", (decoder) => decoder.push(undefined));
        said.good = await use("decoder", (decoder) => decoder.push(packet));
        said.levels = await codeOf(Promise.resolve().then(() => codec.encoder({ levels: 9 })));
        said.rate = await codeOf(Promise.resolve().then(() => codec.encoder({ sampleRate: 4000 })));
        said.file = await codeOf(codec.decode(new Uint8Array(100)));
        said.foreign = await codeOf(codec.decode(await file("foreign.grv")));
        await codec.close();
        said.closed = await codeOf(codec.encoder().push(new Float32Array(480)));

        const remote = await GroveCodec.load(bundle, { worker: true });
        const waiting = codeOf(remote.encoder().push(new Float32Array(480_000)));
        await remote.worker.worker.terminate();
        const later = codeOf(remote.encoder().push(new Float32Array(480)));
        said.lost = [await waiting, await later].join();

        const validate = WebAssembly.validate;
        WebAssembly.validate = () => false;
        said.simd = await load(bundle);
        WebAssembly.validate = validate;
        console.log(JSON.stringify(said));
    """
    assert json.loads(run_local(program, tmp_path)) == {
        "flipped": "wrong_hash",
        "short": "wrong_hash",
        "swapped": "wrong_hash",
        "manifest": "bad_bundle",
        "spec": "bad_bundle",
        "missing": "bad_bundle",
        "nowhere": "unreachable",
        "threads": "no_threads",
        "runtime": "no_runtime",
        "nan": "bad_samples then closed",
        "infinite": "bad_samples then closed",
        "kind": "bad_samples then closed",
        "size": "bad_packet then closed",
        "padding": "bad_packet then closed",
        "level": "bad_packet then closed",
        "gap": "bad_packet then closed",
        "nothing": "bad_packet then closed",
        "good": "none then none",
        "levels": "bad_levels",
        "rate": "bad_rate",
        "file": "bad_file",
        "foreign": "foreign_model",
        "closed": "closed",
        "lost": "worker_lost,worker_lost",
        "simd": "no_simd",
    }
