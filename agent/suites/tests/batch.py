"""What mlx-lm's BatchGenerator writes for prompts of different lengths, from the checkpoints of parity.py.

    python batch.py CHECKPOINTS FOLDER

The folder gets `batch.json`: by checkpoint, prompts and the greedy ids of each.
"""

import json
import sys
from pathlib import Path

from mlx_lm.generate import BatchGenerator
from mlx_lm.utils import load_model

NEW = 24
# Every architecture, scaled positions, windows that the shorter prompts do not fill, and a cache that
# grows in the middle.
NAMES = [
    "gemma3_text-scaled-f32", "llama-untied-f32", "llama-llama3-untied-f32", "llama-linear-f32",
    "llama-yarn-f32", "llama-sliding-100-f32", "llama-traditional-f32", "phi3-longrope-part-f32",
    "phi3-untied-f32", "qwen2-odd-f32", "qwen2-grow-f32", "qwen3-untied-f32", "qwen3_moe-untied-f32",
]


def batch(folder):
    model, settings = load_model(folder)
    reference = json.loads((folder / "reference.json").read_text())
    prompt = reference["prompt_ids"]
    length = len(prompt)
    # The longest neither first nor last, and none a part of another.
    prompts = [prompt[: max(2, length // 3)], prompt, prompt[length // 2 :], prompt[-2:]]
    generator = BatchGenerator(model, max_tokens=NEW)
    places = {uid: place for place, uid in enumerate(generator.insert(prompts, [NEW] * len(prompts)))}
    ids = [[] for _ in prompts]
    while responses := generator.next_generated():
        for response in responses:
            ids[places[response.uid]].append(int(response.token))
    generator.close()
    return {"prompts": prompts, "ids": ids}


def main(checkpoints, out):
    out.mkdir(parents=True)
    made = {name: batch(checkpoints / name) for name in NAMES}
    (out / "batch.json").write_text(json.dumps(made))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
