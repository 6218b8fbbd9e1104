"""A reading in the text format of Prometheus."""

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import Metric as Family
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from overnight.dispatch.tally import Histogram
from overnight.telemetry.reading import Reading
from overnight.telemetry.table import TABLE, Metric

# In UTF-8.
MEDIA_TYPE = "text/plain; version=0.0.4"


def exposition(reading: Reading) -> bytes:
    """Write a reading down: every metric of the table, in its order."""
    return generate_latest(_Collected([_family(metric, reading) for metric in TABLE.values()]))


class _Collected:
    """What the library asks for families."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def _family(metric: Metric, reading: Reading) -> Family:
    if metric.kind == "histogram":
        return _histograms(metric, reading.histograms[metric.name])
    return _numbers(metric, reading.numbers[metric.name])


def _numbers(metric: Metric, found: dict[tuple[str, ...], float]) -> Family:
    made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = made(metric.name, metric.about, labels=metric.labels)
    for values, number in found.items():
        family.add_metric(values, number)
    return family


def _histograms(metric: Metric, found: dict[tuple[str, ...], Histogram]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.about, labels=metric.labels)
    for values, histogram in found.items():
        bounds = [*map(str, histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        family.add_metric(values, buckets=buckets, sum_value=histogram.sum)
    return family
