-- Greedy decoding has one answer for the same weights, prompt, kernels and kind of chip: who wrote
-- which. Kinds of chips round 16-bit sums differently and may part, so each is a group by itself.
create view report.token_identity as
with written as (
    select
        md5(concat_ws('|',
            run.label, run.protocol ->> 'seed', job.suite, launch.case_key, region.mode,
            model.digest, model.dtype,
            coalesce(substring(machine.chip from 'Apple M[0-9]+'), machine.chip),
            environment.mlx_version, environment.mlx_device, environment.mlx_architecture,
            environment.metallib_sha256, environment.blas, environment.mlx_env
        )) as text_id,
        job.run_id,
        region.machine_id,
        machine.name as machine,
        machine.chip,
        coalesce(substring(machine.chip from 'Apple M[0-9]+'), machine.chip) as chip_family,
        job.suite,
        model.label as model,
        model.dtype,
        model.digest as model_digest,
        launch.case_key,
        region.mode,
        text.token_ids_sha256,
        count(*) as launches
    from fleet.launch_region as region
    cross join lateral unnest(region.texts) as text (token_ids_sha256)
    join fleet.launch using (launch_id)
    join fleet.job using (job_id)
    join fleet.run using (run_id)
    join fleet.machine on machine.machine_id = region.machine_id
    join fleet.model using (model_id)
    join fleet.environment using (environment_id)
    where launch.counted
    group by text_id, job.run_id, region.machine_id, machine.machine_id, job.suite, model.model_id,
        launch.case_key, region.mode, text.token_ids_sha256
)
select
    written.*,
    min(token_ids_sha256) over same <> max(token_ids_sha256) over same as differs
from written
window same as (partition by text_id);
comment on view report.token_identity is
    'One row per run, machine, case and text that was written there, by the tokens'' hash.';
comment on column report.token_identity.text_id is
    'what must give one text: case, seed, weights, MLX with its kernels and settings, family of chips';
comment on column report.token_identity.chip_family is 'the chip without its size, such as Apple M3';
comment on column report.token_identity.launches is 'counted launches that wrote this text';
comment on column report.token_identity.differs is
    'other texts were written for the same text_id, here or elsewhere, in this run or another';
