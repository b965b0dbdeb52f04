"""The vocabulary that the tokens of a description are counted with."""

from pathlib import Path
from typing import Optional

from ernie_suite.arguments import DEFAULT_MODEL
from ernie_suite.models import load_tokenizer

from ernie_inference.console import note
from ernie_inference.errors import InputError
from ernie_inference.wordpiece import WordPiece


def find_vocabulary(model: Optional[str], file: Optional[Path]) -> Optional[WordPiece]:
    """The tokenizer of a vocab.txt or of a model; of the default model where neither is given.

    None, with a note, where that one cannot be had: without a network, lengths are counted in characters.

    Raises:
        InputError: what was given cannot be used.
    """
    if file is not None:
        try:
            return WordPiece.from_file(file)
        except (OSError, ValueError) as error:
            raise InputError(f"{file} cannot be used as the vocabulary ({error}): give a WordPiece vocab.txt") from None
    try:
        return load_tokenizer(model or DEFAULT_MODEL)[1]
    except InputError:
        if model is not None:
            raise
        note(
            f"the vocabulary of {DEFAULT_MODEL} cannot be had, so lengths are counted in characters: name the folder "
            "of your model with --model_name_or_path, or a vocab.txt with --vocab_file"
        )
        return None
