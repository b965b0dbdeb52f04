"""How an interrupted compression goes on: what has been done is noted, with its result, in a work folder."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import numpy as np
import paddle

from files import publish, write_json

JOURNAL = "journal.json"


class WorkFolder:
    """A journal of finished steps, and states to go on from. It goes when all is done.

    Args:
        state_dir: where the folder is made.
        output_dir: where the compressed models go; for each one the folder is another.
        fingerprint: of all that decides the result; a work folder of something else is thrown away.
    """

    def __init__(self, state_dir: str, output_dir: Path, fingerprint: str):
        target = hashlib.sha256(str(output_dir.resolve()).encode()).hexdigest()
        self.folder = Path(state_dir) / f"compress_state-{target[:8]}"
        self.journal: Dict[str, Any] = {"fingerprint": fingerprint, "done": {}}
        found = self._read()
        if found.get("fingerprint") == fingerprint:
            self.journal = found
            print(f"going on with the interrupted compression in {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(self.folder / JOURNAL, self.journal)

    def once(self, name: str, step: Callable[[], Any]) -> Any:
        """The result of step(), which JSON must be able to hold; a step that an earlier run finished is not run."""
        if name not in self.journal["done"]:
            result = step()
            self.journal["done"][name] = result
            write_json(self.folder / JOURNAL, self.journal)
        return self.journal["done"][name]

    def is_done(self, name: str) -> bool:
        return name in self.journal["done"]

    def save(self, name: str, state: Dict) -> None:
        """Keep tensors; a kill leaves the state saved before."""
        with publish(self.folder) as temporary:
            paddle.save(state, str(temporary / f"{name}.pdparams"))

    def load(self, name: str) -> Optional[Dict]:
        """What was saved under a name; None when nothing was."""
        path = self.folder / f"{name}.pdparams"
        return paddle.load(str(path)) if path.exists() else None

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> Dict:
        try:
            return json.loads((self.folder / JOURNAL).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}


def fingerprint(trainer, settings: Dict) -> str:
    """A hash of the settings, the model's weights, the training arguments and the data."""
    digest = hashlib.sha256()
    arguments = {name: value for name, value in trainer.args.to_dict().items() if not name.endswith("_dir")}
    for name in ("local_rank", "current_device", "disable_tqdm", "run_name"):
        arguments.pop(name, None)
    digest.update(json.dumps([settings, arguments], sort_keys=True, default=str).encode())
    for name, value in trainer.model.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.numpy()).tobytes())
    for dataset in (trainer.train_dataset, trainer.eval_dataset):
        for i in range(len(dataset or ())):
            digest.update(json.dumps(dataset[i], sort_keys=True, default=str).encode())
    return digest.hexdigest()
