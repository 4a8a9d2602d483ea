"""Writes small random checkpoints with mlx-lm's own writer, and what mlx-lm computes from them.

    python parity.py FOLDER

Each case is a folder with the checkpoint and `reference.json`: prompt ids, the scores at the prompt's
last position for several ways of chunking the prompt, and greedy ids. Sizes are odd on purpose: heads
are shared by groups, their width is no power of two, the vocabulary is prime.
"""

import json
import sys
from pathlib import Path

import mlx.core as mx
import mlx_lm.utils
import numpy as np
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.generate import generate_step
from mlx_lm.models import cache, gemma3_text, llama, phi3, qwen2, qwen3, qwen3_moe
from mlx_lm.utils import get_total_parameters, load_model, quantize_model, save_config, save_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

GREEDY = 64
VOCAB = 619
ARCHITECTURES = {"gemma3_text": gemma3_text, "llama": llama, "mistral": llama, "phi3": phi3, "qwen2": qwen2, "qwen3": qwen3,
                 "qwen3_moe": qwen3_moe}
DTYPES = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
TORCH = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}

TEXT = """The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs.
Seventeen machines measure what one claims; Größe, naïveté and 東京 need more than one byte each.
for i in range(10): print(f"{i:>3} {i * i}")  # numbers, code, punctuation!?
"""


def config(kind, tied, **more):
    """Multiples of 64 where a quantised projection sums, and nowhere else."""
    sizes = {
        "llama": dict(hidden_size=192, num_attention_heads=8, num_key_value_heads=2, head_dim=40),
        # Windows shorter than the prompt; every third layer sees everything.
        "gemma3_text": dict(
            hidden_size=192, num_attention_heads=4, num_key_value_heads=2, head_dim=48,
            sliding_window=12, sliding_window_pattern=3, query_pre_attn_scalar=40, num_hidden_layers=4,
            hidden_act="gelu_pytorch_tanh",
        ),
        "phi3": dict(hidden_size=192, num_attention_heads=8, num_key_value_heads=2),
        "qwen2": dict(hidden_size=192, num_attention_heads=8, num_key_value_heads=2),
        "qwen3": dict(hidden_size=128, num_attention_heads=4, num_key_value_heads=2, head_dim=80),
        "qwen3_moe": dict(
            hidden_size=128, num_attention_heads=4, num_key_value_heads=2, head_dim=80,
            num_experts=10, num_experts_per_tok=3, moe_intermediate_size=64, decoder_sparse_step=1,
            mlp_only_layers=[], norm_topk_prob=True,
        ),
    }[{"mistral": "llama"}.get(kind, kind)]
    return {
        "model_type": kind,
        "num_hidden_layers": 2,
        "intermediate_size": 320,
        "vocab_size": VOCAB,
        "rms_norm_eps": 1e-5 if kind == "llama" else 1e-6,
        "rope_theta": 10000.0 if kind == "llama" else 1000000.0,
        "max_position_embeddings": 512,
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        **sizes,
        **more,
    }


def odd(kind):
    """No multiple of anything; only for plain weights."""
    # mlx-lm's qwen2 and phi3 have no head_dim of their own.
    width = {} if kind in ("phi3", "qwen2") else {"head_dim": 50}
    return dict(
        hidden_size=150 if width else 180, num_attention_heads=6, num_key_value_heads=3,
        intermediate_size=217, **width,
    )


def cases():
    """Name, configuration, precision, and how the row departs from the plain way of writing it."""
    for kind in ("llama", "phi3", "qwen2", "qwen3", "qwen3_moe"):
        for tied in (True, False):
            for precision in ("f32", "bf16", "q4", "q8"):
                # On a CPU, MLX multiplies plain experts in f32 only.
                if (kind, precision) == ("qwen3_moe", "bf16"):
                    continue
                name = f"{kind}-{'tied' if tied else 'untied'}-{precision}"
                yield name, config(kind, tied), precision, {}
        yield f"{kind}-odd-f32", config(kind, False, **odd(kind)), "f32", {"prompt": 301}
        if kind != "qwen3_moe":
            yield f"{kind}-f16", config(kind, True), "f16", {}
        # The cache is 256 positions long at first, and grows in the middle of the decode.
        yield f"{kind}-grow-f32", config(kind, True), "f32", {"prompt": 230}
        yield f"{kind}-single-token-f32", config(kind, False), "f32", {"prompt": 1}

    llama3 = dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=32,
    )
    for precision in ("f32", "bf16", "q4", "q8"):
        for tied in (True, False):
            name = f"llama-llama3-{'tied' if tied else 'untied'}-{precision}"
            yield name, config("llama", tied, rope_scaling=llama3), precision, {"prompt": 70}

    scalings = {
        "linear": {"type": "linear", "factor": 3.0},
        "dynamic": {"rope_type": "dynamic", "factor": 2.0},
        "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
    }
    for name, scaling in scalings.items():
        changed = config("llama", True, rope_scaling=scaling, max_position_embeddings=128)
        yield f"llama-{name}-f32", changed, "f32", {"prompt": 150}
    more = {
        "mrope": {"type": "mrope", "mrope_section": [4, 8, 8]},
        "proportional": {"rope_type": "proportional", "factor": 1.5, "partial_rotary_factor": 0.5},
        # As some writers leave the older key behind.
        "null-type": {"type": None, **llama3},
    }
    for name, scaling in more.items():
        yield f"llama-{name}-f32", config("llama", True, rope_scaling=scaling), "f32", {"prompt": 90}
    sliding = dict(
        num_hidden_layers=3, sliding_window=24,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )
    # Shorter than the window, longer, and one that leaves it while it is decoded.
    for prompt in (9, 20, 100):
        yield f"llama-sliding-{prompt}-f32", config("llama", True, **sliding), "f32", {"prompt": prompt}
    yield "llama-sliding-bf16", config("llama", False, **sliding), "bf16", {"prompt": 100}
    nothing_slides = dict(use_sliding_window=True, max_window_layers=2, sliding_window=16)
    yield "qwen2-nothing-slides-f32", config("qwen2", True, **nothing_slides), "f32", {"prompt": 60}
    untold = config("phi3", False)
    del untold["tie_word_embeddings"]
    yield "phi3-defaults-f32", untold, "f32", {}
    for scaling in ({}, {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}):
        name = "scaled" if scaling else "untied"
        # Tied is a file without an output projection, whatever the configuration says.
        for precision in ("f32", "bf16", "q4", "q8"):
            yield f"gemma3_text-{name}-{precision}", config("gemma3_text", False, **scaling), precision, {}
    for precision in ("f32", "bf16", "q4", "f16"):
        yield f"gemma3_text-tied-{precision}", config("gemma3_text", True), precision, {"no_head": True}
    yield "gemma3_text-grow-f32", config("gemma3_text", True), "f32", {"prompt": 230}
    yield "llama-chat-f32", config("llama", True), "f32", {"chat": True}
    yield "qwen2-yarn-bf16", config("qwen2", True, rope_scaling=scalings["yarn"]), "bf16", {"prompt": 150}
    # Phi-4-mini rotates a part of each head, Phi-3.5 all of it.
    for name, share, precision in (("whole", 1.0, "f32"), ("part", 0.75, "f32"), ("part", 0.75, "bf16")):
        dims = int(24 * share)
        long = [1.0 + 0.3 * pair for pair in range(dims // 2)]
        changed = config(
            "phi3", True, partial_rotary_factor=share, original_max_position_embeddings=64,
            rope_scaling={"type": "longrope", "long_factor": long, "short_factor": [1.0] * (dims // 2)},
        )
        yield f"phi3-longrope-{name}-{precision}", changed, precision, {"prompt": 150}
    some_dense = dict(num_hidden_layers=4, mlp_only_layers=[1], decoder_sparse_step=2, norm_topk_prob=False)
    yield "qwen3_moe-some-dense-f32", config("qwen3_moe", False, **some_dense), "f32", {"prompt": 30}
    yield "qwen3_moe-one-by-one-f32", config("qwen3_moe", True), "f32", {"split_experts": True}
    yield "llama-traditional-f32", config("llama", True, rope_traditional=True), "f32", {}
    yield "llama-biases-f32", config("llama", False, attention_bias=True, mlp_bias=True), "f32", {}
    yield "llama-biases-q4", config("llama", False, attention_bias=True, mlp_bias=True), "q4", {}
    yield "llama-sharded-bf16", config("llama", False), "bf16", {"shards": 3}
    yield "mistral-f32", config("mistral", False), "f32", {}
    yield "llama-q3-g32", config("llama", True), "q3", {"group_size": 32}
    yield "llama-q6-g32", config("llama", False), "q6", {"group_size": 32}
    yield "llama-mixed-q4", config("llama", False), "q4", {"mixed": True}
    # Defaults: one key head per head, the head's width from the hidden size, tied where not said.
    bare = config("llama", True)
    for key in ("num_key_value_heads", "head_dim", "tie_word_embeddings", "rope_theta"):
        del bare[key]
    yield "llama-defaults-f32", bare, "f32", {}
    # As transformers 5 writes it.
    yield "llama-nested-rope-f32", config("llama", True, rope_scaling=llama3), "f32", {"nested": True}
    yield "qwen3-nested-rope-f32", config("qwen3", True), "f32", {"nested": True}


def gather_qmm(*args, global_scale=None, **more):
    """mlx-lm 0.32.2 hands over an argument, always None here, that MLX 0.32.2 does not know."""
    assert global_scale is None
    return PLAIN_GATHER_QMM(*args, **more)


PLAIN_GATHER_QMM, mx.gather_qmm = mx.gather_qmm, gather_qmm


def tokenizer():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([TEXT] * 4, trainer)
    return made


# With what templates in the wild use: methods of Python, filters, functions, blocks cut of their lines.
CHAT = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'].strip() %}
{%- else %}
    {%- set system = "Today is a day. Be brief." %}
{%- endif %}
<|system|>
{{ system }}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception("roles must alternate") }}
    {%- endif %}
    {% if message.role == 'user' %}
    <|user|>
    {% endif %}
    {{- message.content.split('</think>')[-1].lstrip('\\n') | trim }}{{ eos_token }}
{% endfor %}
{%- if add_generation_prompt is defined and add_generation_prompt %}
<|assistant|> {{ {"thinking": false} | tojson }}
{% endif %}"""


def chat(folder):
    """A chat template, and what transformers makes of the suite's questions."""
    from transformers import PreTrainedTokenizerFast

    source = (Path(__file__).parent.parent / "src/suites/generate.rs").read_text()
    questions = source.split("QUESTIONS: [&str; 4] = [")[1].split("];")[0]
    questions = [line.strip()[1:-2] for line in questions.strip().splitlines()]
    words = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token="<|end|>", eos_token="<|end|>",
    )
    words.chat_template = CHAT
    rendered = [
        words.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True,
        )
        for question in questions
    ]
    settings = {"bos_token": {"content": "<|end|>"}, "eos_token": "<|end|>", "chat_template": CHAT}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat.json").write_text(json.dumps(rendered))


def random_model(settings, precision):
    module = ARCHITECTURES[settings["model_type"]]
    model = module.Model(module.ModelArgs.from_dict(settings))

    def spread(path, value):
        # Fresh norms are ones and would hide one that is left out or taken twice.
        if "norm" in path:
            value = 1.0 + 0.2 * mx.random.normal(value.shape)
        return value.astype(DTYPES.get(precision, mx.bfloat16))

    model.update(tree_map_with_path(spread, model.parameters()))
    mx.eval(model.parameters())
    return model


def write(folder, settings, precision, how):
    folder.mkdir(parents=True)
    model = random_model(settings, precision)
    if how.get("no_head"):
        model.sanitize({})
    settings = dict(settings, torch_dtype=TORCH.get(precision, "bfloat16"))
    if precision.startswith("q"):
        def mixed(path, _):
            if path.endswith("v_proj"):
                return {"group_size": 32, "bits": 8}
            return not path.endswith("layers.1.mlp.down_proj")

        model, settings = quantize_model(
            model, settings, how.get("group_size", 64), int(precision[1:]),
            quant_predicate=mixed if how.get("mixed") else None,
        )
    shards = how.get("shards", 1)
    whole = mlx_lm.utils.make_shards
    if shards > 1:
        def split(weights):
            names = sorted(weights)
            return [{name: weights[name] for name in names[part::shards]} for part in range(shards)]
        mlx_lm.utils.make_shards = split
    save_model(folder, model)
    mlx_lm.utils.make_shards = whole
    save_config(dict(settings), folder / "config.json")


def nest_rope(folder):
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    scaling = settings.pop("rope_scaling", None) or {"rope_type": "default"}
    settings["rope_parameters"] = {"rope_theta": settings.pop("rope_theta"), **scaling}
    settings["dtype"] = settings.pop("torch_dtype")
    path.write_text(json.dumps(settings, indent=2))


def split_experts(folder):
    """As transformers writes them: each expert's matrices by themselves."""
    path = folder / "model.safetensors"
    weights = {}
    for name, value in mx.load(str(path)).items():
        if ".switch_mlp." in name:
            for expert in range(value.shape[0]):
                weights[name.replace(".switch_mlp.", f".experts.{expert}.")] = value[expert]
        else:
            weights[name] = value
    mx.eval(weights)
    mx.save_safetensors(str(path), weights, metadata={"format": "mlx"})
    (folder / "model.safetensors.index.json").unlink()


def last_logits(model, ids, chunk):
    """Scores at the last position: all but it in chunks, as mlx-lm prefills, then it alone."""
    state = cache.make_prompt_cache(model)
    before = ids[:-1]
    while before.size > 0:
        model(before[None, :chunk], cache=state)
        mx.eval([layer.state for layer in state])
        before = before[chunk:]
    return model(ids[None, -1:], cache=state)[0, -1].astype(mx.float32)


def reference(folder, prompt, precision):
    model, _ = load_model(folder)
    ids = mx.array(prompt)
    logits = {str(chunk): last_logits(model, ids, chunk).tolist() for chunk in (2048, 16, 7)}
    full = model(ids[None])[0, -1].astype(mx.float32).tolist()
    steps = generate_step(ids, model, max_tokens=GREEDY if precision == "f32" else 8)
    weights = tree_flatten(model.parameters())
    return {
        "prompt_ids": prompt,
        "greedy_ids": [int(token) for token, _ in steps],
        "logits": logits,
        "full": full,
        "parameters": get_total_parameters(model),
        "weight_bytes": sum(value.nbytes for _, value in weights),
    }


# Packed in memory by the engine, and by mlx-lm as `mlx_lm.convert` does it.
PACKED = {
    "llama-untied-bf16": [(4, 64), (8, 32)],
    "llama-tied-f32": [(4, 32)],
    "llama-odd-f32": [(4, 64)],
    "llama-biases-f32": [(8, 64)],
    "qwen2-tied-bf16": [(4, 64)],
    "qwen3-untied-f32": [(4, 64), (8, 64)],
    "qwen3_moe-tied-f32": [(4, 32)],
    "qwen3_moe-one-by-one-f32": [(4, 64)],
}


def log_softmax(model, ids):
    scores = np.array(model(ids[None])[0].astype(mx.float32), dtype=np.float64)
    scores -= scores.max(axis=-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def packed(folder, prompt, bits, group_size):
    """What packing comes to and what it costs on the prompt, predicted token by token."""
    ids = mx.array(prompt)
    plain, settings = load_model(folder)
    p = log_softmax(plain, ids[:-1])
    model, _ = quantize_model(plain, settings, group_size, bits)
    q = log_softmax(model, ids[:-1])
    follow = np.array(prompt[1:])
    at = np.arange(len(follow))
    weights = tree_flatten(model.parameters())
    return {
        "bits": bits,
        "group_size": group_size,
        "logits": last_logits(model, ids, 2048).tolist(),
        "weight_bytes": sum(value.nbytes for _, value in weights),
        "perplexity": float(np.exp(-q[at, follow].mean())),
        "baseline_perplexity": float(np.exp(-p[at, follow].mean())),
        "kl_mean": float((np.exp(p) * (p - q)).sum(axis=-1).mean()),
        "top1_agree": float((p.argmax(axis=-1) == q.argmax(axis=-1)).mean()),
    }


def main(out):
    words = tokenizer()
    prompt_text = TEXT.splitlines()[1]
    text_ids = words.encode(prompt_text).ids
    for seed, (name, settings, precision, how) in enumerate(cases()):
        mx.random.seed(seed)
        folder = out / name
        write(folder, settings, precision, how)
        words.save(str(folder / "tokenizer.json"))
        length = how.get("prompt", 0)
        prompt = mx.random.randint(0, VOCAB, (length,)).tolist() if length else text_ids
        result = reference(folder, prompt, precision)
        result["precision"] = precision
        if not length:
            result["prompt_text"] = prompt_text
        if how.get("nested"):
            nest_rope(folder)
        if how.get("chat"):
            chat(folder)
        result["packed"] = [packed(folder, prompt, *packing) for packing in PACKED.get(name, [])]
        if how.get("split_experts"):
            split_experts(folder)
        (folder / "reference.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
