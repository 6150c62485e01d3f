"""Exported models: a folder whose manifest names every file and its hash. Nothing in it is code."""

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from grove.codec.config import CodecSpec, Frozen
from grove.codec.errors import BundleError

MANIFEST = "manifest.json"
ENCODER = "encoder.onnx"
DECODER = "decoder.onnx"
GOLDEN = "golden.npz"
CARD = "README.md"
DEFAULT_NAME = "grove-24k"

_MANIFEST_LIMIT_BYTES = 1 << 20
_FILE_LIMIT_BYTES = 1 << 30
_EXPORTS = Path(__file__).resolve().parent.parent / "exports"

Sha256 = Field(pattern="^[0-9a-f]{64}$")


class FileRecord(Frozen):
    """What a file of the bundle must be."""

    sha256: str = Sha256
    size_bytes: int = Field(ge=0, le=_FILE_LIMIT_BYTES)


class Cost(Frozen):
    """What the model takes, counted from its graphs."""

    encoder_parameters: int
    decoder_parameters: int
    encoder_macs_per_second: int
    decoder_macs_per_second: int


class Manifest(Frozen):
    """`manifest.json`."""

    schema_version: Literal[1]
    spec: CodecSpec
    licence: str
    description: str
    encoder_state: int = Field(ge=0, le=1 << 24)
    decoder_state: int = Field(ge=0, le=1 << 24)
    cost: Cost
    compatible: tuple[str, ...] = Field((), max_length=64)
    """Hashes of the other models whose tokens this one decodes."""
    training: dict[str, str | int | float]
    files: dict[str, FileRecord]


class Bundle:
    """A verified bundle. The graphs are read once, so what was hashed is what runs."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    def __reduce__(self) -> "tuple[Callable[[Path, str], Bundle], tuple[Path, str]]":
        """Travel as a folder, and be read and verified again where it arrives."""
        return _arrived, (self.path.absolute(), self.spec.model_sha256)

    @property
    def spec(self) -> CodecSpec:
        return self.manifest.spec

    @property
    def accepted_models(self) -> frozenset[str]:
        """Hashes of the models whose tokens this bundle decodes."""
        return frozenset({self.spec.model_sha256, *self.manifest.compatible})

    @cached_property
    def encoder(self) -> bytes:
        return self.read(ENCODER)

    @cached_property
    def decoder(self) -> bytes:
        return self.read(DECODER)

    def read(self, name: str) -> bytes:
        """Return a file of the bundle, after checking it against the manifest."""
        record = self.manifest.files.get(name)
        if record is None:
            raise BundleError(f"bundle {self.path} lists no file {name}")
        try:
            size = (self.path / name).stat().st_size
            if size != record.size_bytes:
                raise BundleError(
                    f"{self.path / name} has {size} bytes, its manifest says {record.size_bytes}",
                    hint="the bundle is damaged; fetch or export it again",
                )
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise BundleError(f"cannot read {self.path / name}: {error.strerror}") from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != record.sha256:
            raise BundleError(
                f"{self.path / name} has sha256 {digest[:12]}…, "
                f"its manifest says {record.sha256[:12]}…",
                hint="the bundle is damaged; fetch or export it again",
            )
        return content

    def verify(self) -> None:
        """Read every file once, and check that the graphs are the model that the spec names."""
        for name in self.manifest.files:
            if name not in (ENCODER, DECODER):
                self.read(name)
        digest = model_sha256(self.encoder, self.decoder)
        if digest != self.spec.model_sha256:
            raise BundleError(
                f"the graphs of {self.path} make model {digest[:12]}…, "
                f"its manifest names {self.spec.model_sha256[:12]}…"
            )


def model_sha256(encoder: bytes, decoder: bytes) -> str:
    """Return the identity of a model: one hash over the hashes of its two graphs."""
    parts = hashlib.sha256(encoder).digest() + hashlib.sha256(decoder).digest()
    return hashlib.sha256(parts).hexdigest()


RETIRED = {
    "4461775bbfdf08788767c8edb07ae93f6a7e7790c8850600db1d9ddc7d8d7154": "Grove 0.1.0",
    "27cde6fb9e7cc0040a243913674916150b4f3adfab9d4660cfdb3611a004c910": "Grove at commit d0f0cf4",
}
"""Models that were shipped once and are no longer, by hash: the release that has them."""


def load_bundle(path_or_name: str | Path | None = None) -> Bundle:
    """Load and verify a bundle by folder, by name (newest version) or by `name-version`."""
    path = find_bundle(path_or_name)
    bundle = Bundle(path, _read_manifest(path / MANIFEST))
    for name in (ENCODER, DECODER):
        if name not in bundle.manifest.files:
            raise BundleError(f"bundle {path} lists no file {name}")
    bundle.verify()
    return bundle


def _arrived(path: Path, model_sha256: str) -> Bundle:
    """Load a bundle that was sent here by its folder; it must still be the same model."""
    bundle = load_bundle(path)
    if bundle.spec.model_sha256 != model_sha256:
        raise BundleError(
            f"{path} holds model {bundle.spec.model_sha256[:12]}…, it was sent as "
            f"{model_sha256[:12]}…",
            hint="the folder was changed, or is another one on this machine",
        )
    return bundle


def find_bundle(path_or_name: str | Path | None = None) -> Path:
    """Return the folder that a user means."""
    wanted = Path(path_or_name or DEFAULT_NAME)
    if wanted.is_dir():
        return wanted
    if len(wanted.parts) == 1:
        versions = [p for p in _EXPORTS.glob(f"{wanted}*") if (p / MANIFEST).is_file()]
        exact = [p for p in versions if p.name == str(wanted)]
        named = [p for p in versions if p.name.rpartition("-")[0] == str(wanted)]
        if exact or named:
            return max(exact or named, key=_version_of)
    known = sorted(p.parent.name for p in _EXPORTS.glob(f"*/{MANIFEST}"))
    raise BundleError(
        f"no bundle {wanted}: neither a folder nor the name of a shipped model",
        hint=f"shipped models: {', '.join(known) or 'none'}",
    )


def shipped_bundles() -> list[Path]:
    """Return the folders of all bundles that came with this installation."""
    return sorted(p.parent for p in _EXPORTS.glob(f"*/{MANIFEST}"))


def shipped_maker(model_sha256: str) -> Path | None:
    """Return the shipped bundle that decodes tokens of the model with this hash."""
    for path in shipped_bundles():
        if model_sha256 in Bundle(path, _read_manifest(path / MANIFEST)).accepted_models:
            return path
    return None


def maker_hint(model_sha256: str, otherwise: str) -> str:
    """Return where the model is that made a user's tokens, or `otherwise` if nobody here knows."""
    if model_sha256 not in RETIRED:
        return otherwise
    return f"that model came with {RETIRED[model_sha256]}: take the bundle from there"


def _version_of(path: Path) -> tuple[int, ...]:
    digits = path.name.rpartition("-")[2].lstrip("v").split(".")
    return tuple(int(part) for part in digits if part.isdigit())


def _read_manifest(path: Path) -> Manifest:
    try:
        if path.stat().st_size > _MANIFEST_LIMIT_BYTES:
            raise BundleError(f"{path} is larger than {_MANIFEST_LIMIT_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"cannot read {path}: {error}", hint="a bundle is a folder with a manifest.json"
        ) from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(f"{path} is no manifest: {where}: {first['msg']}") from error
    for name in manifest.files:
        if Path(name).name != name or name in ("", ".", ".."):
            raise BundleError(f"{path} lists {name!r}, expected plain file names")
    return manifest
