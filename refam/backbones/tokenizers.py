"""Where a prompt's tokens stand inside a chat template."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from refam.backbones.errors import BackboneError

log = logging.getLogger("refam.backbones")
_MARK = "\N{SNOWMAN}"


class PromptTokenizer:
    """Tokenises a prompt as its encoder will see it: inside a template, of which only the prompt's tokens are told.

    Called as a transformers tokenizer is; offsets count from the prompt's first character. The token after the prompt
    is told too, with empty offsets, as T5's end token is.
    """

    def __init__(self, tokenizer: Any, render: Callable[[str], str], **options: Any) -> None:
        """render: prompt -> the text that is encoded. options: of the tokenizer's call."""
        self.tokenizer = tokenizer
        self._render = render
        self._options = options
        self.unk_token_id = tokenizer.unk_token_id

    def __call__(self, prompt: str, **_: Any) -> dict[str, Any]:
        """input_ids and offset_mapping of the prompt's own tokens."""
        ids, offsets, first, _total = self._coded(prompt)
        return {"input_ids": ids[first:], "offset_mapping": offsets[first:]}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """The pieces of these ids."""
        return self.tokenizer.convert_ids_to_tokens(ids)

    def first(self, prompt: str) -> int:
        """How many tokens stand before the prompt's."""
        return self._coded(prompt)[2]

    def first_behind(self, cut: int) -> int:
        """Where the prompt begins once the pipeline has cut off so many tokens: with the tokenizer that it was made
        for, at 0. Another one is used as far as it goes, and it is said. Raises BackboneError where it cannot be.
        """
        first = self.first("a") - cut
        if first < 0:
            raise BackboneError(
                f"the tokenizer makes {first + cut} tokens of what its pipeline puts before a prompt, but the pipeline "
                f"cuts off {cut}: it is not the tokenizer that this pipeline was made for"
            )
        if first > 0:
            log.warning(
                "the tokenizer makes %d tokens of what its pipeline puts before a prompt, but the pipeline cuts off "
                "%d: is it the one that this model was trained with?",
                first + cut,
                cut,
            )
        return first

    def total(self, prompt: str) -> int:
        """How many tokens the prompt has with its template."""
        return self._coded(prompt)[3]

    def _coded(self, prompt: str) -> tuple[list[int], list[tuple[int, int]], int, int]:
        before = len(self._render(_MARK).split(_MARK)[0])
        coded: Any = self.tokenizer(
            self._render(prompt), return_offsets_mapping=True, truncation=False, **self._options
        )
        inside: list[tuple[int, int]] = []
        for start, end in coded["offset_mapping"]:
            start, end = max(start, before) - before, min(end, before + len(prompt)) - before
            inside.append((start, end) if start < end else (0, 0))
        own = [i for i, (start, end) in enumerate(inside) if start < end]
        if not own:
            raise BackboneError(f"the tokenizer lost the prompt {prompt!r} in its template")
        stop = min(own[-1] + 2, len(inside))
        return coded["input_ids"][:stop], inside[:stop], own[0], len(inside)
