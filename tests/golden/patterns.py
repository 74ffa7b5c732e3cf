"""Writes patterns.json: how Python's tokenizers (Oniguruma) split texts by patterns in which other engines differ.

    venv/bin/python tests/golden/patterns.py
"""

import json
from pathlib import Path

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

TEXTS = [
    "a\nb\n\nc\n",
    "ß SS ss ſt Straße",
    "aaaaaaa bb",
    "x\u200dy z\u200c",
    "12٣ Ab_é\r\n \t\u00a0q\n",
    "",
    "\n",
    "it's  I'LL don't\r\nok",
]
PATTERNS = [
    "^.",
    "$",
    "(?m:.)+",
    "(a{1,3}+)b?",
    "a{1,3}+b",
    "a{2}?",
    "a{,2}",
    r"\w+",
    r"\bx|\b.",
    r"\Z",
    r"\R",
    r"\p{^L}+",
    r"[[:alpha:]]+",
    r"[[:upper:][:digit:]]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"\s+(?!\S)|\s+",
    r"\h+",
    r"[a-c&&[^b]]",
    r"[+--]|~",
    r"(?<=a)\n",
    r"\x41|\u00e9",
    "(?m)a.b",
    "(?i)k",
]


def pieces(pattern: str, text: str) -> list[str]:
    return [piece for piece, _ in Split(Regex(pattern), "isolated").pre_tokenize_str(text)]


def main() -> None:
    cases = [[pattern, [pieces(pattern, text) for text in TEXTS]] for pattern in PATTERNS]
    rows = ",\n".join(json.dumps(case) for case in cases)
    file = Path(__file__).parent / "patterns.json"
    file.write_text(f'{{"texts": {json.dumps(TEXTS)},\n"cases": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
