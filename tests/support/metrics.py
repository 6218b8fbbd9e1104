"""`GET /metrics` as a test reads it: by Prometheus' own parser."""

from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from tests.support.api import Api


class Sample(NamedTuple):
    name: str
    labels: Mapping[str, str]
    value: float


class Scraped:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = list(text_string_to_metric_families(text))
        self.samples = [
            Sample(sample.name, sample.labels, sample.value)
            for family in self.families
            for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        """Sum up the samples of a name that have these labels; there must be one at least."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert found, f"no {name} with {labels}"
        return sum(found)

    def shown(self, name: str, label: str) -> dict[str, float]:
        """Give what is not 0 of a name, by the value of one label."""
        found: dict[str, float] = {}
        for sample in self.samples:
            if sample.name == name and sample.value:
                key = sample.labels[label]
                found[key] = found.get(key, 0) + sample.value
        return found


async def scrape(api: Api) -> Scraped:
    answer = await api.call("GET", "/metrics")
    assert answer.status == 200, answer
    return Scraped(answer.body.decode())
