"""How much the tests try: a little with every change, much more on demand (`make test-long`, which sets `LONG`).

What belongs here: the one switch. What does not: what is tried; a short form proves the same as a long one, by
fewer cases.
"""

import os

from hypothesis import settings

LONG = bool(os.environ.get("LONG"))
_TIMES = 20


def examples(few: int) -> settings:
    """How many examples a test tries whose examples take long; the others go by the profile."""
    return settings(max_examples=few * _TIMES if LONG else few)
