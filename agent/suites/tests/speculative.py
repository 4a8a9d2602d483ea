"""What mlx-lm's speculative decoding makes of the checkpoints that parity.py wrote.

    python speculative.py PARITY OUT

One target in f32 with drafts that agree with it always, sometimes and hardly ever. For each draft
length: the ids, and whether each was drafted. The drafts that are no checkpoint yet are written too.
"""

import json
import shutil
import sys
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_map
from mlx_lm.generate import generate_step, speculative_generate_step
from mlx_lm.utils import load_model, quantize_model, save_config, save_model

# Random tied weights soon repeat one token and hide what happens to a cache; untied ones do not.
TARGETS = {"untied": "llama-untied-f32", "tied": "llama-tied-f32"}
STRANGER = "qwen3-tied-f32"
TOKENS = 72
LENGTHS = (1, 2, 4, 8)


def noisy(model, share):
    """The same weights with some noise: a draft that is often right."""
    def spoil(value):
        deviation = mx.sqrt(mx.mean(value * value))
        return value + share * deviation * mx.random.normal(value.shape)

    model.update(tree_map(spoil, model.parameters()))
    return model


def drafts(parity, target, out):
    """Name and folder of each; those that are made here are written first."""
    yield "itself", target
    yield "stranger", parity / STRANGER
    made = {}
    model, settings = load_model(target)
    made["packed"] = quantize_model(model, dict(settings), 64, 4)
    for name, share in (("near", 0.05), ("far", 0.3)):
        mx.random.seed(7)
        model, settings = load_model(target)
        made[name] = noisy(model, share), settings
    for name, (model, settings) in made.items():
        folder = out / f"{target.name}-{name}"
        folder.mkdir(parents=True)
        save_model(folder, model)
        save_config(dict(settings), folder / "config.json")
        shutil.copy(target / "tokenizer.json", folder)
        yield name, folder


def main(parity, out):
    out.mkdir(parents=True)
    mx.random.seed(11)
    # The second is longer than a cache's first allocation, once what comes out is added.
    written = json.loads((parity / TARGETS["tied"] / "reference.json").read_text())
    prompts = {
        "text": written["prompt_ids"],
        "random": mx.random.randint(0, 619, (200,)).tolist(),
        "single": [5],
    }
    cases = []
    for target_name, checkpoint in TARGETS.items():
        target, _ = load_model(parity / checkpoint)
        for name, folder in drafts(parity, parity / checkpoint, out):
            draft, _ = load_model(folder)
            for kind, prompt in prompts.items():
                if target_name == "tied" and kind != "text":
                    continue
                ids = mx.array(prompt)
                plain = generate_step(ids, target, max_tokens=TOKENS)
                plain = [int(token) for token, _ in plain]
                for length in LENGTHS:
                    steps = list(speculative_generate_step(
                        ids, target, draft, num_draft_tokens=length, max_tokens=TOKENS,
                    ))
                    cases.append({
                        "target": target_name,
                        "target_folder": str(parity / checkpoint),
                        "draft": name,
                        "draft_folder": str(folder),
                        "prompt": kind,
                        "prompt_ids": prompt,
                        "draft_tokens": length,
                        "ids": [int(token) for token, _, _ in steps],
                        "from_draft": [bool(drafted) for _, _, drafted in steps],
                        "plain_ids": plain,
                    })
    (out / "reference.json").write_text(json.dumps(cases))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
