"""Closed lists of English words, short enough to be written here instead of taken from a package."""

from __future__ import annotations

from collections.abc import Sequence


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text that is separated by white space."""
    return frozenset(text.split())


def is_shade(words: Sequence[str], at: int) -> bool:
    """Return whether a word says which shade of the colour behind it is meant: "snow white", "jet black"."""
    return word_at(words, at) in SHADES and word_at(words, at + 1) in COLOURS


def word_at(words: Sequence[str], at: int) -> str:
    """Return a word of an expression; "" behind its end."""
    return words[at] if at < len(words) else ""


STOP_WORDS = word_set(
    """
    a an the this that these those some any each every no and or but nor so as if than then of in on at to from by
    with without into onto over under up down off out about around near next beside between behind before after
    above below through during is are was were be been being am do does did has have had having it its he she they
    them his her their him who whom whose which what where when there here i you we me us my your our not very s
    whichever whatever
    just also only all both will would can could shall should may might must
    """
)
# Who does something: the word behind one of them is a verb ("the car I saw").
SUBJECT_PRONOUNS = word_set("i he she we they")
# The frame itself: "on the left of the picture" says where, "left of the tree" does not.
FRAME_WORDS = word_set(
    "picture image photo photograph frame screen scene view shot video pic clip camera us you viewer me"
)
# Nouns that any thing can be called by: nothing in a picture bears them out or not.
GENERIC_NOUNS = word_set("one ones thing things object objects item items something anything stuff")
_SIZES_AND_SIDES = word_set(
    """
    big bigger biggest large larger largest small smaller smallest little huge tiny left right leftmost rightmost
    middle top bottom upper lower nearest closest farthest
    """
)
# What may follow a known word without making another one of it: "circles", "star-shaped", but not "starfish".
ENDINGS = word_set("s es d ed y er est ish like shaped colored coloured")
# Parts that have sides of their own: "left hand" names a hand, not a place in the frame.
SIDED_PARTS = word_set(
    """
    hand hands handed arm arms leg legs foot feet eye eyes ear ears shoe shoes shoulder knee wrist elbow ankle hip cheek
    brain wing wings paw paws hoof glove sock boot sleeve thumb finger wheel wheels tire tyre headlight taillight mirror
    turn click winger back lip jaw body eyelid deck case brow thigh leg paws door seat bumper tooth teeth
    """
)
# Before one of these an ordinal does not count things: "first base", "second floor".
AFTER_ORDINAL_IN_NAMES = word_set("base baseman aid floor hand class degree grade lady place party person-view gear")
# "right" before one of these is an adverb: "right there".
AFTER_EMPHATIC_RIGHT = word_set(
    "there here now behind next beside above below in on at by before after under near over"
)
DETERMINERS = word_set("the his her their its a an my your our this that these those")
_FROM_TWO = """
    two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty
"""
_TENS = ["thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
NUMBERS = {
    **{word: n for n, word in enumerate(_FROM_TWO.split(), 2)},
    **{word: 10 * n for n, word in enumerate(_TENS, 3)},
}
ORDINALS = {
    word: n
    for n, words in enumerate(
        ("first 1st", "second 2nd", "third 3rd", "fourth 4th", "fifth 5th", "sixth 6th", "seventh 7th", "eighth 8th"), 1
    )
    for word in words.split()
}
COLOURS = word_set(
    """
    red green blue yellow orange purple pink cyan white black brown grey gray beige gold golden silver violet magenta
    turquoise teal maroon navy tan cream crimson lime indigo
    """
)
# Before a colour these say which shade of it.
SHADES = word_set(
    """
    sky navy jet snow coal blood wine brick rose lime mint olive chocolate coffee cherry lemon sea ocean grass forest
    sand ivory salmon rust honey peach charcoal pitch ruby emerald mustard
    """
)
# After these comes another thing, to which the wanted one stands in a relation.
RELATION_WORDS = word_set(
    """
    of on at near behind beside besides under underneath beneath above below between among by from to toward towards
    across along over against around through off onto into inside outside within atop up down before after than while as
    about alongside amid past away opposite like next during for without upon throughout until till thru infront except
    excluding
    """
)
# After these comes what the thing looks like.
APPEARANCE_WORDS = word_set("with wearing wears wore whose dressed having has have had")
RELATIVE_PRONOUNS = word_set("who that which whom where")
# Nouns whose "of ..." says what the thing is: "a slice of pizza".
MEASURE_NOUNS = word_set(
    """
    slice piece bowl glass cup plate pair group bunch stack pile row bottle box bag basket crowd herd flock team loaf
    can jar kind type set couple picture photo painting statue tray mug carton pack bundle vase bouquet sheet roll block
    bar ear head strip wedge chunk scoop drop crate bucket tub field drawing poster sculpture figure figurine portrait
    cutout spoonful pot pan jug pitcher shelf rack bed wreath
    """
)
CLOTHES = word_set(
    """
    shirt tshirt t-shirt jacket coat hat cap dress skirt jeans pants trousers shorts sweater hoodie suit tie vest
    uniform helmet glasses sunglasses scarf gloves shoes boots sneakers socks blouse tank top jersey robe gown costume
    apron swimsuit bikini wetsuit pajamas outfit clothes clothing tuxedo cardigan poncho sari kimono leggings armor
    armour plaid denim leather stripes polka camouflage
    """
)
ADJECTIVES = (
    COLOURS
    | NUMBERS.keys()
    | word_set(
        """
    dark bright pale young old tall short long wide thin fat round square empty full open closed new dirty clean
    wooden furry fluffy hairy bald blond blonde brunette striped dotted spotted plain checkered bearded
    hot cold wet dry male female asian african american heavy skinny chubby curly straight double single whole half
    broken neon medium last first second third other same electric several many few multiple various numerous
    """
    )
)
ALSO_NOUNS = word_set("square male female")  # of the adjectives
ADVERBS = word_set("still together alone forward forwards backward backwards sideways fast quickly slowly")
# Nouns that end like participles; of those that are participles as well ("a man building a wall"), they are nouns where
# no noun is before them.
NOUNS_IN_ING_AND_ED = word_set(
    """
    thing something anything everything nothing king string ceiling clothing earring sibling duckling gosling icing
    railing awning lightning pudding stocking bedding darling dumpling plumbing scaffolding moped biped quadruped
    """
)
ALSO_PARTICIPLES = word_set(
    "building painting drawing crossing landing wiring parking carving filling frosting wedding sling spring topping"
)
# After a noun or a colour these say what the thing after them is like: "a tan colored mouse".
COMPOUND_ENDS = word_set(
    "sized colored coloured shaped haired faced skinned eyed legged sleeved tailed headed footed striped patterned"
)
CANS = word_set("trash garbage soda beer tin watering spray paint oil gas aluminum metal coke cola pepsi drink")
# Participles without -ed that describe visible things.
IRREGULAR_PARTICIPLES = word_set(
    """
    held ridden eaten taken worn thrown shown driven drawn built made hung led bitten hidden broken bent kept cut
    caught fed flown hit used rode laid lit lost pulled put sat seen set shot split spread stuck swung torn tied woven
    written blown bound carried drunk frozen
    """
)
# Colours that are things as well: "the orange".
_COLOURS_AND_THINGS = word_set("orange rose lime cream violet gold silver navy")


def is_no_thing(word: str) -> bool:
    """Return whether a word by itself, in lower case, names nothing to look for: "the", "on", "red", "left"."""
    if word in ALSO_NOUNS or word in _COLOURS_AND_THINGS:
        return False
    return word in STOP_WORDS or word in ADJECTIVES or word in _SIZES_AND_SIDES
