"""Pictures of an evaluation: quality over rate, quality over loss, spectrograms side by side."""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from grove.codec.arrays import F32
from grove.training.evaluation.metrics import SCORING_RATE_HZ, Kind, stft_magnitudes
from grove.training.evaluation.results import Evaluation, MetricMean, Row

SPECTROGRAM_WINDOW_SAMPLES = 1024
SPECTROGRAM_HOP_SAMPLES = 240
SPECTROGRAM_RANGE_DB = 90.0
SPECTROGRAM_SECONDS = 5.0
_COLOURS = tuple(f"C{number}" for number in range(10))
_MARKERS = {"zero-level": "o", "repeat": "x", "silence": "v", "own": "s"}


class Panel(NamedTuple):
    """A metric as it is drawn."""

    title: str
    pick: Callable[[Row], MetricMean]


RATE_PANELS = (
    Panel("P808: what listeners would say", lambda row: row.p808),
    Panel("SIM: likeness of the speaker", lambda row: row.speaker),
    Panel("STOI: intelligibility", lambda row: row.stoi),
    Panel("log-mel distance (lower is better)", lambda row: row.log_mel),
)
LOSS_PANELS = (RATE_PANELS[0], RATE_PANELS[2])


class Exemplar(NamedTuple):
    """A clip to look at and listen to: as it was, and decoded at each of `levels`."""

    file: str
    kind: Kind
    original: F32
    levels: tuple[int, ...]
    decoded: tuple[F32, ...]


def rate_quality(evaluation: Evaluation) -> Figure:
    """Draw speech quality over bitrate: a line for each system whose rate varies."""
    figure = new_figure(12, 8)
    rows = evaluation.select("speech", loss_free=True)
    families = dict.fromkeys(row.condition.family for row in rows)
    for axes, panel in zip(figure.subplots(2, 2).flat, RATE_PANELS, strict=True):
        for family, colour in zip(families, cycle(_COLOURS), strict=False):
            _draw_family(
                axes, [row for row in rows if row.condition.family == family], panel, colour
            )
        axes.set(title=panel.title, xlabel="kbps", xscale="log")
        axes.set_xticks([1, 2, 3, 4, 6, 8, 12, 16], ["1", "2", "3", "4", "6", "8", "12", "16"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def _draw_family(axes: Axes, rows: Sequence[Row], panel: Panel, colour: str) -> None:
    points = sorted((row.kbps, mean) for row in rows if (mean := panel.pick(row).mean) is not None)
    if points:
        kbps, values = zip(*points, strict=True)
        axes.plot(kbps, values, "o-", color=colour, label=rows[0].condition.family)


def loss_curves(evaluation: Evaluation) -> Figure:
    """Draw speech quality over the rate of lost packets, a line for each way to conceal them."""
    figure = new_figure(14, 6)
    lossy = evaluation.select("speech", loss_free=False)
    settings = dict.fromkeys(row.condition.setting for row in lossy)
    for axes, panel in zip(figure.subplots(1, 2).flat, LOSS_PANELS, strict=True):
        for setting, colour in zip(settings, cycle(_COLOURS), strict=False):
            for concealment in dict.fromkeys(row.condition.concealment for row in lossy):
                rows = _loss_rows(evaluation, setting, concealment)
                _draw_losses(axes, rows, panel, colour)
        axes.set(title=panel.title, xlabel="% of packets lost")
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    return figure


def _loss_rows(evaluation: Evaluation, setting: str, concealment: str | None) -> list[Row]:
    """Return a setting's rows without loss and with this concealment; empty if never lossy."""
    rows = [
        row for row in evaluation.rows if row.group == "speech" and row.condition.setting == setting
    ]
    lossy = [row for row in rows if row.condition.concealment == concealment]
    return [row for row in rows if row.condition.loss_rate == 0] + lossy if lossy else []


def _draw_losses(axes: Axes, rows: Sequence[Row], panel: Panel, colour: str) -> None:
    points = sorted(
        (row.lost_share * 100, mean) for row in rows if (mean := panel.pick(row).mean) is not None
    )
    if points:
        concealment = rows[-1].condition.concealment or "zero-level"
        label = f"{rows[0].condition.setting}, {concealment}"
        percents, values = zip(*points, strict=True)
        dashes = "-" if concealment in ("zero-level", "own") else ":"
        marker = _MARKERS[concealment]
        axes.plot(percents, values, dashes, marker=marker, color=colour, label=label)


def spectrograms(exemplar: Exemplar) -> Figure:
    """Draw the first seconds of a clip above what each level makes of it."""
    pictures = {f"{exemplar.file}: original": exemplar.original}
    for level, decoded in zip(exemplar.levels, exemplar.decoded, strict=True):
        pictures[f"{exemplar.file}: level {level}"] = decoded
    return spectrogram_comparison(pictures)


def spectrogram_comparison(pictures: Mapping[str, F32]) -> Figure:
    """Draw signals by title, one above the other on a common time axis."""
    figure = new_figure(12, 2.2 * len(pictures))
    columns = figure.subplots(len(pictures), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, samples) in zip(columns, pictures.items(), strict=True):
        _draw_spectrogram(axes, samples)
        axes.set(title=title, ylabel="kHz")
    columns[-1].set(xlabel="seconds")
    return figure


def _draw_spectrogram(axes: Axes, samples: F32) -> None:
    shown = samples[: int(SPECTROGRAM_SECONDS * SCORING_RATE_HZ)]
    decibels = spectrogram_db(shown)
    extent = (0.0, len(shown) / SCORING_RATE_HZ, 0.0, SCORING_RATE_HZ / 2000)
    image = axes.imshow(decibels.T, origin="lower", aspect="auto", extent=extent, cmap="magma")
    image.set_clim(-SPECTROGRAM_RANGE_DB - 10, -10)


def spectrogram_db(samples: F32) -> NDArray[np.float64]:
    """Return levels [T, bins] in dB, where a full-scale sine reads -6."""
    magnitudes = stft_magnitudes(samples, SPECTROGRAM_WINDOW_SAMPLES, SPECTROGRAM_HOP_SAMPLES)
    relative = magnitudes / (SPECTROGRAM_WINDOW_SAMPLES / 2)
    decibels: NDArray[np.float64] = 20 * np.log10(np.maximum(relative, 1e-6))
    return decibels


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """Return an empty figure that draws into files."""
    figure = Figure(figsize=(width_inches, height_inches), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
