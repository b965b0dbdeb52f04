"""What a model answered about a text, for people to correct."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from ernie_suite.annotation.records import Span


@dataclass
class Prelabel:
    """An answer in the terms of annotation tools.

    Attributes:
        text: what is annotated.
        beside: what else belongs to it, by field: a question, the second text of a pair, an id.
        labels: of the whole text.
        spans: in characters.
        scores: how certain each of the spans is, 0 to 1; empty where the answer does not say.
        score: how certain the answer is as a whole; None likewise.
    """

    text: str
    beside: Dict[str, Any] = field(default_factory=dict)
    labels: List[str] = field(default_factory=list)
    spans: List[Span] = field(default_factory=list)
    scores: List[float] = field(default_factory=list)
    score: Optional[float] = None

    @property
    def is_empty(self) -> bool:
        return not (self.labels or self.spans)


@dataclass(frozen=True)
class Names:
    """What a project of Label Studio calls things, and the model whose answers these are.

    Attributes:
        text: the key of the text in a task's data.
        from_name, to_name: the names of the control and of the object that it is for, in the labeling configuration.
    """

    text: str = "text"
    from_name: str = "label"
    to_name: str = "text"
    model_version: str = ""
