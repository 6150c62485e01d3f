"""Times on the command line: seconds, or minutes and hours before them."""

import re

import typer

_PLACE = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d+)?)", re.ASCII)
_MOST_SECONDS = 1e9


def seconds_of(text: str) -> float:
    """Return the seconds that `text` means: 90, 1:30, 0:01:30.5."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no time, expected one such as 90, 1:30 or 0:01:30.5")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    if found[2] is not None and seconds >= 60:
        raise typer.BadParameter(f"{text!r} has {found[3]} seconds, expected below 60")
    place = hours * 3600 + minutes * 60 + seconds
    if place > _MOST_SECONDS:
        raise typer.BadParameter(f"{text!r} is more than {_MOST_SECONDS:g} seconds")
    return place
