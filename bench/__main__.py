"""Measure the speed targets: `script/bench [NAME…]`."""

import argparse
import signal
import sys

import msgspec
from bench import nginx, report
from bench.figure import Figure
from bench.figures import BENCHMARKS
from bench.process import BenchFailed
from bench.run import Run

# Fewer pairs are a quick look, which leaves the table alone.
_MIN_PAIRS = 5


def main() -> int:
    given = _arguments()
    # Leave by way of every `with` block: no server and no folder stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(pairs=given.pairs, concurrency=given.concurrency, nginx=nginx.find())
    if run.nginx is None:
        print("note: nginx is not installed (Debian: nginx-light); Python answers", file=sys.stderr)
    figures: list[Figure] = []
    failed = False
    for name in given.names or BENCHMARKS:
        print(f"{name}: {BENCHMARKS[name].__doc__}", file=sys.stderr)
        try:
            figures += _measure(name, run)
        except BenchFailed as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            failed = True
    if given.pairs >= _MIN_PAIRS:
        report.write(figures, BENCHMARKS)
    return 1 if failed else 0


def _measure(name: str, run: Run) -> list[Figure]:
    """Run one benchmark and print its figures as they come; all of them, or none is kept."""
    figures: list[Figure] = []
    where = {"machine": report.machine(), "date": report.today(), "commit": report.commit()}
    for bare in BENCHMARKS[name](run):
        figure = msgspec.structs.replace(bare, **where)
        print(msgspec.json.encode(figure).decode(), flush=True)
        figures.append(figure)
    return figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", type=_known, help=", ".join(BENCHMARKS))
    parser.add_argument(
        "--pairs", type=int, default=_MIN_PAIRS, metavar="N",
        help=f"measure N times; below {_MIN_PAIRS} bench/RESULTS.md is left alone",
    )  # fmt: skip
    parser.add_argument(
        "--concurrency", type=int, default=64, metavar="N",
        help="requests sent at a time, where the benchmark does not say",
    )  # fmt: skip
    return parser.parse_args()


def _known(name: str) -> str:
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"no benchmark is called {name}; {', '.join(BENCHMARKS)}")
    return name


if __name__ == "__main__":
    sys.exit(main())
