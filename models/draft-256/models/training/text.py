"""Tokenizers learned from the captions, and the two small text encoders, trained to say what a caption states about a
scene.

A denoiser learns colours from captions within minutes but needs hours to find out what "left of" means. So
each text encoder is first trained by itself, on text alone: a small reader asks its token outputs "what lies
at this spot at this moment?" and must name colour and shape. Afterwards places, counts and relations lie
open in the outputs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from models.training import loop
from models.training.captions import Captioner, Sample
from models.training.muon import Muon, split
from models.training.scenes import COLOUR_NAMES, SHAPES, layout

WIDTH = 128
CLIP_LENGTH = 32  # tokens per caption, padding included
T5_LENGTH = 300  # to which the video pipelines pad; they mask the padding, for encoder and denoiser alike
T5_USED = 32  # no caption in training is longer
# Of a T5 encoder and the reader: what Muon, if it is used, leaves to AdamW.
OUTER = ("0.shared", "0.encoder.embed_tokens", "1.ask.0", "1.tell")


def clip_tokenizer(captions: list[str], merges: int = 400) -> CLIPTokenizer:
    """A CLIP tokenizer whose byte-pair merges were learned from the captions; any other text is split into
    bytes.
    """
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    size = len(letters) * 2 + merges
    learner.train_from_iterator(
        captions, trainers.BpeTrainer(vocab_size=size, end_of_word_suffix="</w>", show_progress=False)
    )
    learned = json.loads(learner.to_str())["model"]["merges"][:merges]
    pairs = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in learned]
    pieces = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in pairs]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocab, merges=pairs, model_max_length=CLIP_LENGTH)


def t5_tokenizer(captions: list[str], words: int = 400) -> T5Tokenizer:
    """A T5 tokenizer with the captions' words as pieces, and single letters for all other text."""
    counts = Counter(word for caption in captions for word in caption.split())
    total = sum(counts.values())
    common = [(word, count) for word, count in counts.most_common(words) if count > 3]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    pieces += [("\u2581" + word, float(np.log(count / total))) for word, count in common]
    known = {piece for piece, _ in pieces}
    letters = ["\u2581", *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'\"-:;()"]
    pieces += [(letter, -12.0) for letter in letters if letter not in known]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=T5_LENGTH)


def clip_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The image model's text encoder before training."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=WIDTH * 3,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=CLIP_LENGTH,
            projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            dtype="float32",
        )
    )


def t5_encoder(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """The video model's text encoder before training."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=WIDTH,
            d_kv=WIDTH // 4,
            d_ff=WIDTH * 3,
            num_layers=3,
            num_heads=4,
            relative_attention_num_buckets=16,
            relative_attention_max_distance=32,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            dtype="float32",
        )
    )


class Reader(nn.Module):
    """Predicts from token outputs what is at each spot (moment, y, x) of a scene; used in this training only."""

    def __init__(self, moments: int, cells: int) -> None:
        super().__init__()
        axes = torch.meshgrid(
            torch.linspace(-1, 1, moments) if moments > 1 else torch.zeros(1),
            torch.linspace(-1, 1, cells),
            torch.linspace(-1, 1, cells),
            indexing="ij",
        )
        spots = torch.stack([axis.flatten() for axis in axes], dim=1)
        waves = torch.cat([spots * scale for scale in (1.0, 2.0, 4.0)], dim=1)
        self.register_buffer("spots", torch.cat([spots, waves.sin(), waves.cos()], dim=1))
        self.ask = nn.Sequential(nn.Linear(self.spots.shape[1], WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.look = nn.ModuleList(nn.MultiheadAttention(WIDTH, 4, batch_first=True) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(4))
        self.think = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH * 2), nn.GELU(), nn.Linear(WIDTH * 2, WIDTH)) for _ in range(2)
        )
        self.tell = nn.Linear(WIDTH, len(COLOUR_NAMES) + len(SHAPES) + 1)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Colour and shape scores, (n, spots, colours) and (n, spots, shapes + 1), from tokens (n, length,
        WIDTH).
        """
        states = self.ask(self.spots).expand(len(tokens), -1, -1)
        hidden = None if mask is None else mask == 0
        for index, (look, think) in enumerate(zip(self.look, self.think, strict=True)):
            asked = self.norms[2 * index](states)
            states = states + look(asked, tokens, tokens, key_padding_mask=hidden, need_weights=False)[0]
            states = states + think(self.norms[2 * index + 1](states))
        return self.tell(states).split([len(COLOUR_NAMES), len(SHAPES) + 1], dim=-1)


def teach(
    encoder: nn.Module,
    tokenizer: Callable,
    draw_sample: Callable[[], Sample],
    target: Path,
    *,
    moments: tuple[float, ...],
    cells: int,
    steps: int,
    batch: int,
    peak: float = 2e-3,
    muon: bool = False,
) -> None:
    """Trains a text encoder on captions, then writes it and its tokenizer below `target`."""
    masked = isinstance(encoder, T5EncoderModel)  # whether its pipeline hides the padding
    reader = Reader(len(moments), cells)
    both = nn.ModuleList([encoder, reader])
    if muon:
        optimizer: torch.optim.Optimizer = Muon(split(both, peak, outer=OUTER), peak)
    else:
        optimizer = torch.optim.AdamW(both.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    counter = loop.Steps(optimizer, steps, every=200)
    for _ in counter:
        samples = [draw_sample() for _ in range(batch)]
        ids, mask = tokenize(tokenizer, [sample.caption for sample in samples], T5_USED if masked else None)
        truth = torch.from_numpy(np.stack([layout(sample.scene, cells, moments) for sample in samples])).flatten(2)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = encoder(ids, attention_mask=mask if masked else None).last_hidden_state
            colours, shapes = reader(tokens, mask if masked else None)
        colours, shapes = colours.float(), shapes.float()
        colour_loss = F.cross_entropy(colours.flatten(0, 1), truth[:, 0].flatten())
        shape_loss = F.cross_entropy(shapes.flatten(0, 1), truth[:, 1].flatten())
        loop.descend(colour_loss + shape_loss, both, optimizer)
        counter.note(colour=colour_loss, shape=shape_loss)
    encoder.save_pretrained(target / "text_encoder")
    tokenizer.save_pretrained(target / "tokenizer")


def tokenize(tokenizer: Callable, captions: list[str], length: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, both int64 (n, length), padded to `length` or as the tokenizer's pipeline pads them."""
    got = tokenizer(captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return got.input_ids, got.attention_mask


def teach_image(target: Path, *, steps: int, seed: int = 2) -> None:
    """The image model's tokenizer and text encoder."""
    loop.start(seed)
    captioner = Captioner(seed)
    tokenizer = clip_tokenizer([captioner.image().caption for _ in range(20000)])
    encoder = clip_encoder(tokenizer)
    teach(encoder, tokenizer, captioner.image, target, moments=(0.0,), cells=8, steps=steps, batch=64)


def teach_video(target: Path, *, steps: int, seed: int = 3) -> None:
    """The video model's tokenizer and text encoder."""
    loop.start(seed)
    captioner = Captioner(seed)
    tokenizer = t5_tokenizer([captioner.clip().caption for _ in range(20000)])
    encoder = t5_encoder(tokenizer)
    teach(
        encoder,
        tokenizer,
        captioner.clip,
        target,
        moments=(0.0, 0.5, 1.0),
        cells=6,
        steps=steps,
        batch=64,
        peak=3e-3,
        muon=True,
    )
