"""Writes small checkpoints with mlx-lm's own writer: each architecture in bf16 and in 4 and 8 bits.

    python checkpoints.py FOLDER
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "agent/suites/tests"))

import parity

words = parity.tokenizer()
for kind in ("llama", "qwen2", "qwen3"):
    for precision in ("bf16", "q4", "q8"):
        folder = Path(sys.argv[1]) / f"{kind}-{precision}"
        parity.write(folder, parity.config(kind, kind == "qwen2"), precision, {})
        words.save(str(folder / "tokenizer.json"))
