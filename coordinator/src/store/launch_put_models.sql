insert into fleet.model (
    digest, dtype, label, source, model_type, quantisation, parameters, weight_bytes, decode_bytes,
    kv_bytes_per_token, synthetic, config
)
select
    digest, dtype, label, source, model_type, quantisation, parameters, weight_bytes, decode_bytes,
    kv_bytes_per_token, synthetic, config::jsonb
from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::bigint[], $11::boolean[], $12::text[]
) as model (
    digest, dtype, label, source, model_type, quantisation, parameters, weight_bytes, decode_bytes,
    kv_bytes_per_token, synthetic, config
)
on conflict (digest, dtype, label) do nothing
