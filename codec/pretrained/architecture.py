"""What a bundle's codec is made of, read from its graphs: a bundle carries no recipe.

Whatever is concluded here is proven on the bundle's golden vectors before anyone may use it.
"""

from __future__ import annotations

from grove.codec.config import (
    CodecConfig,
    CodecSpec,
    GrvqConfig,
    HeadConfig,
    McrvqConfig,
    MdctConfig,
    MdctFrontendConfig,
    MdctHeadConfig,
    QuantizerConfig,
    RvqConfig,
    SubframeConfig,
    TrunkConfig,
)
from grove.codec.errors import BundleError
from grove.codec.pretrained.constants import Constants, scatter_columns


def architecture_of(spec: CodecSpec, encoder: Constants, decoder: Constants) -> CodecConfig:
    """Return the config of the codec whose graphs these are."""
    if "encoder.frontend.mdct.rise" not in encoder.named:
        raise _unknown("front end", "an MDCT")
    latent = encoder.size("encoder.leave.bias")
    return CodecConfig(
        sample_rate_hz=spec.sample_rate_hz,
        hop_samples=spec.hop_samples,
        latent=latent,
        shape=latent - len(encoder.nameless[0]),
        frontend=_frontend(spec, encoder),
        encoder=_trunk("encoder.trunk", encoder),
        quantizer=_quantizer(spec, latent, decoder),
        decoder=_trunk("decoder.trunk", decoder),
        head=_head(spec, decoder),
    )


def _frontend(spec: CodecSpec, encoder: Constants) -> MdctFrontendConfig:
    subframes = 0
    if "encoder.frontend.short.matrix" in encoder.named:
        subframes = spec.hop_samples // encoder.size("encoder.frontend.short.matrix")
    overlap = encoder.size("encoder.frontend.mdct.rise")
    return MdctFrontendConfig(overlap_samples=overlap, subframes=subframes)


def _trunk(prefix: str, constants: Constants) -> TrunkConfig:
    width = constants.size(f"{prefix}.norm.weight")
    blocks = sum(
        name.startswith(f"{prefix}.blocks.") and name.endswith(".scale") for name in constants.named
    )
    if not blocks:
        return TrunkConfig(width=width, blocks=0)
    return TrunkConfig(
        width=width,
        blocks=blocks,
        taps=constants.size(f"{prefix}.blocks.0.depthwise.weight"),
        expansion=constants.size(f"{prefix}.blocks.0.expand.bias") // width,
    )


def _quantizer(spec: CodecSpec, latent: int, decoder: Constants) -> QuantizerConfig:
    size, first = spec.code_sizes[0], spec.codes_per_level[0]
    widths = [_book_width(decoder, level) for level in range(spec.levels)]
    adaptive = any(name.startswith("quantizer.steps.1.gain.") for name in decoder.named)
    if first > 1 and widths[0] == latent:
        return McrvqConfig(book_size=size, masked_books=first, books=len(spec.code_sizes))
    if first == 1 and not adaptive:
        return RvqConfig(book_size=size, levels=spec.levels)
    shaped = sum(width == widths[0] for width in widths)
    return GrvqConfig(
        book_size=size,
        groups=first,
        levels=spec.levels,
        adaptive=adaptive,
        shape_levels=None if shaped == spec.levels else shaped,
    )


def _book_width(decoder: Constants, level: int) -> int:
    values = decoder.named.get(f"quantizer.steps.{level}.books.0.values")
    if values is None:
        raise _unknown("quantizer", "one with books")
    return int(values.shape[1])


def _head(spec: CodecSpec, decoder: Constants) -> HeadConfig:
    hop, rate_hz = spec.hop_samples, spec.sample_rate_hz
    if "decoder.head.loudness.bias" in decoder.named:
        subframes = decoder.size("decoder.head.loudness.bias")
        return SubframeConfig(
            low=MdctConfig(overlap_samples=spec.delay_samples - hop // subframes),
            low_hz=round(decoder.size("decoder.head.low.gain.bias") * rate_hz / (2 * hop)),
            subframes=subframes,
            net=_trunk("decoder.head.net", decoder),
        )
    if "decoder.head.residual.bias" in decoder.named:
        drawn = scatter_columns(decoder.graph)
        return MdctHeadConfig(
            overlap_samples=spec.delay_samples,
            scatter_from_hz=round((hop - drawn) * rate_hz / (2 * hop)) if drawn else None,
        )
    raise _unknown("head", "one of MDCTs")


def _unknown(part: str, known: str) -> BundleError:
    return BundleError(
        f"the {part} of the bundle is not {known}",
        hint="give the recipe's codec as `architecture`, or use AutoCodec, which runs any bundle",
    )
