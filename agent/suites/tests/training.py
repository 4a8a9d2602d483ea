"""Trains the checkpoints of parity.py with mlx-lm's loss and MLX's AdamW, and writes the losses.

    python training.py CHECKPOINTS FOLDER

`FOLDER/NAME.json` has the batch and the loss of each step; `FOLDER/NAME.safetensors` the adapters that
a case with them starts from. Their B is not zero, so that A has a gradient from the first step.
"""

import json
import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map
from mlx_lm.tuner.trainer import default_loss
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model

STEPS = 8
EXAMPLES, POSITIONS = 3, 20
LORA = {"rank": 8, "scale": 20.0, "dropout": 0.0,
        "keys": {"self_attn.q_proj", "self_attn.v_proj", "self_attn.qkv_proj"}}
CASES = {
    "full": ["llama-untied-f32", "llama-tied-f32", "llama-biases-f32", "llama-sliding-9-f32",
             "llama-untied-bf16", "phi3-untied-f32", "phi3-tied-f32", "qwen2-tied-f32", "qwen2-odd-f32",
             "qwen3-untied-f32", "qwen3-tied-bf16", "qwen3_moe-untied-f32", "qwen3_moe-one-by-one-f32"],
    "lora": ["llama-untied-f32", "llama-untied-bf16", "llama-untied-q4", "phi3-tied-f32",
             "qwen2-untied-f32", "qwen3-tied-q8"],
}


def train(model, batch):
    optimizer = optim.AdamW(learning_rate=1e-4)
    lengths = mx.array([[0, POSITIONS + 1]] * EXAMPLES)
    loss_and_gradients = nn.value_and_grad(model, default_loss)
    losses = []
    for _ in range(STEPS):
        (loss, count), gradients = loss_and_gradients(model, batch, lengths)
        assert count.item() == EXAMPLES * POSITIONS
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
        losses.append(loss.item())
    return losses


def main(out, checkpoints):
    out.mkdir()
    for mode, names in CASES.items():
        for seed, name in enumerate(names):
            mx.random.seed(seed)
            model, settings = load_model(checkpoints / name)
            if mode == "lora":
                model.freeze()
                linear_to_lora_layers(model, len(model.layers), LORA)
                model.update(tree_map(
                    lambda value: 0.02 * mx.random.normal(value.shape), model.trainable_parameters()))
                adapters = dict(tree_flatten(model.trainable_parameters()))
                mx.save_safetensors(str(out / f"{mode}-{name}.safetensors"), adapters)
            batch = mx.random.randint(0, settings["vocab_size"], (EXAMPLES, POSITIONS + 1))
            losses = train(model, batch)
            (out / f"{mode}-{name}.json").write_text(json.dumps({"batch": batch.tolist(), "losses": losses}))


if __name__ == "__main__":
    main(Path(sys.argv[2]), Path(sys.argv[1]))
