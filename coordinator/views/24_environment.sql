-- The software under which each machine measured in each run: the first thing to compare.
create view report.environment as
select
    used.run_id,
    used.machine_id,
    machine.name as machine,
    machine.chip,
    used.launches,
    environment.environment_id,
    environment.os,
    environment.os_version,
    environment.os_build,
    environment.kernel,
    environment.agent_version,
    environment.suite_version,
    environment.mlx_version,
    environment.mlx_device,
    environment.mlx_architecture,
    environment.blas,
    environment.debug_build,
    environment.nax_built,
    environment.metallib_sha256,
    environment.mlx_env,
    environment.power_source,
    environment.low_power_mode,
    environment.agent_commit,
    environment.suite_commit,
    environment.metallib_bytes,
    environment.wired_limit_bytes,
    environment.recommended_working_set_bytes,
    nullif(environment.mlx_sha256, '') as mlx_sha256,
    report.nax_expected(environment.os, environment.os_version, environment.mlx_architecture)
        as nax_expected
from (
    select job.run_id, lease.machine_id, launch.environment_id, count(*) as launches
    from fleet.launch
    join fleet.job using (job_id)
    join fleet.lease on lease.lease_id = launch.lease_id
    group by job.run_id, lease.machine_id, launch.environment_id
) as used
join fleet.machine using (machine_id)
join fleet.environment using (environment_id);
comment on view report.environment is 'One row per run, machine and distinct set of conditions there.';
comment on column report.environment.launches is 'launches under these conditions, counted or not';
comment on column report.environment.kernel is 'the kernel''s version';
comment on column report.environment.suite_version is 'version of the worker';
comment on column report.environment.agent_commit is 'commit that the agent was built from; with -modified where files differed from it, unknown where it was built without git';
comment on column report.environment.suite_commit is 'the same of the worker';
comment on column report.environment.metallib_bytes is 'size of the Metal kernels'' file; NULL without one';
comment on column report.environment.wired_limit_bytes is 'iogpu.wired_limit_mb as it was set; NULL where it was not';
comment on column report.environment.recommended_working_set_bytes is 'what Metal recommends to keep resident at most, which the worker sets as MLX''s wired limit; 0 without Metal';
comment on column report.environment.nax_expected is 'the GPU has matrix units that this system lets MLX use';
comment on column report.environment.mlx_sha256 is 'identity of MLX''s library; NULL where it was not told';
comment on column report.environment.mlx_version is 'version of MLX that ran';
comment on column report.environment.mlx_device is 'the device that MLX computed on';
comment on column report.environment.mlx_architecture is 'MLX''s name of the GPU''s generation';
comment on column report.environment.blas is 'the BLAS of the CPU backend';
comment on column report.environment.debug_build is 'the worker was built without optimisation: its samples are invalid';
comment on column report.environment.nax_built is 'the metallib holds the matrix kernels of M5 and later; NULL without a metallib';
comment on column report.environment.metallib_sha256 is 'identity of the Metal kernels';
comment on column report.environment.mlx_env is 'every MLX_ variable that the worker ran with';
comment on column report.environment.power_source is 'ac or battery; NULL where it cannot be read';
comment on column report.environment.low_power_mode is 'low-power mode was on; NULL where it cannot be read';
