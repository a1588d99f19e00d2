"""Tokenizers as the backbones need them: normalisers as stored, prompts inside templates, filled-in chat templates."""

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
_PLACEHOLDER = "\N{SNOWMAN}"


def restore_normalizer(tokenizer: Any, folder: Path) -> None:
    """Give a loaded tokenizer the normaliser that its file has, if transformers left it out.

    transformers 5 builds a T5 tokenizer anew from its vocabulary and keeps no normaliser but SentencePiece's: the
    models that ship would know "car", but not "Car".

    Args:
        tokenizer: A transformers tokenizer, changed in place; slow ones are left as they are.
        folder: Where it was loaded from.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and backend.normalizer is None and file.is_file():
        stored = Tokenizer.from_file(str(file)).normalizer
        if stored is not None:
            backend.normalizer = stored


class PromptTokenizer:
    """Tokenises a prompt inside its template, as the text encoder sees it, and returns the prompt's tokens only.

    It is called like a transformers tokenizer; offsets count from the prompt's first character. The token after the
    prompt is returned too, with empty offsets, like T5's end token.
    """

    def __init__(
        self, tokenizer: Any, render: Callable[[str], str] = str, *, lower: bool = False, **options: Any
    ) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: A fast transformers tokenizer.
            render: Fills a prompt into the template; by default there is none.
            lower: Whether the pipeline puts the prompt into lower case. Offsets are into the prompt as it was given.
            **options: Options of the tokenizer's call.
        """
        self.tokenizer = tokenizer
        self._render = render
        self._lower = lower
        self._options = options
        self.unk_token_id = tokenizer.unk_token_id

    def __call__(self, prompt: str, **_: Any) -> dict[str, Any]:
        """Return `input_ids` and `offset_mapping` of the prompt's own tokens.

        Raises:
            BackboneError: If the template does not contain the prompt.
        """
        ids, offsets, start, _total = self._encode(prompt)
        return {"input_ids": ids[start:], "offset_mapping": offsets[start:]}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """Return the pieces of these ids."""
        return self.tokenizer.convert_ids_to_tokens(ids)

    def get_vocab(self) -> dict[str, int]:
        """Return the id of every piece."""
        return self.tokenizer.get_vocab()

    def prompt_start(self, prompt: str) -> int:
        """Return how many tokens precede the prompt's."""
        return self._encode(prompt)[2]

    def start_after_crop(self, cropped: int) -> int:
        """Return where the prompt begins after the pipeline has cropped tokens from the start.

        This is 0 with the tokenizer that the pipeline was made for. With another one it may be later, which is logged.

        Args:
            cropped: How many tokens the pipeline crops.

        Raises:
            BackboneError: If the pipeline would crop tokens of the prompt.
        """
        start = self.prompt_start("a") - cropped
        if start < 0:
            raise BackboneError(
                f"the tokenizer makes {start + cropped} tokens of what its pipeline puts before a prompt, but the "
                f"pipeline cuts off {cropped}: it is not the tokenizer that this pipeline was made for"
            )
        if start > 0:
            log.warning(
                "the tokenizer makes %d tokens of what its pipeline puts before a prompt, but the pipeline cuts off "
                "%d: is it the one that this model was trained with?",
                start + cropped,
                cropped,
            )
        return start

    def sequence_length(self, prompt: str) -> int:
        """Return how many tokens the prompt has together with its template."""
        return self._encode(prompt)[3]

    def _encode(self, prompt: str) -> tuple[list[int], list[tuple[int, int]], int, int]:
        """Ids and offsets up to the token after the prompt, the index of its first token, and the number of tokens."""
        before = len(self._render(_PLACEHOLDER).split(_PLACEHOLDER)[0])
        text = prompt.lower() if self._lower else prompt
        encoding: Any = self.tokenizer(
            self._render(text), return_offsets_mapping=True, truncation=False, **self._options
        )
        # In lower case, a few letters become two: "İ".
        origin = [i for i, letter in enumerate(prompt) for _ in (letter.lower() if self._lower else letter)]
        offsets: list[tuple[int, int]] = []
        for start, end in encoding["offset_mapping"]:
            start, end = max(start, before) - before, min(end, before + len(text)) - before
            offsets.append((origin[start], origin[end - 1] + 1) if start < end else (0, 0))
        own = [i for i, (start, end) in enumerate(offsets) if start < end]
        if not own:
            raise BackboneError(f"the tokenizer lost the prompt {prompt!r} in its template")
        stop = min(own[-1] + 2, len(offsets))
        return encoding["input_ids"][:stop], offsets[:stop], own[0], len(offsets)


# --- chat templates ---------------------------------------------------------------------------------------------------

# Some pipelines have a chat model as text encoder and ask its tokenizer to fill in a chat template. transformers does
# that with jinja2 >= 3.1.6 only, because of sandbox escapes in older versions, but another library pins 3.0.3; nor does
# its Pixtral processor load without torchvision. So templates are filled in here, in a sandbox without what those
# escapes used (`str.format` and the filters that reach it), and tokens are the plain tokenizer's.
_REFUSED_ATTRIBUTES = frozenset({"format", "format_map"})
_REFUSED_FILTERS = ("attr", "format", "map", "select", "selectattr", "reject", "rejectattr", "groupby", "sort")


class _Sandbox(ImmutableSandboxedEnvironment):
    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return (
            attr not in _REFUSED_ATTRIBUTES and not attr.startswith("_") and super().is_safe_attribute(obj, attr, value)
        )

    def getattr(self, obj: Any, attribute: str) -> Any:
        if attribute in _REFUSED_ATTRIBUTES and isinstance(obj, str):
            raise SecurityError(f"{attribute} may not be used in a chat template")
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(argument, str) and argument in _REFUSED_ATTRIBUTES and isinstance(obj, str):
            raise SecurityError(f"{argument} may not be used in a chat template")
        return super().getitem(obj, argument)


def render_chat_template(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """Render a conversation as text, laid out as transformers does it.

    Args:
        template: The tokenizer's chat template, in jinja2.
        messages: Messages of the conversation, with "role" and "content".
        **variables: Other variables of the template.

    Raises:
        BackboneError: If the template fails.
    """

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    for name in _REFUSED_FILTERS:
        environment.filters.pop(name, None)
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = raise_exception
    try:
        return environment.from_string(template).render(messages=messages, tools=None, documents=None, **variables)
    except TemplateError as error:
        raise BackboneError(f"the chat template of this pipeline's tokenizer cannot be filled in: {error}") from error


class ChatTokenizer:
    """A tokenizer that fills in its chat template itself, and otherwise behaves like the plain tokenizer.

    Raises:
        BackboneError: If the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if not isinstance(tokenizer.chat_template, str):
            raise BackboneError("the tokenizer of this pipeline has no chat template; fetch its files again")

    @classmethod
    def from_pretrained(cls, folder: Path) -> ChatTokenizer:
        """Load the tokenizer in this folder, or the one of the processor that is there."""
        from transformers import AutoTokenizer

        return cls(AutoTokenizer.from_pretrained(folder, local_files_only=True))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Tokenise as the plain tokenizer does."""
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
        """Fill in the chat template, with the arguments of the tokenizer's or the processor's own method.

        Args:
            conversation: One conversation or several.
            tokenize: Return tokens instead of text.
            add_generation_prompt: Begin an answer at the end.
            return_dict: Ignored; tokens are always returned as a dictionary.
            enable_thinking: A variable of some templates.
            **options: Options of the tokenizer's call.
        """
        is_single = isinstance(conversation[0], Mapping)
        batch = [conversation] if is_single else list(conversation)
        variables = {} if enable_thinking is None else {"enable_thinking": enable_thinking}
        texts = [
            render_chat_template(
                self.tokenizer.chat_template,
                messages,
                add_generation_prompt=add_generation_prompt,
                **self.tokenizer.special_tokens_map,
                **variables,
            )
            for messages in batch
        ]
        if not tokenize:
            return texts[0] if is_single else texts
        return self.tokenizer(texts, add_special_tokens=not self.template_adds_bos(texts[0]), **options)

    def template_adds_bos(self, text: str) -> bool:
        """Return whether the template itself wrote the first special token, which must not be added twice."""
        return self.tokenizer.bos_token is not None and text.startswith(self.tokenizer.bos_token)
