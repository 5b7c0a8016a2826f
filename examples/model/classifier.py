"""A naive-Bayes text classifier that learns one sample at a time."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field

_WORD = re.compile(r"[a-z0-9]+")


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@dataclass
class Classifier:
    """Counts of words for each label; ``smoothing`` is added to every count (Laplace)."""

    smoothing: float = 1.0
    samples: Counter[str] = field(default_factory=Counter)
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def learn(self, text: str, label: str) -> None:
        self.samples[label] += 1
        self.counts.setdefault(label, Counter()).update(words(text))

    def predict(self, text: str) -> dict[str, float]:
        """The probability of every known label, the likeliest first; empty before anything was learned."""
        vocabulary = {word for counter in self.counts.values() for word in counter}
        total = sum(self.samples.values())
        scores = {}
        for label, counter in self.counts.items():
            denominator = counter.total() + self.smoothing * (len(vocabulary) + 1)
            likelihood = sum(math.log((counter[word] + self.smoothing) / denominator) for word in words(text))
            scores[label] = math.log(self.samples[label] / total) + likelihood
        if not scores:
            return {}
        highest = max(scores.values())
        weights = {label: math.exp(score - highest) for label, score in scores.items()}
        norm = sum(weights.values())
        return {label: weight / norm for label, weight in sorted(weights.items(), key=lambda item: (-item[1], item[0]))}
