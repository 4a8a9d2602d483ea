insert into fleet.environment (
    environment_id, os, os_version, os_build, kernel, agent_version, agent_commit, suite_version,
    suite_commit, mlx_version, mlx_device, mlx_architecture, blas, metallib_sha256, metallib_bytes,
    mlx_env, debug_build, nax_built, power_source, low_power_mode, wired_limit_bytes,
    recommended_working_set_bytes, mlx_sha256
)
select
    environment_id, os, os_version, os_build, kernel, agent_version, agent_commit, suite_version,
    suite_commit, mlx_version, mlx_device, mlx_architecture, blas, metallib_sha256, metallib_bytes,
    mlx_env::jsonb, debug_build, nax_built, power_source, low_power_mode, wired_limit_bytes,
    recommended_working_set_bytes, mlx_sha256
from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bigint[],
    $16::text[], $17::boolean[], $18::boolean[], $19::text[], $20::boolean[], $21::bigint[],
    $22::bigint[], $23::text[]
) as environment (
    environment_id, os, os_version, os_build, kernel, agent_version, agent_commit, suite_version,
    suite_commit, mlx_version, mlx_device, mlx_architecture, blas, metallib_sha256, metallib_bytes,
    mlx_env, debug_build, nax_built, power_source, low_power_mode, wired_limit_bytes,
    recommended_working_set_bytes, mlx_sha256
)
on conflict (environment_id) do nothing
