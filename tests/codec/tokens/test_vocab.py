"""The ids of a vocabulary, and how a Hugging Face tokenizer spells them."""

import json

import pytest
from pydantic import ValidationError
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel

from grove.codec.runtime import Codec
from grove.codec.tokens.vocab import VocabError, VocabSpec


def test_offsets_follow_the_specials_book_by_book() -> None:
    vocab = VocabSpec(code_sizes=(4, 8, 2), first_id=50)
    assert [vocab.special_id(name) for name in vocab.specials] == [50, 51, 52]
    assert [vocab.offset(book) for book in range(3)] == [53, 57, 65]
    assert vocab.size == 67


def test_shared_ids_are_the_codes_and_specials_come_behind() -> None:
    vocab = VocabSpec(code_sizes=(4, 8, 2), shared_ids=True)
    assert [vocab.offset(book) for book in range(3)] == [0, 0, 0]
    assert (vocab.pad_id, vocab.size) == (8, 11)


def test_a_codec_gives_the_books_of_its_levels(codec: Codec) -> None:
    vocab = VocabSpec.of(codec.spec, levels=2)
    assert vocab.code_sizes == codec.spec.code_sizes[: codec.spec.codes_at(2)]


def test_ids_are_spelled_as_audio_tokens() -> None:
    vocab = VocabSpec(code_sizes=(4, 8), first_id=50)
    assert vocab.token(vocab.special_id("audio_start")) == "<|audio_start|>"
    assert vocab.token(vocab.offset(1) + 7) == "<|audio_1_7|>"
    with pytest.raises(VocabError, match="id 49 is none of ours, expected 50 to 65"):
        vocab.token(49)


def test_a_hugging_face_tokenizer_takes_the_added_tokens_at_their_ids() -> None:
    vocab = VocabSpec(code_sizes=(4, 8), first_id=3)
    tokenizer = Tokenizer(WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    added = json.loads(vocab.added_tokens_json())
    tokenizer.add_tokens(
        [
            AddedToken(
                entry["content"],
                single_word=entry["single_word"],
                lstrip=entry["lstrip"],
                rstrip=entry["rstrip"],
                normalized=entry["normalized"],
                special=entry["special"],
            )
            for entry in added
        ]
    )
    assert [tokenizer.token_to_id(token) for _, token in vocab.tokens()] == list(range(3, 18))
    text = "<|audio_start|><|audio_0_3|><|audio_1_7|><|audio_end|>"
    assert tokenizer.encode(text).ids == [4, 9, 17, 5]
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = added
    assert Tokenizer.from_str(json.dumps(document)).encode(text).ids == [4, 9, 17, 5]


@pytest.mark.parametrize("specials", [(), ("pad", "pad"), ("Pad",), ("audio_1_2",)])
def test_specials_that_could_be_mistaken_are_refused(specials: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="special"):
        VocabSpec(code_sizes=(4,), specials=specials)


def test_a_tokenizer_of_another_size_is_refused() -> None:
    vocab = VocabSpec(code_sizes=(4, 8), first_id=2)  # it has 3
    tokenizer = Tokenizer(WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    tokenizer.add_tokens([token for _, token in vocab.tokens()])
    with pytest.raises(VocabError, match=r"has 3 for <\|audio_pad\|>, expected 2"):
        vocab.check_tokenizer(tokenizer.token_to_id)
    VocabSpec(code_sizes=(4, 8), first_id=3).check_tokenizer(tokenizer.token_to_id)
