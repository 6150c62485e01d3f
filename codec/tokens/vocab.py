"""Codes as ids of a language model's vocabulary: offsets, special tokens and their spelling."""

import json
import re
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from grove.codec.config import CodecSpec, Frozen
from grove.codec.errors import CodecError

SPECIALS = ("audio_pad", "audio_start", "audio_end")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CODE_NAME = re.compile(r"audio_[0-9]+_[0-9]+")


class VocabError(CodecError):
    """An id or a code that the vocabulary does not hold."""


class VocabSpec(Frozen):
    """Where codes lie among a model's ids: first the special tokens, then book after book.

    With `shared_ids` every book has the ids of its codes themselves, for models with one embedding
    table per book, and the special tokens come behind the largest book.
    """

    code_sizes: tuple[int, ...] = Field(min_length=1, max_length=64)
    first_id: int = Field(0, ge=0)
    """Ids below belong to the text tokenizer that this one extends."""
    specials: tuple[str, ...] = SPECIALS
    """Names; the first one is the padding."""
    shared_ids: bool = False

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        if not self.specials or len(set(self.specials)) != len(self.specials):
            raise ValueError(f"specials must be distinct and at least one, got {self.specials}")
        for name in self.specials:
            if not _NAME.fullmatch(name) or _CODE_NAME.fullmatch(name):
                raise ValueError(f"special {name!r} must match {_NAME.pattern}, and be no code")
        if self.shared_ids and self.first_id:
            raise ValueError(f"shared ids start at 0, got first_id {self.first_id}")
        return self

    @classmethod
    def of(
        cls,
        spec: CodecSpec,
        levels: int | None = None,
        *,
        first_id: int = 0,
        shared_ids: bool = False,
    ) -> Self:
        """Return the vocabulary of a codec's first levels."""
        books = spec.codes_at(spec.levels if levels is None else levels)
        return cls(code_sizes=spec.code_sizes[:books], first_id=first_id, shared_ids=shared_ids)

    @property
    def books(self) -> int:
        return len(self.code_sizes)

    @property
    def pad_id(self) -> int:
        return self.special_id(self.specials[0])

    @property
    def size(self) -> int:
        """How many ids there are, those below `first_id` included."""
        codes = max(self.code_sizes) if self.shared_ids else sum(self.code_sizes)
        return self.first_id + len(self.specials) + codes

    def special_id(self, name: str) -> int:
        """Return the id of a special token."""
        if name not in self.specials:
            raise VocabError(f"no special token {name!r}, expected one of {self.specials}")
        start = max(self.code_sizes) if self.shared_ids else self.first_id
        return start + self.specials.index(name)

    def offset(self, book: int) -> int:
        """Return the id of code 0 of a book."""
        return self._offsets[book]

    def ids_of(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return ids [T, K] for codes [T, K]."""
        wide = np.asarray(codes, np.int64)
        if wide.shape[1:] != (self.books,):
            raise VocabError(f"codes have the shape {wide.shape}, expected [T, {self.books}]")
        self._refuse_foreign(wide, wide)
        ids: NDArray[np.int64] = wide + np.array(self._offsets)
        return ids

    def codes_of(self, ids: NDArray[np.integer]) -> NDArray[np.uint16]:
        """Return codes [T, K] for ids [T, K]."""
        wide = np.asarray(ids, np.int64)
        codes = wide - np.array(self._offsets)
        self._refuse_foreign(codes, wide)
        narrow: NDArray[np.uint16] = codes.astype(np.uint16)
        return narrow

    def token(self, token_id: int) -> str:
        """Return how an id is spelled: `<|audio_start|>`, `<|audio_3_17|>` for code 17 of book 3.

        Shared ids are spelled `<|audio_17|>`: which book it is follows from where it stands.
        """
        start = self.special_id(self.specials[0])
        if start <= token_id < start + len(self.specials):
            return f"<|{self.specials[token_id - start]}|>"
        if self.shared_ids and 0 <= token_id < max(self.code_sizes):
            return f"<|audio_{token_id}|>"
        for book, offset in enumerate(self._offsets):
            if not self.shared_ids and offset <= token_id < offset + self.code_sizes[book]:
                return f"<|audio_{book}_{token_id - offset}|>"
        raise VocabError(f"id {token_id} is none of ours, expected {self.first_id} to {self.size}")

    def tokens(self) -> Iterator[tuple[int, str]]:
        """Yield every id of ours and its spelling, in order."""
        yield from (
            (token_id, self.token(token_id)) for token_id in range(self.first_id, self.size)
        )

    def check_tokenizer(self, token_to_id: Callable[[str], int | None]) -> None:
        """Refuse a tokenizer that gives a token of ours another id than it has here.

        `token_to_id` is that of `tokenizers`, or `convert_tokens_to_ids` of transformers. Added
        tokens get the next free ids: where `first_id` is not the tokenizer's size, all are shifted.
        """
        for token_id, token in self.tokens():
            found = token_to_id(token)
            if found != token_id:
                raise VocabError(
                    f"the tokenizer has {found} for {token}, expected {token_id}",
                    hint=f"first_id is {self.first_id}; give the tokenizer's size before it grew",
                )

    def added_tokens_json(self) -> str:
        """Return the `added_tokens` of a Hugging Face tokenizer.json, as a JSON list."""
        first_special = self.special_id(self.specials[0])
        return json.dumps(
            [
                {
                    "id": token_id,
                    "content": token,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": first_special <= token_id < first_special + len(self.specials),
                }
                for token_id, token in self.tokens()
            ]
        )

    @property
    def _offsets(self) -> tuple[int, ...]:
        if self.shared_ids:
            return (0,) * self.books
        start = self.first_id + len(self.specials)
        return tuple(accumulate(self.code_sizes[:-1], initial=start))

    def _refuse_foreign(self, codes: NDArray[np.int64], shown: NDArray[np.int64]) -> None:
        bad = (codes < 0) | (codes >= np.array(self.code_sizes))
        if bad.any():
            frame, book = (int(place) for place in np.argwhere(bad)[0])
            offset = int((shown - codes)[frame, book])
            raise VocabError(
                f"frame {frame} has {shown[frame, book]} in book {book}, "
                f"expected {offset} to {offset + self.code_sizes[book] - 1}"
            )
