"""Train a tiny transformer on Grove tokens, sample from it, and decode what it says.

    grove tokenize CORPUS --out tokens --levels 2
    python examples/speech_lm.py tokens --out said.wav

Frames become rows of one token per book in the delay pattern; one table of embeddings and one head
per book. Some minutes on a CPU give babble with the sound of the corpus, not words.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from grove import AutoCodec, VocabSpec
from grove.codec.sound.writer import WavOutput, open_writer
from grove.codec.tokens.layouts import DelayLayout, arrange, restore
from grove.codec.tokens.reading import TokenFolder

LAYOUT = DelayLayout()


class SpeechLM(nn.Module):
    """Predicts row t + 1, a token per book, from the rows up to t."""

    def __init__(self, vocab: VocabSpec, width: int, layers: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.embeddings = nn.ModuleList(nn.Embedding(vocab.size, width) for _ in range(vocab.books))
        self.position = nn.Embedding(context, width)
        layer = nn.TransformerEncoderLayer(
            width, max(1, width // 32), 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.trunk = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(nn.Linear(width, vocab.size) for _ in range(vocab.books))
        for table in (*self.embeddings, self.position):
            nn.init.normal_(table.weight, std=0.02)  # the default of 1 takes long to unlearn

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits [B, T, K, V] for rows [B, T, K]."""
        steps = torch.arange(rows.shape[1])
        hidden = self.position(steps) + sum(
            table(rows[..., book]) for book, table in enumerate(self.embeddings)
        )
        mask = nn.Transformer.generate_square_subsequent_mask(rows.shape[1])
        hidden = self.norm(self.trunk(hidden, mask=mask, is_causal=True))
        return torch.stack([head(hidden) for head in self.heads], dim=2)


def load_rows(folder: TokenFolder, vocab: VocabSpec) -> list[Tensor]:
    """Return each source in the delay pattern [T + K - 1, K], with a row of starts before it."""
    start = np.full((1, vocab.books), vocab.special_id("audio_start"), np.int64)
    sources = []
    for row in folder.rows():
        if row.meta.error is None and row.meta.n_frames:
            ids = arrange(LAYOUT, vocab, row.codes[:, : vocab.books])
            sources.append(torch.from_numpy(np.concatenate((start, ids))))
    if not sources:
        raise SystemExit(f"{folder.path} holds no tokens to train on")
    return sources


def batches(sources: list[Tensor], pad_id: int, context: int, batch: int) -> Iterator[Tensor]:
    """Yield rows [batch, context + 1, K] from random places, without end."""
    lengths = torch.tensor([float(len(source)) for source in sources])
    while True:
        chosen = torch.multinomial(lengths, batch, replacement=True)
        rows = torch.full((batch, context + 1, sources[0].shape[1]), pad_id)
        for index, source in enumerate(chosen.tolist()):
            whole = sources[source]
            at = int(torch.randint(max(1, len(whole) - context), ()))
            part = whole[at : at + context + 1]
            rows[index, : len(part)] = part
        yield rows


def train(
    model: SpeechLM, data: Iterator[Tensor], pad_id: int, steps: int, minutes: float
) -> list[float]:
    """Return the loss of each step, in bits per token."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0, betas=(0.9, 0.95), weight_decay=0.1)
    began_s, losses = time.monotonic(), []
    for step in range(steps):
        done = max(step / steps, (time.monotonic() - began_s) / (60 * minutes))
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(done)
        rows = next(data)
        logits = model(rows[:, :-1])
        loss = functional.cross_entropy(
            logits.flatten(0, 2), rows[:, 1:].flatten(), ignore_index=pad_id
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item() / float(np.log(2)))
        if step % 20 == 0 or step == steps - 1:
            sys.stdout.write(f"step {step}: {losses[-1]:.3f} bits per token\n")
            sys.stdout.flush()
    return losses


def learning_rate(done: float) -> float:
    """Return the rate for a share of the training: up over a twentieth, then down by a cosine."""
    return 3e-3 * min(1, (done + 0.005) / 0.05) * (0.55 + 0.45 * math.cos(math.pi * done))


@torch.no_grad()
def sample(
    model: SpeechLM, vocab: VocabSpec, count: int, frames: int, *, temperature: float, top_k: int
) -> np.ndarray:
    """Return codes [count, frames, K]; rows may hold only what the delay pattern has there."""
    rows = torch.full((count, 1, vocab.books), vocab.special_id("audio_start"))
    for step in range(frames + vocab.books - 1):
        logits = model(rows[:, -model.context :])[:, -1] / temperature
        row = torch.full((count, vocab.books), vocab.pad_id)
        for book, size in enumerate(vocab.code_sizes):
            if book <= step < frames + book:
                best = logits[:, book, :size].topk(min(top_k, size))
                chosen = torch.multinomial(functional.softmax(best.values, dim=-1), 1)
                row[:, book] = best.indices.gather(1, chosen)[:, 0]
        rows = torch.cat((rows, row[:, None]), dim=1)
    return np.stack([restore(LAYOUT, vocab, ids.numpy()) for ids in rows[:, 1:]])


def main(arguments: list[str] | None = None) -> None:
    """Train, sample, decode."""
    parser = argparse.ArgumentParser(description="A tiny language model on Grove tokens.")
    parser.add_argument("tokens", type=Path, help="a folder that grove tokenize wrote")
    parser.add_argument("--out", type=Path, default=Path("said.wav"))
    parser.add_argument("--model", default=None, help="the bundle that made the tokens")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--context", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--samples", type=int, default=4, help="one behind the other in the WAV")
    parser.add_argument("--temperature", type=float, default=0.9)
    parser.add_argument("--top-k", type=int, default=100, help="choose among so many codes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    torch.manual_seed(options.seed)
    folder = TokenFolder(options.tokens)
    card = folder.run.card
    codec = AutoCodec.from_pretrained(options.model)
    if card.codec.model_sha256 not in codec.codec.bundle.accepted_models:
        raise SystemExit(f"{options.tokens} was made by another model, name it with --model")
    vocab = VocabSpec.of(card.codec, card.levels, shared_ids=True)
    sources = load_rows(folder, vocab)
    sys.stdout.write(f"{len(sources)} sources, {sum(map(len, sources))} rows\n")
    model = SpeechLM(vocab, options.width, options.layers, options.context)
    data = batches(sources, vocab.pad_id, options.context, options.batch)
    losses = train(model, data, vocab.pad_id, options.steps, options.minutes)
    frames = round(options.seconds * card.codec.frame_rate_hz)
    codes = sample(
        model.eval(),
        vocab,
        options.samples,
        frames,
        temperature=options.temperature,
        top_k=options.top_k,
    )
    audio = codec.decode(codes.transpose(0, 2, 1).astype(np.int64)).audio_values
    with open_writer(options.out, WavOutput(), card.codec.sample_rate_hz, overwrite=True) as writer:
        writer.write(np.asarray(audio).reshape(-1, 1))
    sys.stdout.write(
        f"{options.out}: {audio.size / card.codec.sample_rate_hz:.2f} s "
        f"after {len(losses)} steps, {losses[0]:.2f} to {mean(losses[-20:]):.2f} bits per token\n"
    )


if __name__ == "__main__":
    main()
