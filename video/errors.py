"""The base of every error whose text is written for people."""


class UserError(ValueError):
    """An input or a state that a person can correct. The text names it, what is wrong, and what would be right.

    Code that shows errors (the command line, a prediction, a job) shows the text of a `UserError` as it is, and treats
    every other error as a fault of the program.
    """
