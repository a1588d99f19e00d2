"""Closed lists of English words. They are short, so they are written here and not taken from a package."""

from __future__ import annotations


def listed(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


STOP_WORDS = listed(
    """
    a an the this that these those some any each every no and or but nor so as if than then of in on at to from by
    with without into onto over under up down off out about around near next beside between behind before after
    above below through during is are was were be been being am do does did has have had having it its he she they
    them his her their him who whom whose which what where when there here i you we me us my your our not very
    just also only will would can could shall should may might must
    """
)
# The frame itself: "on the left of the picture" says where, "left of the tree" does not.
FRAME = listed("picture image photo photograph frame screen scene view shot video pic clip camera us you viewer me")
# What has a left and right, upper and lower, front and back of its own: the word is about the thing, not the frame.
PARTS = listed(
    """
    hand hands handed arm arms leg legs foot feet eye eyes ear ears shoe shoes shoulder knee wrist elbow ankle hip cheek
    brain wing wings paw paws hoof glove sock boot sleeve thumb finger wheel wheels tire tyre headlight taillight mirror
    turn click winger back lip jaw body eyelid deck case brow thigh leg paws door seat bumper tooth teeth
    """
)
# "right" before one of these only stresses it.
STRESSED = listed("there here now behind next beside above below in on at by before after under near over")
POSSESSIVES = listed("the his her their its a an my your this that")  # "left" before one of these is the verb
COLOURS = listed(
    """
    red green blue yellow orange purple pink cyan white black brown grey gray beige gold golden silver violet magenta
    turquoise teal maroon navy tan cream crimson lime indigo
    """
)
