"""An evaluation as files: tables in Markdown, everything in JSON, a page with plots and sounds."""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import soundfile

from grove.training.evaluation.metrics import BANDS_HZ, SCORING_RATE_HZ
from grove.training.evaluation.plots import Exemplar, loss_curves, rate_quality, spectrograms
from grove.training.evaluation.results import GROUPS, Evaluation, Group, MetricMean, Row

MARKDOWN_FILE = "evaluation.md"
JSON_FILE = "evaluation.json"
PAGE_FILE = "index.html"
NO_FIGURE = "-"

_DEFINITIONS = """\
P808: DNSMOS's estimate of what listeners after ITU-T P.808 would say, 1 to 5, without the original.
SIM: cosine of the speakers' embeddings (Resemblyzer). PLCMOS: as P808, from calls with lost
packets. No released model was trained on these three or on STOI. PESQ-WB: ITU-T P.862.2 at 16 kHz;
grove-24k 0.3.0 was trained on it. STOI, ESTOI: at 10 kHz. level: how much louder than the original.
None of these hears what is above 8 kHz; the spectral distances do. log-mel: mean |Δ ln| of 80
Slaney mel bands, 0 to 12 kHz, window 1024, hop 240, floor 1e-5. STFT: spectral convergence + mean
|Δ ln|, windows of 256 to 2048. SI-SDR in dB, which says nothing about Codec2: a vocoder keeps no
waveform. buzz: correlation with the sound 20 ms before, less the original's, mean of the octaves
from 1 to 8 kHz. Lower is better for log-mel, STFT and buzz. kbps: payload without headers, measured
for peers. A figure marked †n leaves out n clips on which the metric cannot be computed."""

_LOSS_NOTE = """\
Bursts of 1 to 5 packets of 20 ms, the same ones for every system. *zero-level*: the decoder gets
frames without codes; *repeat*: the last frame again; *silence*: zeros for samples, and the decoder
never hears of the frame; *own*: the peer's own concealment."""


class Column(NamedTuple):
    """A metric in a table."""

    title: str
    pick: Callable[[Row], MetricMean]
    digits: int


COLUMNS = (
    Column("P808", lambda row: row.p808, 2),
    Column("SIM", lambda row: row.speaker, 2),
    Column("STOI", lambda row: row.stoi, 3),
    Column("PLCMOS", lambda row: row.plcmos, 2),
    Column("ESTOI", lambda row: row.estoi, 3),
    Column("PESQ-WB", lambda row: row.pesq_wb, 2),
    Column("level, dB", lambda row: row.level_db, 1),
    Column("SI-SDR", lambda row: row.si_sdr_db, 1),
    Column("log-mel ↓", lambda row: row.log_mel, 2),
    Column("STFT ↓", lambda row: row.stft_distance, 2),
    Column("buzz ↓", lambda row: row.buzz, 2),
)
SPECTRAL_COLUMNS = COLUMNS[6:]
LOSS_COLUMNS = (COLUMNS[0], COLUMNS[2])


class Section(NamedTuple):
    """A titled table with a note, drawn alike in Markdown and in HTML."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_report(evaluation: Evaluation, exemplars: Sequence[Exemplar], folder: Path) -> None:
    """Write evaluation.md, evaluation.json, index.html, its pictures and sounds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKDOWN_FILE).write_text(markdown(evaluation), encoding="utf-8")
    (folder / JSON_FILE).write_text(evaluation.model_dump_json(indent=1), encoding="utf-8")
    rate_quality(evaluation).savefig(folder / "rate-quality.png")
    pictures = ["rate-quality.png"]
    if evaluation.select("speech", loss_free=False):
        loss_curves(evaluation).savefig(folder / "loss.png")
        pictures.append("loss.png")
    parts = [_write_exemplar(exemplar, folder) for exemplar in exemplars]
    (folder / PAGE_FILE).write_text(page(evaluation, pictures, parts), encoding="utf-8")


def markdown(evaluation: Evaluation) -> str:
    """Return the whole report; its first table is the one for a README."""
    parts = [f"# {title(evaluation)}", _provenance(evaluation)]
    for section in sections(evaluation):
        parts += [f"## {section.title}", section.note, markdown_table(section)]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(section: Section) -> str:
    lines = [section.header, tuple("---" for _ in section.header), *section.rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def title(evaluation: Evaluation) -> str:
    spec = evaluation.codec
    return f"Evaluation of {spec.name} {spec.version}" if spec else "Evaluation of the peers alone"


def _provenance(evaluation: Evaluation) -> str:
    spec = evaluation.codec
    lines = [f"{evaluation.clips} clips of `{evaluation.clips_folder}`, seed {evaluation.seed},"]
    lines.append(f"metrics version {evaluation.metrics_version}.")
    if spec:
        lines.append(f"Model sha256 `{spec.model_sha256}`.")
    for absent in evaluation.absent_peers:
        programs = ", ".join(absent.missing_programs)
        lines.append(f"**{absent.name} is absent: {programs} not found on this system.**")
    return " ".join(lines)


def sections(evaluation: Evaluation) -> tuple[Section, ...]:
    """Return every table that has rows."""
    found = [_group_section(evaluation, group) for group in GROUPS]
    found += [_band_section(evaluation), _loss_section(evaluation), _book_section(evaluation)]
    return tuple(section for section in found if section.rows)


# --- tables -----------------------------------------------------------------------------


def _group_section(evaluation: Evaluation, group: Group) -> Section:
    rows = evaluation.select(group, loss_free=True)
    columns = SPECTRAL_COLUMNS if group in ("music", "noise") else COLUMNS
    clips = max((row.clips for row in rows), default=0)
    return Section(
        title=f"{group[0].upper()}{group[1:]} ({clips} clips)",
        note=_DEFINITIONS if group == "speech" else "",
        header=("system", "kbps", *(column.title for column in columns)),
        rows=tuple(
            (row.condition.setting, f"{row.kbps:.1f}", *(_cell(row, one) for one in columns))
            for row in rows
        ),
    )


def _band_section(evaluation: Evaluation) -> Section:
    """Return where the bits of each level went: envelope error / signal-to-noise ratio by band."""
    rows = [
        row
        for row in evaluation.select("speech", loss_free=True)
        if row.condition.level is not None
    ]
    return Section(
        title="Where the bits go: speech by bands",
        note="Mean error of the level in blocks of 5 ms / signal over error, both in dB.",
        header=("system", *(f"{low} to {high} Hz" for low, high in BANDS_HZ)),
        rows=tuple(
            (
                row.condition.setting,
                *(f"{band.envelope_db:.1f} / {band.snr_db:.1f}" for band in row.bands),
            )
            for row in rows
        ),
    )


def _loss_section(evaluation: Evaluation) -> Section:
    lossy = evaluation.select("speech", loss_free=False)
    rates = sorted({row.condition.loss_rate for row in lossy})
    ways = dict.fromkeys((row.condition.setting, row.condition.concealment) for row in lossy)
    header = ["system", "concealment"]
    for rate in (0.0, *rates):
        header += [f"{column.title}, {rate:.0%} lost" for column in LOSS_COLUMNS]
    rows = []
    for setting, concealment in ways:
        cells = [setting, concealment or ""]
        for rate in (0.0, *rates):
            cells += _loss_cells(evaluation, setting, concealment if rate else None, rate)
        rows.append(tuple(cells))
    realised = ", ".join(f"{rate:.0%}: {_lost_share(lossy, rate):.1%}" for rate in rates)
    note = f"{_LOSS_NOTE} Packets lost in fact ({realised})."
    return Section("Speech with packets lost", note, tuple(header), tuple(rows))


def _loss_cells(
    evaluation: Evaluation, setting: str, concealment: str | None, rate: float
) -> list[str]:
    rows = [
        row
        for row in evaluation.select("speech", loss_free=rate == 0)
        if row.condition.setting == setting
        and row.condition.concealment == concealment
        and row.condition.loss_rate == rate
    ]
    return [_cell(rows[0], column) if rows else NO_FIGURE for column in LOSS_COLUMNS]


def _lost_share(rows: Iterable[Row], rate: float) -> float:
    shares = [row.lost_share for row in rows if row.condition.loss_rate == rate]
    return sum(shares) / len(shares)


def _book_section(evaluation: Evaluation) -> Section:
    return Section(
        title="Codebooks",
        note="Over the frames of all clips. Entropy: 1 is even use of every code.",
        header=("book", "size", "frames", "used", "dead", "entropy"),
        rows=tuple(
            (str(b.book), str(b.size), str(b.frames), str(b.used), str(b.dead), f"{b.entropy:.3f}")
            for b in evaluation.books
        ),
    )


def _cell(row: Row, column: Column) -> str:
    metric = column.pick(row)
    mark = f" †{metric.missing}" if metric.missing else ""
    return (NO_FIGURE if metric.mean is None else f"{metric.mean:.{column.digits}f}") + mark


# --- page -------------------------------------------------------------------------------

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1150px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; font-size: 14px; display: block; overflow-x: auto }
td, th { border: 1px solid #ccc; padding: .2em .6em; text-align: right }
td:first-child, th:first-child { text-align: left }
img { max-width: 100% } figure { margin: 1em 0 } audio { height: 2em; vertical-align: middle }
"""


def page(evaluation: Evaluation, pictures: Sequence[str], parts: Sequence[str]) -> str:
    """Return the HTML page around the written `pictures` and exemplar `parts`."""
    name = escape(title(evaluation))
    body = [f"<h1>{name}</h1>", f"<p>{escape(_provenance(evaluation).replace('*', ''))}</p>"]
    body += [f'<figure><img src="{escape(one)}" alt=""></figure>' for one in pictures]
    for section in sections(evaluation):
        note = escape(section.note.replace("*", ""))
        body += [f"<h2>{escape(section.title)}</h2>", f"<p>{note}</p>", _html_table(section)]
    body += parts
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style>\n" + "\n".join(body) + "</html>\n"
    )


def _html_table(section: Section) -> str:
    def line(tag: str, cells: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = [line("td", row) for row in section.rows]
    return "<table>\n" + "\n".join([line("th", section.header), *rows]) + "\n</table>"


def _write_exemplar(exemplar: Exemplar, folder: Path) -> str:
    """Write an exemplar's picture and sounds, and return its part of the page."""
    stem = Path(exemplar.file).with_suffix("").as_posix().replace("/", "-")
    picture = f"spectrogram-{stem}.png"
    spectrograms(exemplar).savefig(folder / picture)
    sounds = [("original", exemplar.original)]
    sounds += [
        (f"level-{level}", samples)
        for level, samples in zip(exemplar.levels, exemplar.decoded, strict=True)
    ]
    players = []
    (folder / "samples").mkdir(exist_ok=True)
    for label, samples in sounds:
        file = f"samples/{stem}-{label}.flac"
        soundfile.write(folder / file, samples, SCORING_RATE_HZ)
        players.append(f'{escape(label)} <audio controls src="{escape(file)}"></audio>')
    heading = f"<h2>{escape(exemplar.kind)}: {escape(exemplar.file)}</h2>"
    image = f'<figure><img src="{escape(picture)}" alt="spectrograms"></figure>'
    return f"{heading}<p>{' '.join(players)}</p>{image}"
