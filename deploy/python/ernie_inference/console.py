"""What a command says and takes: its parser, how it ends, notes and tables on the screen."""

import argparse
import sys
from typing import Any, Callable, Collection, Dict, List, NoReturn, Optional

from tqdm import tqdm

from ernie_inference.errors import InputError
from ernie_inference.text_output import print_anything


class Parser(argparse.ArgumentParser):
    """Its errors are InputError, so that a command ends with one line whatever was wrong; flags are not abbreviated.

    Other kinds of parsers get that too by naming this class before their own among their bases.
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__(
            *args, **{"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **options}
        )

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")


MOST = 2**31  # what C++ takes for a whole number


def number_from(least: float, kind: type = int, most: Optional[float] = None) -> Callable[[str], Any]:
    """What argparse calls a type: the numbers from `least` on, whole ones unless `kind` is float; up to `most`, where
    there is one."""
    if most is not None:
        return _number(kind, lambda value: least <= value <= most, f"give a number from {least} to {most}")
    return _number(kind, lambda value: value >= least, f"give a number from {least} on")


def number_above(limit: float) -> Callable[[str], float]:
    """The numbers above `limit`, likewise."""
    return _number(float, lambda value: value > limit, f"give a number above {limit}")


def filled(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """What argparse calls a type: what `kind` makes of a text. An empty one, as of a variable of the shell that is not
    set, is refused, and not taken for a flag that is not there."""

    def parse(text: str) -> Any:
        if not text.strip():
            raise argparse.ArgumentTypeError("there is nothing after it: give a value, or leave the flag out")
        return kind(text)

    return parse


def _number(kind: type, is_wanted: Callable[[Any], bool], advice: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no {'whole ' * (kind is int)}number: {advice}") from None
        if not (-MOST < value < MOST and is_wanted(value)):  # not so for nan and inf either
            raise argparse.ArgumentTypeError(f"{text}: {advice}")
        return value

    return parse


def run_command(main: Callable[[], None], interrupted: str = "interrupted") -> None:
    """Run a command; what the user or the system makes impossible is one line on stderr and exit status 2.

    Args:
        interrupted: what to say after Ctrl-C, which is exit status 130.
    """
    print_anything()
    try:
        main()
    except (InputError, OSError) as error:
        tqdm.write(f"error: {error}", file=sys.stderr)  # on a line of its own, also beside a progress bar
        sys.exit(2)
    except KeyboardInterrupt:
        tqdm.write(interrupted, file=sys.stderr)
        sys.exit(130)


def note(text: str) -> None:
    """One line on stderr that the user should see, though nothing stops."""
    print(f"note: {text}", file=sys.stderr)


def print_row(**columns: str) -> None:
    """A table of one row on the screen."""
    print_table([columns])


def print_table(rows: List[Dict[str, str]], right: Collection[str] = ()) -> None:
    """A table on the screen; all rows have the same columns.

    Args:
        right: the columns of numbers, which end below each other instead of beginning there.
    """
    columns = list(rows[0])
    lines = [columns, *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    align = [str.rjust if column in right else str.ljust for column in columns]
    for cells in lines:
        print("  ".join(to(cell, width) for to, cell, width in zip(align, cells, widths)).rstrip())
