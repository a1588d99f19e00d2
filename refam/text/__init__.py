"""Reading an expression: words, their roles, the head noun phrase, and cues of place and size."""
