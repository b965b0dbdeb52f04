"""The state that an interrupted training of pruning goes on from."""

import hashlib
import shutil
from pathlib import Path
from typing import Dict, Optional

import paddle

from files import publish
from runs import what_changed

STATE_FILE = "training.pdparams"


class WorkFolder:
    """One file that holds the whole state of a training, so that a kill leaves the state before or the one after.

    Args:
        state_dir: where the folder is made.
        output_dir: where the compressed models go; for each one the folder is another.
        settings: all that decides the result; the state of a training with others is thrown away.
    """

    def __init__(self, state_dir: str, output_dir: Path, settings: Dict):
        target = hashlib.sha256(str(output_dir.resolve()).encode()).hexdigest()
        self.folder = Path(state_dir) / f"compress_state-{target[:8]}"
        self.settings = settings

    def save(self, state: Dict) -> None:
        """Keep a state: tensors, texts and numbers in dicts."""
        with publish(self.folder) as temporary:
            paddle.save({**state, "settings": self.settings}, str(temporary / STATE_FILE))

    def load(self) -> Optional[Dict]:
        """The state of an interrupted training with the same settings; None when there is none."""
        path = self.folder / STATE_FILE
        if not path.exists():
            return None
        try:
            state = paddle.load(str(path))
            changed = what_changed(state["settings"], self.settings)
        except Exception as error:  # whatever Paddle makes of a damaged file
            changed = f"its state cannot be read: {' '.join(str(error).split())[:100]}"
        if not changed:
            return state
        print(f"the interrupted pruning in {self.folder} does not go on, it starts anew ({changed})")
        self.remove()
        return None

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
