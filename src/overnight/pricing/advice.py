"""When to use a batch: ten known uses, one rule of thumb, and four questions. Data and decisions.

Source: the published table "When to Use Batch vs Real-Time API", read 2026-11-22.
"""

import re
from typing import Literal

import msgspec

Verdict = Literal["batch", "real-time", "either"]

RULE_OF_THUMB = (
    "If a person is waiting in front of a screen for the answer, use the real-time API. If the "
    "result is stored, processed or read later, a batch halves the cost at the same quality."
)
BATCH_WINDOW_H = 24
# Fewer requests than this are hardly worth the trouble of a batch.
FEW_REQUESTS = 20

_FREE = "the result is stored, processed or read later"
_WAITING = "a person waits for each answer"


class UseCase(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the published table."""

    name: str
    # What the table says of each API, in its words.
    real_time: str
    batch: str
    verdict: Verdict
    why: str
    # Words by which a description is recognised.
    words: frozenset[str]


def _needs_real_time(name: str, words: str) -> UseCase:
    return UseCase(
        name=name, real_time="Yes, required", batch="No", verdict="real-time", why=_WAITING,
        words=frozenset(words.split()),
    )  # fmt: skip


def _ideal_for_batch(name: str, words: str) -> UseCase:
    return UseCase(
        name=name, real_time="Wasteful", batch="Yes, ideal", verdict="batch", why=_FREE,
        words=frozenset(words.split()),
    )  # fmt: skip


USE_CASES = (
    _needs_real_time(
        "User-facing chatbots",
        "chat chatbot chatbots assistant conversation support user customer",
    ),
    _needs_real_time(
        "Interactive coding tools",
        "coding code completion autocomplete ide editor copilot interactive",
    ),
    UseCase(
        name="CI/CD quality checks",
        real_time="Yes, if blocking",
        batch="Yes, if async is OK",
        verdict="either",
        why="real-time while a merge waits for the check, a batch when the check runs on its own",
        words=frozenset({"ci", "cd", "check", "checks", "merge", "pull", "review", "lint"}),
    ),
    _ideal_for_batch(
        "Bulk document labeling",
        "label labels labeling labelling classify classification tag tagging annotate annotation "
        "categorize bulk documents",
    ),
    _ideal_for_batch(
        "Nightly reports & summaries",
        "nightly night daily weekly monthly report reports summaries digest scheduled cron",
    ),
    _ideal_for_batch(
        "Model evaluation pipelines",
        "evaluation evaluations eval evals evaluate benchmark grade grading score model pipelines",
    ),
    _ideal_for_batch(
        "Bulk document summarization",
        "summarize summarise summary summarization contracts papers archive bulk documents "
        "extract extraction translate translation",
    ),
    _ideal_for_batch(
        "Training data generation",
        "training train synthetic dataset data generation generate descriptions fine-tuning "
        "finetuning",
    ),
    _needs_real_time(
        "Real-time sentiment scoring",
        "sentiment live real-time realtime stream streaming instant scoring",
    ),
    _ideal_for_batch(
        "Offline content moderation",
        "moderation moderate offline content backlog abuse spam",
    ),
)


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What decides; None is not answered."""

    # Is a person waiting for each answer?
    waiting: bool | None = None
    # Hours until the results are needed.
    deadline_h: float | None = None
    # Requests in one go.
    requests: int | None = None
    # Does it happen again and again?
    repeats: bool | None = None


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    verdict: Verdict
    # One sentence each, the decisive one first.
    reasons: tuple[str, ...]
    # The rows of the table that fit the description, the best first.
    use_cases: tuple[UseCase, ...] = ()
    # What is not known and could change the verdict.
    open_questions: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One question of the questionnaire; `name` is the field of `Answers`."""

    name: str
    text: str
    kind: Literal["yes or no", "hours", "count"]


QUESTIONS = (
    Question(name="waiting", text="Is a person waiting in front of a screen?", kind="yes or no"),
    Question(name="deadline_h", text="In how many hours must the results be there?", kind="hours"),
    Question(name="requests", text="How many requests are it at a time?", kind="count"),
    Question(name="repeats", text="Does it run again and again?", kind="yes or no"),
)


def advise(description: str = "", answers: Answers = Answers()) -> Advice:  # noqa: B008  frozen
    """Say whether a use is for a batch. Answers count more than the description."""
    found = matching(description)
    decided = _by_answers(answers)
    if decided is not None:
        verdict, reasons = decided
        return Advice(verdict=verdict, reasons=reasons, use_cases=found[:1])
    if found:
        best = found[0]
        return Advice(
            verdict=best.verdict, reasons=(f"{best.name}: {best.why}",), use_cases=found,
            open_questions=_open(answers) if best.verdict == "either" else (),
        )  # fmt: skip
    return Advice(verdict="either", reasons=(RULE_OF_THUMB,), open_questions=_open(answers))


def matching(description: str) -> tuple[UseCase, ...]:
    """Give the rows of the table that a description names, the best first, at most three."""
    words = set(re.findall(r"[a-z][a-z-]*", description.lower()))
    scored = []
    for position, case in enumerate(USE_CASES):
        title = set(re.findall(r"[a-z][a-z-]*", case.name.lower()))
        score = 2 * len(words & title) + len(words & case.words)
        if score:
            scored.append((-score, position, case))
    return tuple(case for _, _, case in sorted(scored, key=lambda item: item[:2]))[:3]


def _by_answers(answers: Answers) -> tuple[Verdict, tuple[str, ...]] | None:
    if answers.waiting:
        return "real-time", ("a person waits for the answer",)
    deadline = answers.deadline_h
    if deadline is not None and deadline < BATCH_WINDOW_H:
        within = f"a batch may take {BATCH_WINDOW_H} hours, and the results are due in {deadline:g}"
        if deadline < 1:
            return "real-time", (within,)
        return "either", (f"{within}: it may come too late",)
    if answers.waiting is None and deadline is None:
        return None
    reasons = ["nobody waits: half the price, the same quality"]
    if answers.requests is not None and answers.requests < FEW_REQUESTS:
        reasons.append(f"with {answers.requests} requests the saving is small")
    if answers.repeats:
        reasons.append("it repeats, so the saving does too")
    return "batch", tuple(reasons)


def _open(answers: Answers) -> tuple[str, ...]:
    decisive = ("waiting", "deadline_h")
    return tuple(q.text for q in QUESTIONS if q.name in decisive and not _given(answers, q.name))


def _given(answers: Answers, name: str) -> bool:
    return getattr(answers, name) is not None
