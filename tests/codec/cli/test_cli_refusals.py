"""Bad input, full disks and interruptions: one line, in bounded time, and nothing left behind."""

import io
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_cases import SPEECH, Grove, flac_claiming, write_audio
from container_cases import make_file, make_header, synthetic_codes

from grove.codec.cli import files as cli_files
from grove.codec.container.encode import encode_audio
from grove.codec.runtime import Codec

LIMIT_SECONDS = 5
LIMIT_GROWTH_BYTES = 100 << 20
GROVE = [sys.executable, "-m", "grove"]

Make = Callable[[Path], Path]


@pytest.fixture
def grove(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, codec: Codec
) -> Grove:
    return Grove(capsysbinary, monkeypatch, codec)


def truncated_wav(folder: Path) -> Path:
    path = write_audio(folder / "cut.wav", np.zeros(24_000, np.float32))
    path.write_bytes(path.read_bytes()[:20_001])
    return path


def wav_without_samples(folder: Path) -> Path:
    return write_audio(folder / "none.wav", np.zeros(0, np.float32))


def not_a_number(folder: Path) -> Path:
    samples = np.zeros(24_000, np.float32)
    samples[12_345] = np.nan
    return write_audio(folder / "nan.wav", samples, subtype="FLOAT")


def endless_flac(folder: Path) -> Path:
    path = folder / "endless.flac"
    path.write_bytes(flac_claiming(2**36 - 1))
    return path


def text_named_wav(folder: Path) -> Path:
    path = folder / "notes.wav"
    path.write_text("Dear diary,\n" * 1_000)
    return path


def folder_named_wav(folder: Path) -> Path:
    path = folder / "folder.wav"
    path.mkdir()
    return path


def nothing(folder: Path) -> Path:
    return folder / "missing.wav"


def empty(folder: Path) -> Path:
    path = folder / "empty.wav"
    path.touch()
    return path


def too_many_channels(folder: Path) -> Path:
    return write_audio(folder / "nine.wav", np.zeros((100, 9), np.float32))


def too_high_a_rate(folder: Path) -> Path:
    return write_audio(folder / "fast.wav", np.zeros(100, np.float32), 384_000)


def compressed_wav(folder: Path) -> Path:
    path = folder / "adpcm.wav"
    fmt = struct.pack("<HHIIHHHH", 2, 1, 24_000, 24_000, 256, 4, 2, 500)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", 512)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + 512) + body + bytes(512))
    return path


def container(folder: Path) -> Path:
    path = folder / "other.grv"
    header = make_header()
    path.write_bytes(make_file(header, *synthetic_codes(header.codec, 1, 20, 3)))
    return path


BAD_AUDIO: list[tuple[Make, str]] = [
    (truncated_wav, "is truncated: "),
    (wav_without_samples, "holds zero samples, expected at least one"),
    (not_a_number, "sample 12345 (0.514 s) of channel 1 is nan, expected a number"),
    (endless_flac, "declares 2863311.5 seconds of audio, expected at most 86400"),
    (text_named_wav, "is text, expected WAV, FLAC, Ogg"),
    (folder_named_wav, "is a directory, expected a file"),
    (nothing, "cannot be opened: No such file or directory, expected an audio file"),
    (empty, "is empty, expected WAV, FLAC, Ogg"),
    (too_many_channels, "has 9 channels, expected 1 to 8"),
    (too_high_a_rate, "has a sample rate of 384000 Hz, expected 8000 to 192000"),
    (compressed_wav, "expected PCM of 8 to 32 bits"),
    (container, "starting with 89 47 52 56, expected WAV"),
]


@contextmanager
def bounded() -> Iterator[None]:
    """Hold a block to bounded time and memory."""
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    yield
    assert time.monotonic() - start < LIMIT_SECONDS
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kib
    assert grown * 1024 < LIMIT_GROWTH_BYTES


@pytest.mark.parametrize("command", ["encode", "transcode"])
@pytest.mark.parametrize(
    ("make", "message"), BAD_AUDIO, ids=lambda case: getattr(case, "__name__", "")
)
def test_bad_audio_is_refused_in_one_line_and_leaves_nothing(
    grove: Grove, tmp_path: Path, make: Make, message: str, command: str
) -> None:
    source, out = make(tmp_path), tmp_path / "out"
    out.mkdir()
    target = out / ("a.grv" if command == "encode" else "a.wav")
    with bounded():
        ran = grove(command, source, target)
    assert (ran.code, ran.out) == (2, b"")
    assert len(ran.error_lines) == 1
    assert ran.err.count("\n") <= 2
    assert ran.err.startswith(f"error: {source}: ")
    assert message in ran.err
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (truncated_wav, "add --allow-truncated to use what is there"),
        (container, "it is a .grv container; `grove decode` makes audio of it"),
        (text_named_wav, "convert it first, for example with `ffmpeg -i in out.wav`"),
        (not_a_number, "float samples have full scale at 1"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_advice_is_in_terms_of_options_and_follows_from_what_is_wrong(
    grove: Grove, tmp_path: Path, make: Make, hint: str
) -> None:
    # What a file is called must not decide it.
    source = make(tmp_path).rename(tmp_path / "is truncated: starting with 89 47 52 56.wav")
    ran = grove("encode", source, tmp_path / "a.grv")
    assert ran.err.splitlines()[1] == f"hint: {hint}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (truncated_wav, "is truncated"),
        (wav_without_samples, "holds zero samples"),
        (not_a_number, "is nan"),
        (endless_flac, "declares 2863311.5 seconds"),
        (text_named_wav, "is text"),
        (empty, "is empty"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_bad_audio_in_a_pipe_is_refused_as_in_a_file(
    grove: Grove, tmp_path: Path, make: Make, message: str
) -> None:
    data = make(tmp_path).read_bytes()
    with bounded():
        ran = grove("encode", "-", tmp_path / "a.grv", stdin=data)
    assert ran.code == 2
    assert ran.err.startswith("error: <stdin>: ")
    assert message in ran.err
    assert not list(tmp_path.glob("*a.grv*"))


def random_bytes(folder: Path) -> Path:
    path = folder / "random.grv"
    path.write_bytes(np.random.default_rng(1).bytes(100_000))
    return path


def header_alone(folder: Path) -> Path:
    path = container(folder)
    path.write_bytes(path.read_bytes()[:40])
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (container, "the file was made by grove-24k 1.0.0 (model 0123456789ab)"),
        (random_bytes, "not a .grv file"),
        (truncated_wav, "not a .grv file"),
        (header_alone, ""),
        (folder_named_wav, "is a directory, expected a file"),
        (nothing, "cannot be opened: No such file or directory, expected a .grv file"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_what_is_no_container_of_this_model_is_refused(
    grove: Grove, tmp_path: Path, make: Make, message: str
) -> None:
    source, out = make(tmp_path), tmp_path / "out"
    out.mkdir()
    with bounded():
        ran = grove("decode", source, out / "a.wav")
    assert (ran.code, ran.out) == (2, b"")
    assert len(ran.error_lines) == 1
    assert message in ran.err
    assert list(out.iterdir()) == []


def test_six_channels_cannot_be_two_streams(grove: Grove, tmp_path: Path) -> None:
    source = write_audio(tmp_path / "six.wav", np.zeros((4_800, 6), np.float32))
    ran = grove("encode", source, tmp_path / "a.grv", "--stereo")
    assert ran.code == 2
    assert "has 6 channels, expected 1 or 2 to code as stereo" in ran.err
    assert not (tmp_path / "a.grv").exists()


@pytest.mark.parametrize("command", ["encode", "decode", "transcode"])
def test_a_full_disk_is_named_and_nothing_half_written_stays(
    grove: Grove, tmp_path: Path, command: str
) -> None:
    assert grove("encode", SPEECH, tmp_path / "in.grv").code == 0
    out = tmp_path / "out"
    out.mkdir()
    source = tmp_path / "in.grv" if command == "decode" else SPEECH
    target = out / ("a.grv" if command == "encode" else "a.wav")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        ran = grove(command, source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ran.code == 2
    assert len(ran.error_lines) == 1
    assert f"{target}: cannot be written: File too large" in ran.err
    assert list(out.iterdir()) == []
    full = grove(
        command, source, "/dev/full", *(() if command == "encode" else ("--format", "wav"))
    )
    assert full.code == 2
    assert "/dev/full: cannot be written: No space left on device" in full.err


def test_an_output_folder_that_cannot_be_is_refused(grove: Grove, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = grove("encode", SPEECH, "--out", tmp_path / "file")
    assert ran.code == 2
    assert "cannot be made: File exists" in ran.err
    missing = grove("encode", SPEECH, tmp_path / "no" / "such" / "a.grv")
    assert missing.code == 2
    assert "cannot be written: No such file or directory" in missing.err


@pytest.mark.parametrize(
    ("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_signal_in_the_middle_leaves_nothing(
    grove: Grove,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: signal.Signals,
    code: int,
) -> None:
    def stopped(*arguments: object) -> object:
        encode_audio(*arguments)  # type: ignore[arg-type]
        signal.raise_signal(stop)
        return None

    monkeypatch.setattr(cli_files, "encode_audio", stopped)
    if stop == signal.SIGINT:
        assert grove("encode", SPEECH, tmp_path / "a.grv").code == code
    else:
        with pytest.raises(SystemExit) as ended:
            grove("encode", SPEECH, tmp_path / "a.grv")
        assert ended.value.code == code
    assert list(tmp_path.iterdir()) == []


# --- as processes, since only there signals, pipes and imports are real ------------------------


def test_ctrl_c_ends_a_running_process_without_leftovers(tmp_path: Path) -> None:
    target = tmp_path / "a.grv"
    process = subprocess.Popen(
        [*GROVE, "encode", "-", str(target)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    endless = io.BytesIO()
    header = write_audio(tmp_path / "h.wav", np.zeros(70_000, np.float32)).read_bytes()
    endless.write(header[:40] + b"\xff\xff\xff\xff" + header[44:])
    process.stdin.write(endless.getvalue())
    process.stdin.flush()
    deadline_s = time.monotonic() + 20
    while not list(tmp_path.glob(".a.grv.*")) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, b"interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["h.wav"]


@pytest.mark.parametrize(("command", "begins"), [("transcode", b"RIFF"), ("encode", b"\x89GRV")])
def test_a_closed_pipe_ends_the_process_quietly(
    tmp_path: Path, command: str, begins: bytes
) -> None:
    raw = np.random.default_rng(2).standard_normal(240_000).astype(np.float32) * 0.05
    source = write_audio(tmp_path / "noise.wav", raw)
    process = subprocess.Popen(
        [*GROVE, command, str(source), "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.read(4) == begins
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=10), err) == (141, b"")


def test_the_commands_run_without_torch_and_help_without_numpy(tmp_path: Path) -> None:
    program = f"""
import sys
from grove.codec.cli import commands as cli
assert cli.main(["--help"]) == 0
assert not {{"numpy", "onnxruntime", "torch", "fastapi"}} & set(sys.modules)
assert cli.main(["encode", {str(SPEECH)!r}, {str(tmp_path / "a.grv")!r}]) == 0
assert cli.main(["decode", {str(tmp_path / "a.grv")!r}, {str(tmp_path / "a.wav")!r}]) == 0
assert "torch" not in sys.modules
sys.modules["torch"] = None
sys.exit(cli.main(["train", "r.yaml", "--data", "d", "--out", "o"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.stderr.decode() == (
        "error: this command needs torch, which is not installed\n"
        "hint: pip install 'grove-codec[train]'\n"
    )
    assert done.returncode == 2
    assert (tmp_path / "a.wav").exists()


def peak_of(arguments: list[str]) -> int:
    """Return the memory that a command took at most."""
    program = (
        "import sys; from grove.codec.cli.commands import main; "
        "from grove.codec.bench.timing import peak_rss_bytes; "
        "code = main(sys.argv[1:]); print(peak_rss_bytes()); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).standard_normal((60 * 44_100, 2)).astype(np.float32) * 0.05
    peaks: dict[int, tuple[int, int]] = {}
    for minutes in (1, 30):
        source = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(source, "w", 44_100, 2) as sound:
            for _ in range(minutes):
                sound.write(noise)
        coded, back = str(tmp_path / f"{minutes}.grv"), str(tmp_path / f"{minutes}.flac")
        peaks[minutes] = peak_of(["encode", str(source), coded]), peak_of(["decode", coded, back])
    assert max(peaks[30]) < 400e6
    for short, long in zip(peaks[1], peaks[30], strict=True):
        assert long - short < 20e6
