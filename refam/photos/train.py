"""`refam train-photos`: train the model for photographs from pictures and their labels or captions alone."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from refam.photos import TEXT_LENGTH, VOCABULARY_NAME
from refam.photos.attention_loss import AskedNouns, RecordAttention, WordLoss
from refam.photos.colours import ABSENT_SHARE, COLOURS, PRESENT_SHARE, colour_shares
from refam.photos.efficientnet import load_published
from refam.photos.encoder import PACKED, PhotoEncoder
from refam.photos.features import TRAINING_SIDE, PhotoFeatures, extract_features, read_square
from refam.photos.labels import Labels, Photo, find_labels, read_photos
from refam.photos.latents import NounData, Projection, fit_projection, project, rarity_of
from refam.photos.pipeline import PhotoFluxPipeline
from refam.photos.positions import scaled_image_ids
from refam.photos.texts import TextSampler, TrainingText
from refam.photos.vocabulary import Vocabulary, load_vocabulary, save_vocabulary
from refam.photos.words import model_words, restrict
from refam.tiny.diffusion import TextToLatents
from refam.tiny.model import assemble, build_text_encoder, build_tokenizer, build_transformer, save
from video.errors import UserError

GRID = 10
"""Side of the grid of image tokens in training."""
_LEAST_PICTURES = 4  # a noun needs so many to be in the vocabulary
_BATCH = 32
_SMALL_SIDE = 100  # pixels; sets of smaller pictures are read at half of `TRAINING_SIDE`
_NOISE_MEAN, _NOISE_DEVIATION = -0.4, 1.2  # of the logit of the noise level
_WORD_LOSS_WEIGHT = 3.0
_MAP_LOSS_WEIGHT = 10.0
_COLOUR_SHARE = 0.2  # of the lists have colours among their words


@dataclass(frozen=True)
class PhotoTraining:
    """How to train.

    Attributes:
        minutes: Time of the transformer's training, over all calls that go on from checkpoints.
        steps: At most so many steps of the transformer, over all calls; None sets no limit beside the time.
        projection_steps: Steps of training of the projection to latents.
        checkpoint_minutes: Minutes between checkpoints.
        latent_channels: Channels of a latent; a token has four times as many numbers.
        variant: One of `refam.photos.efficientnet.VARIANTS`.
        heads: Attention heads of 32.
        rate: The highest learning rate.
        seed: Seed of weights and samples.

    Raises:
        UserError: If a number is out of range.
    """

    minutes: float = 60.0
    steps: int | None = None
    projection_steps: int = 1500
    checkpoint_minutes: float = 5.0
    latent_channels: int = 48
    variant: str = "lite0"
    heads: int = 4
    rate: float = 1.5e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("minutes", "projection_steps", "checkpoint_minutes", "latent_channels", "heads", "rate"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} must be positive, not {getattr(self, name)}")


def train_photos(
    data: Sequence[Path], out: Path, settings: PhotoTraining | None = None, *, log: Callable[[str], None] = print
) -> Path:
    """Train the model, or go on where an interrupted call with the same settings ended.

    Args:
        data: Directories with a photos.jsonl and a folder of pictures.
        out: Where features, checkpoints and the model (its folder `model`) are written.
        settings: None takes the defaults.
        log: Called with a line now and then.

    Returns:
        The directory of the model.

    Raises:
        UserError: If a directory is not as it should be, if no noun can be learnt from it, or if `out` is of other
            pictures or settings.
    """
    settings = settings or PhotoTraining()
    features = sum(load_published(settings.variant).channels)
    if PACKED * settings.latent_channels > features:
        raise UserError(
            f"latent channels must be at most {features // PACKED}, not {settings.latent_channels}: {settings.variant} "
            f"has {features} features, and a channel takes {PACKED} of them"
        )
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    names, vocabulary, noun_data = _prepare(data, out, settings, log)
    encoder, projection, latents = _encode(noun_data, out, settings, rng, log)
    trainer = _Trainer(names, vocabulary, encoder, projection, latents, settings, out, rng, log)
    trainer.run()
    return out / "model"


# --- what is known of the pictures


def _prepare(
    data: Sequence[Path], out: Path, settings: PhotoTraining, log: Callable[[str], None]
) -> tuple[tuple[str, ...], Vocabulary, NounData]:
    """The columns' names (nouns, then colours), the vocabulary that the pictures allow, and the pictures."""
    listed = [read_photos(directory) for directory in data]
    if (count := sum(map(len, listed))) < _LEAST_PICTURES:
        raise UserError(f"no noun can be learnt from {count} pictures: each needs {_LEAST_PICTURES}; list more")
    sets: list[tuple[list[Photo], PhotoFeatures]] = []
    for index, photos in enumerate(listed):
        files = [p.file for p in photos]
        folder = out / "features" / str(index)
        sets.append((photos, extract_features(files, folder, side=_side_for(files), variant=settings.variant, log=log)))
    whole = load_vocabulary()
    photos = [p for some, _ in sets for p in some]
    labels = find_labels(photos, whole, np.concatenate([f.logits for _, f in sets]))
    kept = [n for n, count in zip(labels.nouns, labels.present.sum(0), strict=True) if count >= _LEAST_PICTURES]
    if not kept:
        most = labels.nouns[int(labels.present.sum(0).argmax())]
        raise UserError(
            f"none of the nouns can be learnt from {len(photos)} pictures: each needs {_LEAST_PICTURES} with it, and "
            f"{most!r}, which has the most, is in {int(labels.present.sum(0).max())}; list more pictures or labels"
        )
    vocabulary = restrict(whole, kept)
    save_vocabulary(vocabulary, out / VOCABULARY_NAME)
    shares = _colours_of(photos, out / "colours.npy", log)
    columns = [labels.nouns.index(n) for n in kept]
    present = np.concatenate([labels.present[:, columns], shares >= PRESENT_SHARE], 1)
    known_colours = (shares >= PRESENT_SHARE) | (shares <= ABSENT_SHARE)
    weight = np.concatenate([labels.weight[:, columns], known_colours.astype(np.float32)], 1)
    log(f"{len(photos)} pictures, {len(kept)} nouns, {int(labels.told.sum())} told and {int(present.sum())} in all")
    _write_counts(out, labels, kept)
    return (*kept, *COLOURS), vocabulary, NounData(tuple(f.maps for _, f in sets), present, weight)


def _side_for(files: Sequence[Path]) -> int:
    sample = [_short_side(f) for f in files[:: max(1, len(files) // 20)]]
    return TRAINING_SIDE // 2 if np.median(sample) < _SMALL_SIDE else TRAINING_SIDE


def _short_side(file: Path) -> int:
    """Return the shorter side of a picture in pixels, from its header."""
    from PIL import Image

    with Image.open(file) as picture:
        return min(picture.size)


def _colours_of(photos: Sequence[Photo], file: Path, log: Callable[[str], None]) -> NDArray[np.float32]:
    if file.is_file():
        stored = np.load(file)
        if len(stored) == len(photos):
            return np.asarray(stored, np.float32)
    log("measuring colours")
    shares = np.stack([colour_shares(read_square(p.file, 64)) for p in photos])
    np.save(file, shares)
    return shares


def _write_counts(out: Path, labels: Labels, kept: Sequence[str]) -> None:
    counts = {n: [int(labels.present[:, i].sum()), int(labels.told[:, i].sum())] for i, n in enumerate(labels.nouns)}
    (out / "counts.json").write_text(json.dumps({"kept": list(kept), "present_and_told": counts}, indent=1), "utf-8")


# --- the encoder


def _encode(
    data: NounData, out: Path, settings: PhotoTraining, rng: np.random.Generator, log: Callable[[str], None]
) -> tuple[PhotoEncoder, Projection, NounData]:
    encoder = PhotoEncoder(settings.variant, settings.latent_channels)
    published = load_published(settings.variant).state_dict()
    encoder.features.load_state_dict({k: v for k, v in published.items() if k in encoder.features.state_dict()})
    file, width = out / "projection.pt", PACKED * settings.latent_channels
    if not file.is_file():
        fit_projection(data, latents=width, steps=settings.projection_steps, rng=rng, log=log).save(file)
    projection = Projection.load(file)
    if len(projection.weight) != width:
        raise UserError(
            f"{out} is of an earlier start with {len(projection.weight) // PACKED} latent channels, not "
            f"{settings.latent_channels}; give those, or another folder"
        )
    encoder.projection.load_state_dict({"weight": projection.weight, "bias": projection.bias})
    latents = []
    for index, maps in enumerate(data.maps):
        path, done = out / f"latents-{index}.npy", out / f"latents-{index}.done"
        shape = (*maps.shape[:3], width)
        if not done.is_file():
            project(maps, projection, np.lib.format.open_memmap(path, "w+", np.float16, shape))
            done.write_text("")
        latents.append(np.load(path, mmap_mode="r"))
    return encoder.eval(), projection, NounData(tuple(latents), data.present, data.weight)


# --- the transformer


class _Trainer:
    def __init__(
        self,
        names: tuple[str, ...],
        vocabulary: Vocabulary,
        encoder: PhotoEncoder,
        projection: Projection,
        data: NounData,
        settings: PhotoTraining,
        out: Path,
        rng: np.random.Generator,
        log: Callable[[str], None],
    ) -> None:
        self.names, self.encoder, self.data, self.settings = names, encoder, data, settings
        self.projection = projection
        self.out, self.rng, self.log = out, rng, log
        self.tokenizer = build_tokenizer(model_words(vocabulary), text_length=TEXT_LENGTH)
        self.net = TextToLatents(
            build_transformer(in_channels=PACKED * settings.latent_channels, heads=settings.heads),
            build_text_encoder(len(self.tokenizer), text_length=TEXT_LENGTH),
        )
        self.word_loss = WordLoss(4)
        self.average = copy.deepcopy(self.net).eval()
        self.parameters = [*self.net.parameters(), *self.word_loss.parameters()]
        self.optimiser = torch.optim.AdamW(self.parameters, settings.rate, betas=(0.9, 0.99), weight_decay=0.01)
        self.elapsed, self.step = 0.0, 0
        counts = data.present.sum(0)
        words = {w: self.tokenizer.convert_tokens_to_ids("▁" + w) for w in model_words(vocabulary)}
        self.texts = TextSampler(names, words, np.sqrt(np.maximum(counts, 1)), rng)
        self.rarity = rarity_of(data.present[:, : -len(COLOURS)])
        self.n_nouns = len(names) - len(COLOURS)

    def run(self) -> None:
        """Train for the given time, from the last checkpoint if there is one."""
        self._resume()
        started, saved_at = time.monotonic() - self.elapsed, self.elapsed
        losses: NDArray[np.float64] = np.zeros(3)
        most_steps = math.inf if self.settings.steps is None else self.settings.steps
        while self.elapsed < 60 * self.settings.minutes and self.step < most_steps:
            progress = self.elapsed / (60 * self.settings.minutes)
            rate = self.settings.rate * min(1, (self.step + 1) / 100)
            for group in self.optimiser.param_groups:
                group["lr"] = rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
            now = self._step()
            losses = now if not losses.any() else 0.98 * losses + 0.02 * now
            self.step += 1
            self.elapsed = time.monotonic() - started
            if self.step % 50 == 0:
                self.log(
                    f"step {self.step}: {self.elapsed / 60:.1f} of {self.settings.minutes:g} min, "
                    f"flow loss {losses[0]:.3f}, word loss {losses[1]:.4f}, map loss {losses[2]:.4f}"
                )
            if self.elapsed - saved_at > 60 * self.settings.checkpoint_minutes:
                saved_at = self.elapsed
                self._save()
        self._save()

    def _step(self) -> NDArray[np.float64]:
        rows = self.data.sample_rows(self.rng, _BATCH, self.rarity)
        clean = self.data.tokens(rows, self.rng, GRID).flatten(1, 2)
        texts = [self._text_for(int(row)) for row in rows]
        ids = torch.tensor([t.ids for t in texts])
        level = torch.sigmoid(torch.randn(len(rows)) * _NOISE_DEVIATION + _NOISE_MEAN)
        noise = torch.randn_like(clean)
        noised = clean + level[:, None, None] * (noise - clean)
        with RecordAttention(TEXT_LENGTH) as attention:
            velocity = self.net(noised, ids, level, scaled_image_ids(GRID, GRID))
        is_true = torch.tensor([float(t.is_true) for t in texts])
        errors = F.mse_loss(velocity, noise - clean, reduction="none").mean((1, 2))
        flow_loss = (errors * is_true).sum() / is_true.sum().clamp_min(1)
        word_loss, map_loss = self.word_loss(attention.maps, self._asked(rows, texts, clean))
        (flow_loss + _WORD_LOSS_WEIGHT * word_loss + _MAP_LOSS_WEIGHT * map_loss).backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            share = 1 - min(0.998, (1 + self.step) / (20 + self.step))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), share)
        return np.array([flow_loss.item(), word_loss.item(), map_loss.item()])

    def _text_for(self, row: int) -> TrainingText:
        present, weight = self.data.present[row], self.data.weight[row]
        there = np.flatnonzero(present & (weight > 0))
        nouns_there = there[there < self.n_nouns]
        absent = np.flatnonzero(~present & (weight > 0))
        if self.rng.random() > _COLOUR_SHARE:  # every picture has colours: in every list they would crowd out nouns
            there, absent = nouns_there, absent[absent < self.n_nouns]
        draw = self.rng.random()
        if draw < 0.25 and len(nouns_there):
            return self.texts.caption(nouns_there)
        if draw < 0.4 and (len(nouns_there) or len(absent)):
            is_true = len(nouns_there) > 0 and (self.rng.random() < 0.5 or not len(absent))
            return self.texts.single(int(self.rng.choice(nouns_there if is_true else absent)), is_true=is_true)
        return self.texts.nouns(there, absent)

    def _asked(self, rows: NDArray[np.int64], texts: Sequence[TrainingText], clean: torch.Tensor) -> AskedNouns:
        asked = [(b, position, column) for b, text in enumerate(texts) for position, column in text.asked]
        pictures, positions, columns = (np.array(values) for values in zip(*asked, strict=True))
        present = self.data.present[rows[pictures], columns].astype(np.float32)
        weight = self.data.weight[rows[pictures], columns]
        picture_rows = torch.from_numpy(pictures)
        return AskedNouns(
            picture_rows,
            torch.from_numpy(positions),
            torch.from_numpy(present),
            torch.from_numpy(weight),
            self.projection.noun_log_odds(clean[picture_rows], torch.from_numpy(columns)),
        )

    def _state(self) -> Mapping[str, Any]:
        return {
            "names": list(self.names),
            "seed": self.settings.seed,
            "heads": self.settings.heads,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "word_loss": self.word_loss.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "elapsed": self.elapsed,
            "step": self.step,
            "samples": self.rng.bit_generator.state,
            "noise": torch.get_rng_state(),
        }

    def _resume(self) -> None:
        file = self.out / "checkpoint.pt"
        if not file.is_file():
            return
        state = torch.load(file, weights_only=True)
        if state["names"] != list(self.names):
            raise UserError(f"{file} was trained on other nouns; give the same pictures, or another --out")
        for name in ("seed", "heads"):
            now = getattr(self.settings, name)
            before = state.get(name, now)
            if before != now:
                raise UserError(f"{file} is of a start with {name} {before}, not {now}; give that, or another --out")
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.word_loss.load_state_dict(state["word_loss"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.elapsed, self.step = state["elapsed"], state["step"]
        self.rng.bit_generator.state = state["samples"]
        torch.set_rng_state(state["noise"])
        self.log(f"going on from step {self.step}, minute {self.elapsed / 60:.1f}")

    def _save(self) -> None:
        unfinished = self.out / "checkpoint.part"
        torch.save(self._state(), unfinished)
        unfinished.replace(self.out / "checkpoint.pt")
        directory = self.out / "model"
        average = self.average
        parts = (self.encoder, average.transformer, average.text_encoder, self.tokenizer)
        save(assemble(*parts, kind=PhotoFluxPipeline, shift=1.0), directory)
        (directory / VOCABULARY_NAME).write_bytes((self.out / VOCABULARY_NAME).read_bytes())
        told = {"steps": self.step, "minutes": round(self.elapsed / 60, 1), "seed": self.settings.seed}
        (directory / "training.json").write_text(json.dumps(told) + "\n")
        self.log(f"wrote {directory} after {self.step} steps")
