select
    model as "model!",
    model_source as "model_source!",
    model_digest as "model_digest!",
    model_type as "model_type!",
    dtype as "dtype!",
    quantisation as "quantisation!",
    parameters as "parameters!",
    weight_bytes as "weight_bytes!",
    decode_bytes as "decode_bytes!",
    kv_bytes_per_token as "kv_bytes_per_token!",
    synthetic as "synthetic!",
    config as "config!"
from report.model
where model_id in (select model_id from report.launch where run_id = $1)
order by parameters, model, weight_bytes desc, model_digest
