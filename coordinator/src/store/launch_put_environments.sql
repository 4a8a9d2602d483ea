insert into fleet.environment (
    environment_id, os, os_version, os_build, kernel, agent_version, suite_version, mlx_version,
    mlx_device, mlx_architecture, blas, metallib_sha256, mlx_env, debug_build, nax_built,
    power_source, low_power_mode
)
select
    environment_id, os, os_version, os_build, kernel, agent_version, suite_version, mlx_version,
    mlx_device, mlx_architecture, blas, metallib_sha256, mlx_env::jsonb, debug_build, nax_built,
    power_source, low_power_mode
from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::boolean[], $15::boolean[],
    $16::text[], $17::boolean[]
) as environment (
    environment_id, os, os_version, os_build, kernel, agent_version, suite_version, mlx_version,
    mlx_device, mlx_architecture, blas, metallib_sha256, mlx_env, debug_build, nax_built,
    power_source, low_power_mode
)
on conflict (environment_id) do nothing
