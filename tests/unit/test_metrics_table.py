"""The table of metrics: names as Prometheus wants them, labels that are explained."""

import re
from pathlib import Path

import pytest

from overnight.telemetry.table import LABELS, SECTIONS, TABLE, Metric

GUIDE = Path(__file__).parents[2] / "docs/guides/metrics.md"
PARTS = ("", "_bucket", "_sum", "_count")


@pytest.mark.parametrize("metric", TABLE.values(), ids=lambda metric: metric.name)
def test_a_metric_is_named_by_the_rules(metric: Metric) -> None:
    assert re.fullmatch(r"overnight(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.about.endswith(".") and "|" not in metric.about
    if metric.about.startswith("Time "):
        assert "_seconds" in metric.name


def test_no_metric_is_listed_twice() -> None:
    assert sum(map(len, SECTIONS.values())) == len(TABLE)


def test_each_label_is_explained_and_used() -> None:
    assert {label for metric in TABLE.values() for label in metric.labels} == LABELS.keys()


def test_questions_of_the_guide_ask_for_what_there_is() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    questions = "\n".join(re.findall(r"```promql\n(.*?)```", text, re.DOTALL))
    known = {name + part: metric for name, metric in TABLE.items() for part in PARTS}
    asked = re.findall(r"(overnight_\w+)(?:\{(.*?)\})?", questions)
    assert len(asked) >= 3
    for name, matchers in asked:
        labels = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", matchers))
        assert labels <= set(known[name].labels), name
