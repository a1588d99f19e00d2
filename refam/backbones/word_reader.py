"""Reads expressions with a backbone's tokenizer alone: whether its words are known needs no weights and no video.

torch, transformers and diffusers are not imported, so that words which cannot be looked for are refused at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from refam.backbones.presets import GROUPS, members_of, preset_for
from refam.backbones.tokenizer_file import FileTokenizer
from refam.backbones.tokenizers import PromptTokenizer
from refam.backbones.weights import BackboneError, find_pipeline_directory, read_index
from refam.photos import VOCABULARY_NAME
from refam.photos.rewording import make_rewording
from refam.photos.vocabulary import load_vocabulary
from refam.text.expression import Expression
from refam.text.magnets import Magnets
from refam.text.model_choice import choose_model, note_choice
from refam.text.rewording import Reword, Rewording, parse_reworded

# The folders of the tokenizers whose tokens are read (`Backbone.tokenizer`), the first that a pipeline has. A chat
# model's template stands around the prompt, whose tokens are the same without it.
_TOKENIZERS = {
    "FluxPipeline": ("tokenizer_2",),
    "PhotoFluxPipeline": ("tokenizer_2",),
    "StableDiffusion3Pipeline": ("tokenizer_3", "tokenizer"),
    **dict.fromkeys(
        (
            *("Flux2Pipeline", "Flux2KleinPipeline", "ChromaPipeline", "QwenImagePipeline", "MochiPipeline"),
            *("CogVideoXPipeline", "HunyuanVideoPipeline", "WanPipeline", "LTXPipeline", "ZImagePipeline"),
            *("PRXPipeline", "PixArtSigmaPipeline", "SanaPipeline", "Lumina2Pipeline"),
            *("SkyReelsV2Pipeline", "SkyReelsV2DiffusionForcingPipeline"),
        ),
        ("tokenizer",),
    ),
}
_LOWER_CASE = ("PRXPipeline", "PixArtSigmaPipeline", "SanaPipeline")  # they put prompts into lower case
_AFTER_A_SPACE = ("SanaPipeline", "Lumina2Pipeline")  # their templates end with one
_CLIP_LENGTH = 77  # of the sequence that StableDiffusion3Pipeline has without T5


class WordReader:
    """Parses expressions as a backbone would.

    Attributes:
        tokenizer: Called like a fast transformers tokenizer.
        nouns: The things that it knows on photographs, if they are listed.

    Args:
        tokenizer: See above.
        max_tokens: The length of the text encoder's sequence.
        reword: Replaces words that the backbone lacks; by default none.
        nouns: See above.
    """

    def __init__(
        self, tokenizer: Any, *, max_tokens: int, reword: Reword = Rewording, nouns: Collection[str] = ()
    ) -> None:
        self.tokenizer, self._max_tokens = tokenizer, max_tokens
        self._reword, self.nouns = reword, nouns

    def parse(self, expression: str, *, magnets: Magnets = Magnets()) -> Expression:  # noqa: B008 - frozen
        """Parse an expression into tokens and their roles.

        Args:
            expression: What to look for.
            magnets: Attention magnets to append.

        Raises:
            ExpressionError: If it cannot be grounded.
        """
        return parse_reworded(expression, self._reword, self.tokenizer, max_tokens=self._max_tokens, magnets=magnets)


class GroupReader:
    """Parses expressions as the member of a group would that the words choose.

    Args:
        readers: By the members' names, in order.
    """

    def __init__(self, readers: Mapping[str, WordReader]) -> None:
        self._readers = readers

    def choose(self, expression: str) -> str:
        """Return the name of the member that is to look for an expression. Raises ExpressionError if none can."""
        return choose_model(self._readers, expression)

    def parse(self, expression: str, *, magnets: Magnets = Magnets()) -> Expression:  # noqa: B008 - frozen
        """See `WordReader.parse`."""
        name = self.choose(expression)
        return self.note_choice(name, self._readers[name].parse(expression, magnets=magnets))

    def note_choice(self, name: str, parsed: Expression) -> Expression:
        """Say in the note of a parsed expression why this member reads it, where that is not to be expected."""
        return note_choice(self._readers, name, parsed)


def open_word_reader(backbone: str, *, download: bool = False) -> WordReader | GroupReader | None:
    """Open the tokenizer of a backbone, or of those that a group has.

    Args:
        backbone: A preset, a group, a pipeline directory or a hub id.
        download: Whether the backbone may be fetched later.

    Returns:
        The reader; None if the pipeline is still to be fetched, or has no tokenizer that can be read without its model.

    Raises:
        BackboneError: If there is no such backbone, or if it is not on this machine and may not be fetched.
    """
    return open_group(backbone) if backbone in GROUPS else _open_reader(backbone, download=download)


@cache
def open_group(group: str) -> GroupReader:
    """Open the tokenizers of a group's members, which all ship.

    Raises:
        BackboneError: If a member is not in this checkout.
    """
    readers = {member: _open_reader(member) for member in members_of(group)}
    return GroupReader({member: reader for member, reader in readers.items() if reader is not None})


@cache
def _open_reader(backbone: str, *, download: bool = False) -> WordReader | None:
    preset = preset_for(backbone)
    directory = find_pipeline_directory(preset.source, preset.revision)
    if directory is None:
        if download:
            return None
        raise BackboneError(preset.missing_weights_message)
    pipeline = read_index(directory)["_class_name"]
    for folder in _TOKENIZERS.get(pipeline, ()):
        file = directory / folder / "tokenizer.json"
        if file.is_file():
            is_clip = pipeline == "StableDiffusion3Pipeline" and folder == "tokenizer"
            length = _CLIP_LENGTH if is_clip else preset.text_length
            tokenizer: Any = FileTokenizer(file)
            if pipeline in _LOWER_CASE or pipeline in _AFTER_A_SPACE:
                render = " {}".format if pipeline in _AFTER_A_SPACE else str
                tokenizer = PromptTokenizer(tokenizer, render, lower=pipeline in _LOWER_CASE)
            if pipeline != "PhotoFluxPipeline":
                return WordReader(tokenizer, max_tokens=length)
            vocabulary = load_vocabulary(directory / VOCABULARY_NAME)
            reword = make_rewording(vocabulary)
            return WordReader(FileTokenizer(file), max_tokens=length, reword=reword, nouns=vocabulary.nouns)
    return None
