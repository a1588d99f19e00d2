"""Where a prompt's tokens stand inside a chat template."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from refam.backbones.weights import BackboneError

log = logging.getLogger("refam.backbones")
_MARK = "\N{SNOWMAN}"


class PromptTokenizer:
    """Tokenises a prompt as its encoder will see it: inside a template, of which only the prompt's tokens are told.

    Called as a transformers tokenizer is; offsets count from the prompt's first character. The token after the prompt
    is told too, with empty offsets, as T5's end token is.
    """

    def __init__(self, tokenizer: Any, render_chat_template: Callable[[str], str], **options: Any) -> None:
        """render: prompt -> the text that is encoded. options: of the tokenizer's call."""
        self.tokenizer = tokenizer
        self._render = render_chat_template
        self._options = options
        self.unk_token_id = tokenizer.unk_token_id

    def __call__(self, prompt: str, **_: Any) -> dict[str, Any]:
        """input_ids and offset_mapping of the prompt's own tokens."""
        ids, offsets, first, _total = self._coded(prompt)
        return {"input_ids": ids[first:], "offset_mapping": offsets[first:]}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """The pieces of these ids."""
        return self.tokenizer.convert_ids_to_tokens(ids)

    def prompt_start(self, prompt: str) -> int:
        """How many tokens stand before the prompt's."""
        return self._coded(prompt)[2]

    def start_after_crop(self, cut: int) -> int:
        """Where the prompt begins once the pipeline has cut off so many tokens: with the tokenizer that it was made
        for, at 0. Another one is used as far as it goes, and it is said. Raises BackboneError where it cannot be.
        """
        first = self.prompt_start("a") - cut
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

    def sequence_length(self, prompt: str) -> int:
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


_REFUSED = frozenset({"format", "format_map"})
_REFUSED_FILTERS = ("attr", "format", "map", "select", "selectattr", "reject", "rejectattr", "groupby", "sort")


class _Sandbox(ImmutableSandboxedEnvironment):
    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _REFUSED and not attr.startswith("_") and super().is_safe_attribute(obj, attr, value)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if attribute in _REFUSED and isinstance(obj, str):
            raise SecurityError(f"{attribute} may not be used in a chat template")
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(argument, str) and argument in _REFUSED and isinstance(obj, str):
            raise SecurityError(f"{argument} may not be used in a chat template")
        return super().getitem(obj, argument)


def render_chat_template(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """The text of a conversation, laid out as transformers does it. Raises BackboneError for a template that fails."""

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    for name in _REFUSED_FILTERS:
        environment.filters.pop(name, None)
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = refuse
    try:
        return environment.from_string(template).render(messages=messages, tools=None, documents=None, **variables)
    except TemplateError as error:
        raise BackboneError(f"the chat template of this pipeline's tokenizer cannot be filled in: {error}") from error


class ChatTokenizer:
    """A tokenizer that fills in its chat template itself; everything else is the plain tokenizer's."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if not isinstance(tokenizer.chat_template, str):
            raise BackboneError("the tokenizer of this pipeline has no chat template; fetch its files again")

    @classmethod
    def from_pretrained(cls, folder: Path) -> ChatTokenizer:
        """The tokenizer in this folder, or the one inside the processor that is there."""
        from transformers import AutoTokenizer

        return cls(AutoTokenizer.from_pretrained(folder, local_files_only=True))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The plain tokenizer's call."""
        return self.tokenizer(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["tokenizer"], name)

    def apply_chat_template(
        self,
        conversation: Sequence[Any],
        *,
        tokenize: bool = True,
        add_generation_prompt: bool = False,
        return_dict: bool = True,
        enable_thinking: bool | None = None,
        **options: Any,
    ) -> Any:
        """As the tokenizer's or the processor's own: one conversation or several, as text or as token ids."""
        batch = [conversation] if isinstance(conversation[0], Mapping) else list(conversation)
        more = {} if enable_thinking is None else {"enable_thinking": enable_thinking}
        texts = [
            render_chat_template(
                self.tokenizer.chat_template,
                messages,
                add_generation_prompt=add_generation_prompt,
                **self.tokenizer.special_tokens_map,
                **more,
            )
            for messages in batch
        ]
        if not tokenize:
            return texts[0] if isinstance(conversation[0], Mapping) else texts
        return self.tokenizer(texts, add_special_tokens=not self.template_adds_bos(texts[0]), **options)

    def template_adds_bos(self, text: str) -> bool:
        """Whether the template itself writes the first special token, which must not be added twice then."""
        return self.tokenizer.bos_token is not None and text.startswith(self.tokenizer.bos_token)
