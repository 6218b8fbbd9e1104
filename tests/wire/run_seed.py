"""Run the published snippet with the anthropic SDK of the interpreter that runs this file.

Usage: run_seed.py DOCUMENTS (beta|plain). The snippet stays as it is but for three things: it is
given `docs`, its sleeps are short, and `plain` takes `.beta` out of its calls.
"""

import sys
import time
from pathlib import Path
from unittest.mock import patch

SNIPPET = Path(__file__).with_name("seed_snippet.txt")
_LONGEST_SLEEP_S = 0.1

_sleep = time.sleep


def main() -> None:
    count, namespace = int(sys.argv[1]), sys.argv[2]
    code = SNIPPET.read_text(encoding="utf-8")
    if namespace == "plain":
        assert code.count("client.beta.messages.") == 3
        code = code.replace("client.beta.messages.", "client.messages.")
    docs = [f"document number {i} about the night train" for i in range(count)]
    with patch("time.sleep", lambda seconds: _sleep(min(seconds, _LONGEST_SLEEP_S))):
        exec(compile(code, str(SNIPPET), "exec"), {"docs": docs})


if __name__ == "__main__":
    main()
