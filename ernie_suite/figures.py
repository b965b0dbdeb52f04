"""Where the figures of a model go."""

import hashlib
from pathlib import Path
from typing import Optional, Tuple, Union


def figures_file(
    prefix: Union[str, Path],
    dataset: str,
    engine: Tuple[str, str, str],
    split: str = "dev",
    max_samples: Optional[int] = None,
    max_seq_length: Optional[int] = None,
    data_dir: Optional[str] = None,
    long_texts: Optional[str] = None,
) -> Path:
    """Where infer.py writes what it finds of the model PREFIX on a data set.

    PREFIX.tnews.paddle-cpu-fp32.json is the whole dev split as the model was trained. What else was asked for stands in
    the name too (PREFIX.tnews-test-first100.paddle-cpu-fp32.json), so that one does not overwrite the other.

    Args:
        engine: backend, device and precision.
        split, max_samples, max_seq_length, data_dir, long_texts: infer.py's flags of these names.
    """
    parts = [dataset]
    if data_dir is not None:
        folder = Path(data_dir).resolve()
        parts.append(f"of-{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:6]}")
    if split != "dev":
        parts.append(split)
    if max_samples is not None:
        parts.append(f"first{max_samples}")
    if max_seq_length is not None:
        parts.append(f"{max_seq_length}tokens")
    if long_texts is not None:
        parts.append(long_texts)
    return Path(f"{prefix}.{'-'.join(parts)}.{'-'.join(engine)}.json")
