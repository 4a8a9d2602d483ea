"""Times mlx-lm as `mlx_lm.benchmark` does, and its host time per token, and prints one JSON object.

    python peer.py FOLDER PROMPT_TOKENS NEW_TOKENS ITERATIONS

The loop around `generate_step` is that of `stream_generate` without tokenizer and detokenizer, which
the checkpoints here do not have: what is left out is in mlx-lm's favour.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import mlx.core as mx
from mlx_lm.generate import generate_step, generation_stream, wired_limit
from mlx_lm.models.cache import make_prompt_cache
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


def main():
    folder, prompt_tokens, new, iterations = sys.argv[1], *map(int, sys.argv[2:5])
    model, config = load_model(Path(folder))
    mx.random.seed(0)
    prompt = mx.random.randint(0, config["vocab_size"], (prompt_tokens,))
    mx.eval(prompt)
    with wired_limit(model, [generation_stream]):
        trial(model, prompt, new)
        trials = [trial(model, prompt, new) for _ in range(iterations)]
        host = [host_us(model, prompt, new) for _ in range(iterations)]
    prompt_tps, generation_tps = zip(*trials)
    built, handed_over = zip(*host)
    print(
        json.dumps(
            {
                "prompt_tps": prompt_tps,
                "generation_tps": generation_tps,
                "build_us": built,
                "host_us": handed_over,
            }
        )
    )


if __name__ == "__main__":
    main()
