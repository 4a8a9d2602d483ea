select
    machine as "machine!",
    chip as "chip!",
    gpu_cores,
    memory_bytes as "memory_bytes!",
    limit_bytes,
    context_tokens,
    decode_ceiling_tps,
    model as "model!",
    dtype,
    quantisation,
    model_source,
    model_digest
from report.model_fit
where model_id in (select model_id from report.launch where run_id = $1)
order by model, model_source, model_digest, dtype, machine
