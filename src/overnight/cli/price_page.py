"""`overnight price --page`: the calculator page as one file that works without a network."""

from datetime import date
from pathlib import Path

from overnight.cli.output import Output
from overnight.console import calculator, render
from overnight.errors import InvalidRequest
from overnight.pricing import shelf
from overnight.pricing.book import ListedBook, PriceBook
from overnight.pricing.link import Question


def write(
    path: str,
    out: Output,
    *,
    book: PriceBook,
    on: date,
    base_url: str,
    question: Question | None = None,
) -> None:
    """Write the page; a user's own book is its first, `question` what it opens with.

    Raises: InvalidRequest when the file cannot be written.
    """
    own = book if isinstance(book, ListedBook) and book.name not in shelf.NAMES else None
    page = calculator.page(on=on, base_url=base_url, own=own, question=question)
    html = render.self_contained(page)
    try:
        Path(path).write_text(html, encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(
            f"--page: {path}: {error.strerror}", hint="name a file in a folder you can write to"
        ) from None
    if out.as_json:
        out.document({"page": path, "size_bytes": len(html.encode())})
    else:
        out.note(f"wrote {path}: open it in any browser, no network needed")
