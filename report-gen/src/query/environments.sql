select
    machine as "machine!",
    launches as "launches!",
    os as "os!",
    os_version as "os_version!",
    os_build as "os_build!",
    kernel as "kernel!",
    agent_version as "agent_version!",
    agent_commit as "agent_commit!",
    suite_version as "suite_version!",
    suite_commit as "suite_commit!",
    mlx_version as "mlx_version!",
    mlx_sha256,
    mlx_device as "mlx_device!",
    mlx_architecture as "mlx_architecture!",
    blas as "blas!",
    debug_build as "debug_build!",
    nax_built,
    nax_expected as "nax_expected!",
    mlx_env as "mlx_env!",
    power_source,
    low_power_mode
from report.environment
where run_id = $1
order by machine, launches desc, environment_id
