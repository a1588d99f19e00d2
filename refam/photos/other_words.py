"""Which words of WordNet are read as a noun of the vocabulary, and which are left unknown.

A wrong noun is worse than none, since what is not there is then looked for. So the sense that everyday pictures show
counts, words that are adjectives or verbs first are left out, and so are pairs of words that are no compound: "small
white" is a butterfly for WordNet, "top dog" a person, and "stone wall" a fence.
"""

from __future__ import annotations

from collections.abc import Mapping

from refam.photos.wordnet import NounDomain, WordClass, WordNet
from refam.text.lexicon import ADJECTIVES, COLOURS, GENERIC_NOUNS, NUMBERS, ORDINALS, STOP_WORDS, word_set
from refam.text.spatial import find_spatial_cues
from refam.text.word_classes import PLACE_NOUNS

_BY_HAND_OF_NOUN = {
    "person": """
        human, somebody, someone, biker, walker, jumper, diver, bowler, angler, sweeper, weaver, rapper, smoker, sitter,
        teen, blond, blonde, brunette, redhead, tailor, butcher, striker, trainer, broadcaster, senior, civilian,
        marine, chief, admiral, adjutant, lumberjack, sharpshooter, ninja, samurai, driver, bus driver, taxi driver,
        truck driver, american, native, professional, heroine, fireman, mum, climber, builder, barista
        """,
    "man": "male, king, emperor",
    "woman": "female, queen",
    "baby": "newborn",
    "bicycle": "bike, mountain bike, road bike, pushbike, ebike",
    "motorcycle": "motorbike, dirt bike, motocross bike",
    "car": "suv, limo",
    "taxi": "cab",
    "train": "metro, subway",
    "truck": "lorry, tow car, semi, pick-up, pick-up truck, eighteen-wheeler",
    "boat": "trawler, ferry, jet ski",
    "airship": "zeppelin, blimp",
    "television": "tv, telly, monitor, tv set, tv screen",
    "cell phone": "smartphone, mobile, mobile phone, iphone, handphone",
    "phone": "telephone",
    "computer": "pc",
    "refrigerator": "fridge",
    "cat": "kitten, kitty, pussycat",
    "dog": "puppy, pooch, doggy, doggo, great dane, watchdog",
    "retriever": "labrador",
    "cow": "calf, bull",
    "sheep": "lamb, ewe",
    "horse": "foal, thoroughbred",
    "pig": "piglet, sow, hog",
    "hamster": "guinea pig",
    "animal": "cub, gopher, shrew, bunny, donkey, octopus",
    "duck": "duckling",
    "ape": "gibbon",
    "chicken": "chick",
    "bird": "canary, wren, warbler, cuckoo, drake",
    "snake": "adder",
    "spider": "black widow",
    "insect": "wasp",
    "fish": "piranha",
    "food": "taco, donut, doughnut, cookie, pancake, waffle",
    "meat": "steak, bacon, sausage",
    "spaghetti": "noodles",
    "vegetable": "lettuce",
    "fruit": "lime",
    "racket": "tennis racket, racquet",
    "ski": "skis",
    "bat": "baseball bat",
    "ball": "sports ball",
    "table": "dining table, coffee table, bedside table, nightstand, night table",
    "armchair": "easy chair",
    "furniture": "ottoman",
    "pillow": "cushion, throw pillow",
    "quilt": "blanket, bedspread",
    "bed": "mattress",
    "bookcase": "bookshelf, book shelf",
    "cabinet": "cupboard, kitchen cupboard",
    "lamp": "table lamp, floor lamp, reading lamp, chandelier",
    "house": "villa",
    "building": "tower, castle",
    "ocean": "sea",
    "plant": "bush, shrub",
    "rope": "lasso",
    "skirt": "tutu",
    "sweatshirt": "hoodie",
    "sneaker": "sneakers, trainers",
    "scooter": "kick scooter, electric scooter",
    "vehicle": "excavator, digger, atv, quad bike",
    "street": "crosswalk, zebra crossing",
    "monitor": "computer monitor",
    "cup": "teacup, coffee cup, paper cup",
    "glass": "tumbler",
    "plate": "dish, saucer",
    "shovel": "spade",
    "tool": "wrench, rake",
    "pen": "pencil, marker",
    "trash can": "bin, dustbin, trash bin, garbage can, garbage bin, waste bin, wastebasket",
    "box": "package, parcel, carton, cardboard box",
    "headphones": "headphone, headset, earphones, earbuds",
    "teddy bear": "stuffed bear, plush bear",
    "toy": "stuffed animal, stuffed toy, plush toy, plushie",
    "t-shirt": "tee, tshirt, t shirt",
    "cap": "baseball cap",
    "bag": "shopping bag, plastic bag, paper bag, suitcase, luggage, briefcase",
    "handbag": "purse",
    "sandal": "flip-flop",
    "hat": "top hat",
    "helmet": "hard hat",
}
"""Words that WordNet lacks, that mean something else today, or that the rules below would leave out, by their noun."""
BY_HAND = {word.strip(): noun for noun, words in _BY_HAND_OF_NOUN.items() for word in words.split(",")}

OTHER_THINGS = word_set(
    """
    aba accused ark beau bender blade boa bot boxers brig broker browser browse brush budge bumper calculus
    carousel carrier charger chess chosen clam closer colors colours commuter console controller conveyor counsel dixie
    domino drawers drone fossil galley gear giant grinder hack hammock hood hose lander mac mace match mount needle
    organizer packer planner pocket pole pop prey prick rook roller ruler sanders seizing session shell shock shocker
    shook shooter sling spawn stays stole sub tackle tails terminator threads tor transporter voucher weeds
    website
    """
)
"""Words that usually mean a thing which is none of the nouns, where WordNet's senses lead to one: a drone is no bee."""

_VERB_FACTOR, _VERB_USES = 8, 5
"""Words used as verbs so many times as often as nouns, and that often, are no nouns: "tell", "have", "lower"."""
_NOBODY = frozenset({"nobody", "no-one", "nonentity", "cipher"})


def find_other_words(
    wordnet: WordNet, meanings: Mapping[str, tuple[str, ...]], above: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """Find all words, and pairs of words, that are read as a noun of the vocabulary.

    Args:
        wordnet: WordNet 3.0.
        meanings: The synset of each noun; empty if it has none.
        above: The nouns that each noun is a kind of.

    Returns:
        From a word to its nearest noun.
    """
    return _Reader(wordnet, meanings, above).read()


class _Reader:
    def __init__(
        self, wordnet: WordNet, meanings: Mapping[str, tuple[str, ...]], above: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._wordnet, self._meanings, self._above = wordnet, meanings, above
        self._noun_of = {synset: name for name, synsets in reversed(list(meanings.items())) for synset in synsets}
        self._read_as: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        words = [w for w in self._wordnet.nouns if w not in self._meanings and not any(c.isdigit() for c in w)]
        for word in words:
            if " " not in word and (noun := self._noun_for_word(word)) is not None:
                self._read_as[word] = noun
        self._read_as |= BY_HAND  # also for nouns of the list, for models that are not trained on them
        pairs = {}
        for pair in words:
            if len(pair.split()) == 2 and (noun := self._noun_for_pair(pair)) is not None:
                pairs[pair] = noun
        return pairs | self._read_as

    def _noun_for_word(self, word: str) -> str | None:
        if self._is_adjective(word) or self._is_verb(word) or word in _NOBODY or word in OTHER_THINGS:
            return None
        sense = self._everyday_sense(word)
        return None if sense is None else self._nearest(sense)

    def _everyday_sense(self, word: str) -> str | None:
        """The most frequent sense, but no name: "poster" is seldom somebody, "crane" no writer, and "bridges" no actor.

        Where no sense was ever counted, what is eaten comes before what it grows on ("mango"), and it is not known
        whether people or things are meant ("scanner", "piston").
        """
        senses = [(i, s) for i, s in enumerate(self._wordnet.senses(word)) if not self._wordnet.is_instance(s)]
        if not senses:
            return None
        first = senses[0][1]
        if any(self._wordnet.sense_uses(word, i) for i, _ in senses):
            return first
        domains = {self._wordnet.domain(s): s for _, s in reversed(senses)}
        if self._wordnet.domain(first) == NounDomain.PLANT:
            return domains.get(NounDomain.FOOD, first)
        things = {NounDomain.FOOD, NounDomain.ANIMAL, NounDomain.ARTIFACT}
        return None if self._wordnet.domain(first) == NounDomain.PERSON and things & domains.keys() else first

    def _noun_for_pair(self, pair: str) -> str | None:
        first, last = pair.split()
        noun = self._kind_of_its_last_word(pair) or self._nearest_of_first_sense(pair)
        if (
            noun is None
            or first + last in OTHER_THINGS
            or self._is_grammar(first)
            or self._is_grammar(last)
            or self._is_adjective(last)
        ):
            return None
        alone = last if last in self._meanings else self._read_as.get(last)
        if find_spatial_cues([first]) or first in PLACE_NOUNS or (first in COLOURS and alone is not None):
            return None  # it says which one is meant, or what it looks like
        if alone is None or noun == alone or noun in self._above[alone] or alone in self._above[noun]:
            return noun
        is_somebody = self._is_person(noun) and not self._is_person(alone)  # "couch potato"
        is_made_of = any(self._wordnet.domain(s) == NounDomain.SUBSTANCE for s in self._wordnet.senses(first)[:3])
        return None if self._is_adjective(first) or is_somebody or is_made_of else noun

    def _kind_of_its_last_word(self, pair: str) -> str | None:
        """Drinking water is water, and a police car is a car, but a hot dog is no dog."""
        last = pair.split()[-1]
        if last not in self._meanings:
            return None
        senses = self._wordnet.senses(pair)
        is_kind = any(set(self._meanings[last]) & self._wordnet.ancestors(sense) for sense in senses)
        return last if is_kind else None

    def _nearest_of_first_sense(self, word: str) -> str | None:
        first = self._wordnet.senses(word)[0]
        return None if self._wordnet.is_instance(first) else self._nearest(first)

    def _nearest(self, synset: str) -> str | None:
        level = [synset]
        while level:
            for candidate in level:
                if candidate in self._noun_of:
                    return self._noun_of[candidate]
            level = [parent for candidate in level for parent in self._wordnet.parents(candidate)]
        return None

    def _is_adjective(self, word: str) -> bool:
        if word in ADJECTIVES:
            return True
        uses = self._wordnet.uses(word, WordClass.ADJECTIVE)
        return self._wordnet.is_descriptive(word) and uses > self._wordnet.uses(word, WordClass.NOUN)

    def _is_verb(self, word: str) -> bool:
        uses = self._wordnet.uses(word, WordClass.VERB)
        return uses >= _VERB_USES and uses > _VERB_FACTOR * self._wordnet.uses(word, WordClass.NOUN)

    def _is_person(self, noun: str) -> bool:
        return noun == "person" or "person" in self._above[noun]

    @staticmethod
    def _is_grammar(word: str) -> bool:
        return word in STOP_WORDS or word in GENERIC_NOUNS or word in NUMBERS or word in ORDINALS or word == "number"
