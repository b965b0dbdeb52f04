"""What is said of what went wrong."""


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line that says what, where and what to do."""


def reason_of(error: BaseException) -> str:
    """The line of a C++ error that says what happened, without the stack trace around it."""
    text = str(error).split("Error Message Summary:")[-1]
    lines = [line.strip() for line in text.split("\n") if line.strip(" \t\r-")]
    return lines[0] if lines else type(error).__name__
