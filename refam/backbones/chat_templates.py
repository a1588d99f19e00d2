"""Chat templates, for pipelines whose text encoder is a chat model and which ask their tokenizer to fill one in.

transformers does that with jinja2 >= 3.1.6 only, because of the sandbox escapes of older ones; but another library pins
3.0.3. Nor does its Pixtral processor load without torchvision. So a template is filled in here, in a sandbox without
what those escapes went through (`str.format` and the filters that reach it), and tokens are the plain tokenizer's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from refam.backbones.errors import BackboneError

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


def render(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
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
            render(
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
        return self.tokenizer(texts, add_special_tokens=not self.starts_as_text(texts[0]), **options)

    def starts_as_text(self, text: str) -> bool:
        """Whether the template itself writes the first special token, which must not be added twice then."""
        return self.tokenizer.bos_token is not None and text.startswith(self.tokenizer.bos_token)
