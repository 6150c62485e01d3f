"""The bundles that this process serves, found by name, name@version or hash."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from grove.codec.bundle import Bundle, load_bundle
from grove.codec.config import CodecSpec
from grove.codec.errors import BundleError
from grove.codec.runtime import Codec
from grove.codec.stream import FrameCodec


@dataclass(frozen=True, eq=False)
class Model:
    """A codec that is loaded, and whose tokens it decodes."""

    codec: FrameCodec
    accepted_models: frozenset[str]
    bundle: Bundle | None = None

    @property
    def spec(self) -> CodecSpec:
        return self.codec.spec

    @property
    def label(self) -> str:
        """What `Codec-Model` says."""
        return f"{self.spec.name}@{self.spec.model_sha256}"


def hop_seconds(model: Model) -> float:
    return 1 / model.spec.frame_rate_hz


LoadModel = Callable[[str, int], Model]


def load_model(name: str, threads: int) -> Model:
    bundle = load_bundle(name)
    return Model(Codec(bundle, threads), bundle.accepted_models, bundle)


class Shelf:
    """All models; the first is the default."""

    def __init__(self, models: Iterable[Model]) -> None:
        self.models = tuple(models)
        hashes = [model.spec.model_sha256 for model in self.models]
        if len(set(hashes)) != len(hashes):
            raise BundleError("a bundle is named twice, expected different models")

    @property
    def default(self) -> Model:
        return self.models[0]

    def find(self, wanted: str | None) -> Model | None:
        """Return the model that a client names, None where there is none (or not just one)."""
        if not wanted:
            return self.default
        named = [model for model in self.models if wanted in _names(model.spec)]
        if named:
            return named[0]
        if len(wanted) < 8:
            return None
        hashed = [model for model in self.models if model.spec.model_sha256.startswith(wanted)]
        return hashed[0] if len(hashed) == 1 else None

    def find_for_tokens(self, model_sha256: str) -> Model | None:
        """Return a model that decodes tokens made by `model_sha256`."""
        own = self.find(model_sha256)
        if own is not None:
            return own
        return next((model for model in self.models if model_sha256 in model.accepted_models), None)


def _names(spec: CodecSpec) -> tuple[str, ...]:
    return (spec.name, f"{spec.name}@{spec.version}", f"{spec.name}@{spec.model_sha256}")
