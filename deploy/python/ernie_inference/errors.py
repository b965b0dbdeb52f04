"""What a user did wrong."""


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line that says what, where and what to do."""
