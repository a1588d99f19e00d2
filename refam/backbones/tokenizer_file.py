"""A tokenizer.json that is read without transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refam.backbones.weights import BackboneError, read_model_json


class FileTokenizer:
    """A tokenizer.json with the interface of a fast transformers tokenizer, as far as `parse_expression` uses it.

    Args:
        file: The tokenizer.json; a tokenizer_config.json beside it names the token of unknown words.

    Raises:
        BackboneError: If one of the two is broken.
    """

    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer

        read_model_json(file)  # the library's own error for deep nesting ends the process
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises no other class
            reason = " ".join(str(error).split())[:200]
            raise BackboneError(f"{file} is broken ({reason}); fetch the directory again") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.unk_token_id = self._unknown_id(file.with_name("tokenizer_config.json"))

    def __call__(self, prompt: str, **_: Any) -> dict[str, Any]:
        """Return the ids of a prompt's tokens, and the characters (start, end) of each."""
        encoding = self._tokenizer.encode(prompt)
        return {"input_ids": encoding.ids, "offset_mapping": encoding.offsets}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """Return the tokens of these ids."""
        return [self._tokenizer.id_to_token(i) or "" for i in ids]

    def get_vocab(self) -> dict[str, int]:
        """Return the id of each token."""
        return self._tokenizer.get_vocab()

    def _unknown_id(self, config: Path) -> int | None:
        token = read_model_json(config).get("unk_token") if config.exists() else None
        token = token.get("content") if isinstance(token, dict) else token
        return self._tokenizer.token_to_id(token) if isinstance(token, str) else None
