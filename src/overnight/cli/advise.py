"""`overnight advise`: is this a job for a batch?"""

import os
import sys

import click

from overnight.cli.output import Output, output_options
from overnight.errors import InvalidRequest
from overnight.pricing.advice import (
    QUESTIONS,
    RULE_OF_THUMB,
    USE_CASES,
    Advice,
    Answers,
    Question,
)
from overnight.pricing.advice import (
    advise as decide,
)
from overnight.pricing.quantity import MAX_REQUESTS, number, whole

_HOURS = {"m": 60, "h": 1, "d": 24}
MAX_HOURS = 100_000
_WORDS = {"batch": "a batch", "real-time": "the real-time API", "either": "it depends"}
_COLORS = {"batch": "green", "real-time": "yellow", "either": "cyan"}


@click.command()
@click.argument("description", nargs=-1)
@click.option("--waiting/--not-waiting", default=None, help="Is a person waiting for the answer?")
@click.option("--deadline", metavar="TIME", help="When results are due: 30m, 6h, 2d.")
@click.option("--requests", metavar="N", help="How many at a time.")
@click.option("--repeats/--once", default=None, help="Does it run again and again?")
@click.option("--list", "as_list", is_flag=True, help="Print the ten known uses.")
@output_options
def advise(
    out: Output,
    description: tuple[str, ...],
    waiting: bool | None,
    deadline: str | None,
    requests: str | None,
    repeats: bool | None,
    as_list: bool,
) -> None:
    """Say whether a use is for a batch or for the real-time API.

    \b
    Example:
      overnight advise "nightly reports"
      overnight advise --not-waiting --deadline 24h --requests 10k
    """
    if as_list:
        _print_list(out)
        return
    answers = Answers(
        waiting=waiting,
        deadline_h=None if deadline is None else hours(deadline),
        requests=_requests(requests),
        repeats=repeats,
    )
    text = " ".join(description)
    if not text and answers == Answers():
        answers = _ask()
    _print(out, decide(text, answers))


def hours(text: str) -> float:
    """Read a time span in hours: `30m`, `6h`, `2d`, `6`. Raises: InvalidRequest."""
    written = text.strip().lower()
    unit = written[-1:] if written[-1:] in _HOURS else "h"
    digits = written.removesuffix(unit)
    hint = "write it as 30m, 6h or 2d"
    count = number(digits, name="--deadline", at_most=MAX_HOURS, unit="hours", hint=hint)
    return float(count) / 60 if unit == "m" else float(count) * _HOURS[unit]


def _requests(text: str | None) -> int | None:
    return None if text is None else whole(text, name="--requests", at_most=MAX_REQUESTS)


def _ask() -> Answers:
    """Ask the four questions; the first decisive answer ends it."""
    if not sys.stdin.isatty():
        raise InvalidRequest(
            "nothing to advise on, and no terminal to ask at",
            hint="describe it: overnight advise 'nightly reports', or use --not-waiting --deadline",
        )
    given: dict[str, object] = {}
    for question in QUESTIONS:
        given[question.name] = _answer(question)
        if given.get("waiting"):
            break
    return Answers(**given)  # type: ignore[arg-type]  # the kinds of QUESTIONS are Answers' types


def _answer(question: Question) -> object:
    match question.kind:
        case "yes or no":
            return click.confirm(question.text, err=True)
        case "hours":
            return hours(click.prompt(question.text, default="24h", err=True))
        case "count":
            return _requests(click.prompt(question.text, default="10k", err=True))


def _print(out: Output, advice: Advice) -> None:
    if out.as_json:
        out.document(
            {
                "verdict": advice.verdict,
                "reasons": list(advice.reasons),
                "use_cases": [case.name for case in advice.use_cases],
                "open_questions": list(advice.open_questions),
                "rule_of_thumb": RULE_OF_THUMB,
            }
        )
        return
    styled = click.style(_WORDS[advice.verdict], fg=_COLORS[advice.verdict], bold=True)
    colored = out.color and "NO_COLOR" not in os.environ
    out.data(styled if colored else _WORDS[advice.verdict])
    for reason in advice.reasons:
        out.data(f"  {reason}")
    for question in advice.open_questions:
        out.data(f"  ? {question}")
    out.note(f"\nhint: {_hint(advice)}")


def _hint(advice: Advice) -> str:
    if advice.verdict == "batch":
        return "overnight price --requests 10k --in 1.2k --out 300 says what it saves"
    if advice.verdict == "real-time":
        return "the same server answers POST /v1/messages at the standard price"
    return "overnight advise --not-waiting --deadline 24h answers the questions"


def _print_list(out: Output) -> None:
    if out.as_json:
        out.document(
            [
                {
                    "name": case.name,
                    "real_time": case.real_time,
                    "batch": case.batch,
                    "verdict": case.verdict,
                }
                for case in USE_CASES
            ]
        )
        return
    width = max(len(case.name) for case in USE_CASES)
    out.data(f"{'':{width}}  {'real-time':18}  batch")
    for case in USE_CASES:
        out.data(f"{case.name:{width}}  {case.real_time:18}  {case.batch}")
    out.data(f"\n{RULE_OF_THUMB}")
