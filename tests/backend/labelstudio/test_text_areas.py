"""Which TextArea of a project is for words, and which is left alone."""

from __future__ import annotations

import pytest

from backend.labelstudio.connect import check_label_config
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.request import submitted_text, task_expressions


def config_xml(*text_areas, media='<Video name="video" value="$video" frameRate="10"/>'):
    tags = "".join(f"<TextArea {attributes}/>" for attributes in text_areas)
    return f'<View>{tags}{media}<Audio name="sound" value="$video"/><VideoRectangle name="box" toName="video"/></View>'


WORDS, COMMENT = 'name="words" toName="video" value="$prompt"', 'name="comment" toName="video"'


@pytest.mark.parametrize(
    ("text_areas", "chosen", "others"),
    [
        ([], None, {}),
        ([WORDS], "words", {}),
        (['name="find" toName="video"'], "find", {}),  # the only one
        (['name="find" toName="x, video"'], "find", {}),
        # comments, text of regions, text of the sound
        ([COMMENT, WORDS], "words", {"comment": "its name"}),
        ([COMMENT], None, {"comment": "its name"}),
        (['name="reviewNotes" toName="video"'], None, {"reviewNotes": "its name"}),
        (['name="transcription" toName="sound" value="$text"', WORDS], "words", {"transcription": "it is on sound"}),
        (['name="what" toName="video" perRegion="true"'], None, {"what": "for each region"}),
        (['NAME="words" TONAME="video" PERREGION="True"', 'name="q" toName="video"'], "q", {"words": "each region"}),
        (['name="words"'], None, {"words": "it is on nothing"}),
        # several: the field that it shows, its name, parts of them
        (['name="a" toName="video"', 'name="b" toName="video" value="$prompt"'], "b", {"a": "one is enough"}),
        (['name="a" toName="video" value="$a"', 'name="query" toName="video"'], "query", {"a": "one is enough"}),
        (['name="free_text" toName="video"', 'name="words" toName="video"'], "words", {"free_text": "one"}),
        (['name="a" toName="video"', 'name="searchQuery" toName="video"'], "searchQuery", {"a": "one"}),
        (['name="words" toName="video"', 'name="comment" toName="video" value="$prompt"'], "comment", {"words": "one"}),
        (['name="a" toName="video"', 'name="b" toName="video" value="$object"'], "b", {"a": "one"}),
        (['name="a" toName="video"', 'name="b" toName="video"'], None, {}),
    ],
)
def test_the_text_area_for_words(text_areas, chosen, others):
    config = parse_label_config(config_xml(*text_areas))
    assert config.text_area.name == chosen
    found = dict(config.text_area.others)
    assert found.keys() == others.keys()
    assert all(part in found[name] for name, part in others.items())


@pytest.mark.parametrize(("name", "found"), [("words", True), ("comment", False), ("region_text", False)])
def test_only_the_text_area_for_words_is_read(name, found):
    config = parse_label_config(config_xml(WORDS, COMMENT, 'name="region_text" toName="video" perRegion="true"'))
    region = {"id": "t", "type": "textarea", "from_name": name, "to_name": "video", "value": {"text": ["blurred here"]}}
    assert (submitted_text({"result": [region]}, config) is not None) is found


def test_a_comment_that_the_task_has_is_not_searched_for():
    config = parse_label_config(config_xml('name="comment" toName="video" value="$comment"', WORDS))
    assert task_expressions({"video": "a.mp4", "comment": "blurred"}, config) == []
    assert task_expressions({"video": "a.mp4", "comment": "blurred", "prompt": "a car"}, config) == ["a car"]


@pytest.mark.parametrize(
    ("text_areas", "lines"),
    [
        ([WORDS], ['ok words are typed into the TextArea "words": it shows the task\'s field "prompt"']),
        (
            ['name="query" toName="video"', COMMENT],
            [
                'ok words are typed into the TextArea "query": its name says so',
                'note what is typed into "comment" (its name says what else it is for) is not searched for; '
                'to type words elsewhere, make that <TextArea name="words" toName="video" value="$prompt"/>',
            ],
        ),
        (
            ['name="a" toName="video"', 'name="b" toName="video"'],
            [
                'note nothing says which TextArea is for words, of "a", "b": words cannot be typed in the editor; '
                'have one as <TextArea name="words" toName="video" value="$prompt"/>'
            ],
        ),
        (
            [],
            [
                "note the label config has no TextArea for words: words cannot be typed in the editor; "
                'have one as <TextArea name="words" toName="video" value="$prompt"/>'
            ],
        ),
    ],
)
def test_connect_says_which_text_area_is_for_words_and_how_to_choose_another(text_areas, lines):
    findings = [f"{finding.state} {finding.text}" for finding in check_label_config(config_xml(*text_areas))]
    assert [line for line in findings if "typed" in line] == lines
