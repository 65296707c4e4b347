"""What a plan has to say to a person."""

from collections.abc import Callable

Tell = Callable[[str], object] | None
"""Is given sentences; None: they are printed."""


def say(sentence: str, tell: Tell) -> None:
    """Say a sentence to whom it may concern."""
    if tell is None:
        print(sentence)  # noqa: T201 - a plan runs at a prompt
    else:
        tell(sentence)
