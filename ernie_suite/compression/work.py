"""The state that an interrupted distillation goes on from."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Callable, Dict, Optional

from ernie_suite.runs import DIGEST, json_digest, read_json, what_changed

import paddle

from ernie_inference.files import publish


class WorkFolder:
    """One file that holds the whole state of a training, so that a kill leaves the state before or the one after.

    Args:
        state_dir: where the folder is made.
        output_dir: where the compressed models go; for each one the folder is another.
        settings: all that decides the result; trainings with other settings have files of their own beside it.
    """

    def __init__(self, state_dir: str, output_dir: Path, settings: Dict):
        target = hashlib.sha256(str(output_dir.resolve()).encode()).hexdigest()
        self.folder = Path(state_dir) / f"compress_state-{target[:8]}"
        self.settings = settings
        digest = json_digest(settings)[len(DIGEST) :]
        self.file = self.folder / f"training-{digest[:8]}.pdparams"

    def save(self, state: Dict) -> None:
        """Keep a state: tensors, texts and numbers in dicts."""
        with publish(self.folder) as temporary:
            text = json.dumps(self.settings, default=str)
            (temporary / self._settings_of(self.file).name).write_text(text + "\n", encoding="utf-8")
            paddle.save(state, str(temporary / self.file.name))

    def load(self, say: Callable[[str], object] = print) -> Optional[Dict]:
        """The state of an interrupted training with the same settings; None when there is none. Says what it leaves."""
        for other in sorted(set(self.folder.glob("training-*.pdparams")) - {self.file}):
            changed = what_changed(read_json(self._settings_of(other)), self.settings)
            say(f"an interrupted distillation with other settings ({changed}) is kept in {other}; this one starts anew")
        if not self.file.exists():
            return None
        try:
            return paddle.load(str(self.file))
        except Exception as error:  # whatever Paddle makes of a damaged file
            reason = " ".join(str(error).split())[:100]
            say(f"{self.file} cannot be read ({reason}): the distillation starts anew")
            return None

    def remove(self) -> None:
        """Remove this training's state."""
        for path in (self.file, self._settings_of(self.file)):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # others' states are in it, or it was never made
            self.folder.rmdir()

    @staticmethod
    def _settings_of(file: Path) -> Path:
        return file.with_suffix(".json")
