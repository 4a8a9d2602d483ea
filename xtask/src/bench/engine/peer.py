"""Times mlx-lm and prints one JSON object, a list of values by name.

    python peer.py inference|batch|training FOLDER PROMPT_TOKENS NEW_TOKENS BATCH EXAMPLE_TOKENS ITERATIONS

`inference` is timed as `mlx_lm.benchmark` does it: the loop around `generate_step` is that of
`stream_generate` without tokenizer and detokenizer, which the checkpoints here do not have: what is left
out is in mlx-lm's favour. `batch` drives `BatchGenerator` as `batch_generate` does. `training` is the
compiled step of `mlx_lm.tuner.trainer.train`, on one batch.
"""

import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx_lm.generate import BatchGenerator, generate_step, generation_stream, wired_limit
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.tuner.trainer import default_loss
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model


def trial(model, prompt, new):
    tic = time.perf_counter()
    for n, _ in enumerate(generate_step(prompt, model, max_tokens=new)):
        if n == 0:
            prompt_time = time.perf_counter() - tic
            tic = time.perf_counter()
    return len(prompt) / prompt_time, (n + 1) / (time.perf_counter() - tic)


def host_us(model, prompt, new):
    """Median times of a step to build its graph, and to build it and hand it to MLX, in
    generate_step's own order."""
    cache = make_prompt_cache(model)
    with mx.stream(generation_stream):
        model(prompt[:-1][None], cache=cache)
        mx.eval([c.state for c in cache])
        built, handed_over = [], []

        def step(token):
            tic = time.perf_counter()
            logits = model(token[None], cache=cache)[:, -1, :]
            logprobs = logits - mx.logsumexp(logits, keepdims=True)
            token, logprobs = mx.argmax(logprobs, axis=-1), logprobs.squeeze(0)
            built.append(time.perf_counter() - tic)
            mx.async_eval(token, logprobs)
            handed_over.append(time.perf_counter() - tic)
            return token

        token = step(prompt[-1:])
        for _ in range(new - 1):
            following = step(token)
            token.item()
            token = following
        token.item()
    return [statistics.median(times[1:]) * 1e6 for times in (built, handed_over)]


def inference(model, vocab, work):
    prompt = mx.random.randint(0, vocab, (work.prompt,))
    mx.eval(prompt)
    with wired_limit(model, [generation_stream]):
        trial(model, prompt, work.new)
        trials = [trial(model, prompt, work.new) for _ in range(work.iterations)]
        host = [host_us(model, prompt, work.new) for _ in range(work.iterations)]
    prompt_tps, generation_tps = zip(*trials)
    built, handed_over = zip(*host)
    return {
        "prompt_tps": prompt_tps,
        "generation_tps": generation_tps,
        "build_us": built,
        "host_us": handed_over,
    }


def batch(model, vocab, work):
    prompts = mx.random.randint(0, vocab, (work.batch, work.prompt)).tolist()

    def trial():
        generator = BatchGenerator(model, max_tokens=work.new)
        tic = time.perf_counter()
        generator.insert(prompts)
        times, tokens = [], 0
        while responses := generator.next_generated():
            tokens += len(responses)
            times.append(time.perf_counter() - tic)
        generator.close()
        assert tokens == work.batch * work.new and len(times) == work.new
        return times[0] * 1e3, work.batch * (work.new - 1) / (times[-1] - times[0])

    trial()
    first_ms, tps = zip(*[trial() for _ in range(work.iterations)])
    return {"batch_ttft_ms": first_ms, "batch_tps": tps}


def steps_ms(model, vocab, work):
    optimizer = optim.AdamW(learning_rate=1e-4)
    loss_and_gradients = nn.value_and_grad(model, default_loss)
    state = [model.state, optimizer.state, mx.random.state]

    @partial(mx.compile, inputs=state, outputs=state)
    def step(ids, lengths):
        (loss, count), gradients = loss_and_gradients(model, ids, lengths)
        optimizer.update(model, gradients)
        return loss, count

    model.train()
    ids = mx.random.randint(0, vocab, (work.batch, work.example + 1))
    lengths = mx.array([[0, work.example + 1]] * work.batch)
    mx.eval(ids, lengths)
    times = []
    for _ in range(2 + work.iterations):
        tic = time.perf_counter()
        loss, count = step(ids, lengths)
        mx.eval(state, loss, count)
        times.append((time.perf_counter() - tic) * 1e3)
        assert count.item() == work.batch * work.example
    return times[2:]


def training(model, vocab, work):
    full = steps_ms(model, vocab, work)
    model.freeze()
    keys = {"self_attn.q_proj", "self_attn.v_proj", "self_attn.qkv_proj"}
    config = {"rank": 8, "scale": 20.0, "dropout": 0.0, "keys": keys}
    linear_to_lora_layers(model, len(model.layers), config)
    return {"full_ms": full, "lora_ms": steps_ms(model, vocab, work)}


PARTS = {"inference": inference, "batch": batch, "training": training}


def main():
    part, folder, *numbers = sys.argv[1:]
    names = ("prompt", "new", "batch", "example", "iterations")
    work = SimpleNamespace(**dict(zip(names, map(int, numbers), strict=True)))
    model, config = load_model(Path(folder))
    mx.random.seed(0)
    print(json.dumps(PARTS[part](model, config["vocab_size"], work)))


if __name__ == "__main__":
    main()
