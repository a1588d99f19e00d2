"""Words, tokens and chat templates with tokenizers of every kind: FLUX's T5 and CLIP, byte-level, byte-fallback BPE."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import CLIPTokenizerFast, PreTrainedTokenizerFast, T5TokenizerFast

from refam.backbones import Backbone, BackboneError
from refam.backbones.tokenizers import ChatTokenizer, PromptTokenizer, render_chat_template
from refam.text.expression import ExpressionError, parse_expression
from refam.text.tokens import TokenRole
from refam.text.words import split_words
from refam.tiny.model import build_tokenizer
from tests.refam.backbones.pipeline_parts import CHAT_TEMPLATE, MISTRAL_TEMPLATE, qwen_tokenizer

SHARED = Path(__file__).parents[3].parent / "shared/tokenizers"
CORPUS = [
    "the red car on the left of the tree, a man in a blue shirt . with to pink",
    "café naïve Straße look-alike two-wheeled 2nd 3.5 camel's",
    "a dog walking next to the second elephant from the right",
] * 4
TEMPLATE = "<|im_start|>system\nDescribe the image.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def t5() -> Any:
    if not (SHARED / "t5/tokenizer.json").is_file():
        pytest.skip("the real T5 tokenizer is not beside the project")
    return T5TokenizerFast(tokenizer_file=str(SHARED / "t5/tokenizer.json"), model_max_length=512)


def clip() -> Any:
    if not (SHARED / "clip/vocab.json").is_file():
        pytest.skip("the real CLIP tokenizer is not beside the project")
    return CLIPTokenizerFast(vocab=str(SHARED / "clip/vocab.json"), merges=str(SHARED / "clip/merges.txt"))


def byte_level() -> Any:
    """As Qwen2's and GPT's: every byte is a letter, spaces go with the word after them."""
    made = Tokenizer(BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>")


def byte_fallback() -> Any:
    """As Llama's SentencePiece: a mark for spaces, bytes for what is not in the vocabulary."""
    made = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)  # no piece spans two words
    letters = [*sorted(set("".join(CORPUS)) - {" "}), "▁"]
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=480, special_tokens=special, initial_alphabet=letters)
    )
    # Bytes are ordinary tokens of the vocabulary, or else text such as "<0x41>" would be one of them.
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def templated() -> Any:
    """As Qwen-Image's: the prompt inside a chat template."""
    return PromptTokenizer(byte_level(), TEMPLATE.format)


MAKERS: list[Callable[[], Any]] = [t5, clip, byte_level, byte_fallback, templated, build_tokenizer]


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return request.param()


EXPRESSIONS = {
    "the red car": ["the", "red", "car"],
    "The RED Car.": ["the", "red", "car", "."],
    "a two-wheeled, rusty cart": ["a", "two-wheeled", ",", "rusty", "cart"],
    "the camel's 2nd hump": ["the", "camel's", "2nd", "hump"],
    "player no. 23 (right)": ["player", "no", ".", "23", "(", "right", ")"],
    "the café's naïve garçon": ["the", "café's", "naïve", "garçon"],
    "das Straßenbahnmädchen links": ["das", "straßenbahnmädchen", "links"],
    "红色 汽车": ["红色", "汽车"],
    "लाल गाड़ी": ["लाल", "गाड़ी"],
    "the 🐶 dog": ["the", "🐶", "dog"],
    "astronaut 👩‍🚀 here": ["astronaut", "👩‍🚀", "here"],
    "cafe\u0301 door": ["cafe\u0301", "door"],
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_split_words(text: str) -> None:
    assert [w.text for w in split_words(text)] == EXPRESSIONS[text]


def words_of_tokens(expression: Any) -> list[str]:
    """The words of the expression's own tokens, each once, in their order."""
    order: dict[int, str] = {}
    for token in expression.tokens:
        if token.word_index is not None and token.role is not TokenRole.MAGNET:
            order.setdefault(token.word_index, token.word)
    return [order[n] for n in sorted(order)]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_every_word_has_tokens_and_they_come_in_order(tokenizer: Any, text: str) -> None:
    try:
        expression = parse_expression(text, tokenizer, max_tokens=200)
    except ExpressionError as error:
        assert "knows none of the words" in str(error)  # noqa: PT017 - the small model's 85 words
        return
    numbers = [t.word_index for t in expression.tokens if t.word_index is not None]
    assert numbers == sorted(numbers)
    lost = set(EXPRESSIONS[text]) - set(words_of_tokens(expression))
    assert not lost, f"no token was given to {lost}"


LETTERS = st.sampled_from("the red car's look-alike, né ü ß 汉字 🐶 👩‍🚀 (2nd) . A Z q".replace(" ", "") + "    ")


@settings(max_examples=120, deadline=None)
@given(text=st.text(LETTERS, min_size=1, max_size=24))
def test_every_token_is_assigned_to_the_word_of_its_characters(tokenizer: Any, text: str) -> None:
    """The truth is given character by character: which word holds it, and which token's offsets do."""
    try:
        expression = parse_expression(text, tokenizer, max_tokens=400)
    except ExpressionError:
        return  # only stop words, or words that are not known
    coded = tokenizer(expression.prompt, return_offsets_mapping=True, truncation=False)
    words = split_words(expression.prompt)
    assert len(coded["offset_mapping"]) == len(expression.tokens)
    for (start, end), token in zip(coded["offset_mapping"], expression.tokens, strict=True):
        inside = {n for at in range(start, end) for n, w in enumerate(words) if w.start <= at < w.end}
        if len(inside) == 1:
            assert token.word_index == inside.pop(), f"{token} of {text!r}"
        elif not inside and start < end:
            assert token.word_index is None or words[token.word_index].start >= end, (
                "a space goes with the word after it"
            )
        if token.word_index is not None:
            assert token.word == words[token.word_index].text
            assert (token.role is TokenRole.MAGNET) == (token.word_index >= len(split_words(expression.text)))


def test_expressions_with_too_many_tokens_are_refused(tokenizer: Any) -> None:
    long = "the red car and " * 200 + "the red car"
    with pytest.raises(ExpressionError, match=r"has \d+ tokens .* reads 77; say it in fewer words"):
        parse_expression(long, tokenizer, max_tokens=77)


def test_tokens_have_the_same_roles_inside_a_template() -> None:
    plain, inside = byte_level(), templated()
    text = "the red car left of the café 🐶"
    alone, templated_expression = (
        parse_expression(text, plain, max_tokens=200),
        parse_expression(text, inside, max_tokens=200),
    )
    count = len(alone.tokens)
    assert templated_expression.tokens[:count] == alone.tokens
    assert [t.role for t in templated_expression.tokens[count:]] == [TokenRole.END]
    first = inside.prompt_start(templated_expression.prompt)
    whole = plain.convert_ids_to_tokens(plain(TEMPLATE.format(templated_expression.prompt))["input_ids"])
    assert whole[first : first + count] == [t.text for t in templated_expression.tokens[:count]]


@pytest.mark.parametrize("prompt", ["The RED car", "İstanbul's RED car İ", "ein großes Auto"])
@pytest.mark.parametrize("render", [str, "say: {} now".format])
def test_offsets_are_into_the_prompt_as_it_was_given(prompt: str, render: Callable[[str], str]) -> None:
    """A pipeline that lowers the prompt sees other text, in which one letter may be two."""
    inner = byte_level()
    coded = PromptTokenizer(inner, render, lower=True)(prompt)
    offsets = [(start, end) for start, end in coded["offset_mapping"] if end > start]
    letters = {i for start, end in offsets for i in range(start, end)}
    assert {i for i, letter in enumerate(prompt) if letter != " "} <= letters
    lowered = "".join(prompt[a:b].lower() for a, b in dict.fromkeys(offsets))
    for word in ("red", "car"):
        assert (word in lowered) == (word in prompt.lower())
    own = coded["input_ids"] if render is str else coded["input_ids"][:-1]  # the token after the prompt
    assert prompt.lower() in inner.decode(own)


# --- chat templates

MESSAGES = [{"role": "user", "content": "the red star"}]


def test_a_chat_template_is_rendered_as_transformers_does() -> None:
    tokenizer = qwen_tokenizer()
    ours = ChatTokenizer(tokenizer)
    text = ours.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert text == "<|im_start|>user\nthe red star<|im_end|>\n<|im_start|>assistant\n"
    two = [[{"role": "user", "content": [{"type": "text", "text": t}]}] for t in ("a", "b c")]
    assert [render_chat_template(MISTRAL_TEMPLATE, m, bos_token="<s>") for m in two] == [
        "<s>[user]a[/user]",
        "<s>[user]b c[/user]",
    ]
    if Version(version("jinja2")) >= Version("3.1.6"):  # else it refuses
        theirs = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
        assert text == theirs


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.format.__globals__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ ('{0.__class__}'|attr('format'))(messages) }}",
        "{{ ''['format'](messages) }}",
        "{{ ['{0.__class__}']|map('format', messages)|list }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception('no') }}",
        "{% for %}",
    ],
)
def test_templates_that_leave_the_sandbox_or_fail_are_refused(template: str) -> None:
    with pytest.raises(BackboneError, match="chat template of this pipeline's tokenizer cannot be filled in"):
        render_chat_template(template, MESSAGES)


def test_the_tokenizer_of_another_pipeline_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = PromptTokenizer(qwen_tokenizer(), "<|im_start|>user\n{}<|im_end|>".format)
    head = tokenizer.prompt_start("a")
    assert tokenizer.start_after_crop(head) == 0
    assert not caplog.records
    assert tokenizer.start_after_crop(head - 2) == 2
    assert f"makes {head} tokens of what its pipeline puts before a prompt, but the pipeline cuts off" in caplog.text
    with pytest.raises(BackboneError, match=f"makes {head} tokens .* cuts off {head + 1}: it is not the tokenizer"):
        tokenizer.start_after_crop(head + 1)


def test_mochi_with_a_left_padding_tokenizer_is_refused(loaded: Callable[..., Backbone]) -> None:
    tokenizer = loaded("Mochi").pipeline.tokenizer
    tokenizer.padding_side = "left"
    with pytest.raises(BackboneError, match="pads on the left, and Mochi's pads on the right"):
        loaded("Mochi").encode_text(["the red star"])
    tokenizer.padding_side = "right"


def test_a_tokenizer_without_a_chat_template_is_refused() -> None:
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(BackboneError, match="has no chat template"):
        ChatTokenizer(tokenizer)
    assert CHAT_TEMPLATE
