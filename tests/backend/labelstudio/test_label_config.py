import pytest

from backend.labelstudio.config_xml import Label, LabelConfigError
from backend.labelstudio.label_config import parse_label_config

FULL = """<View>
  <Header value="Find: $note"/>
  <TextArea name="say" toName="clip" value="$words"/>
  <Labels name="kinds" toName="clip"><Label value="Car" alias="car_1"/><Label value="Person"/></Labels>
  <Labels name="other" toName="pic"><Label value="Elsewhere"/></Labels>
  <Image name="pic" value="$pic"/>
  <Video name="clip" value="$url" frameRate="$rate"/>
  <VideoRectangle name="where" toName="clip"/>
</View>"""


def test_names_are_read_from_the_config() -> None:
    config = parse_label_config(FULL)
    assert (config.media, config.media_field, config.control.name) == ("clip", "url", "where")
    assert config.labels == (Label("Car", "car_1"), Label("Person", "Person"))
    assert (config.text_area.name, config.text_area.field) == ("say", "words")
    assert config.word_fields == ("words", "note")


def test_case_of_tags_and_attributes_does_not_matter() -> None:
    config = parse_label_config(
        '<view><video name="v" value="$u" framerate="12.5"/><videorectangle name="b" toname="x,v"/></view>'
    )
    assert (config.media, config.control.name, config.fps({})) == ("v", "b", 12.5)


def _rate(attribute: str) -> str:
    return f'<View><Video name="v" value="$u" {attribute}/><VideoRectangle name="b" toName="v"/></View>'


@pytest.mark.parametrize(
    ("attribute", "data", "fps"),
    [
        ("", {}, 24.0),
        ('frameRate="30"', {}, 30.0),
        ('frameRate="29.97"', {}, 29.97),
        ('frameRate="0.04"', {}, 25.0),
        ('frameRate="$r"', {"r": "50"}, 50.0),
        ('frameRate="$r"', {"r": 12}, 12.0),
        ('frameRate="$r"', {}, 24.0),
    ],
)
def test_frame_rate(attribute: str, data: dict[str, object], fps: float) -> None:
    assert parse_label_config(_rate(attribute)).fps(data) == pytest.approx(fps)


@pytest.mark.parametrize("value", ["fast", -1, 0, "nan", "inf", 1e6, [25]])
def test_an_invalid_frame_rate_is_refused_with_its_field(value: object) -> None:
    with pytest.raises(LabelConfigError, match='"r"'):
        parse_label_config(_rate('frameRate="$r"')).fps({"r": value})


def test_labels_that_come_with_the_task() -> None:
    config = parse_label_config(
        '<View><Labels name="l" toName="v" value="$kinds"/><Video name="v" value="$u"/>'
        '<VideoRectangle name="b" toName="v"/></View>'
    )
    data = {"kinds": [{"value": "Car", "alias": "c"}, {"value": "Dog"}, "Cat", 7]}
    assert config.labels_for(data) == (Label("Car", "c"), Label("Dog", "Dog"), Label("Cat", "Cat"))
    assert config.labels_for({}) == ()


ENTITY = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><View><Header value="&b;"/></View>'
EXTERNAL = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><View>&e;</View>'


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (None, "<VideoRectangle"),
        ("  ", "empty"),
        ("<View>", "well-formed"),
        ("<View/>", "<Video name"),
        ('<View><Image name="i" value="$i"/></View>', "no <Video"),
        ('<View><Video name="v" value="$u"/></View>', 'add <VideoRectangle name="box" toName="v"/>'),
        ('<View><Video name="v" value="$u"/><VideoRectangle name="b" toName="w"/></View>', "toName='w'"),
        ('<View><Video name="v" value="u"/><VideoRectangle name="b" toName="v"/></View>', "value='u'|'u'"),
        (ENTITY, "entities"),
        (EXTERNAL, "entities"),
    ],
)
def test_unusable_configs_are_explained(xml: str | None, words: str) -> None:
    with pytest.raises(LabelConfigError, match=words):
        parse_label_config(xml)
