-- The fleet: one row per Mac (or Linux host) by stable identity.
create view report.machine as
select
    machine_id,
    name as machine,
    machine.chip,
    machine.gpu_cores,
    gpu_max_mhz,
    cpu_cores,
    cpu_tiers,
    memory_bytes,
    wired_limit_bytes,
    hardware_model,
    hostname,
    os,
    os_version,
    os_build,
    arch,
    virtual_machine,
    simulated,
    drained_at is not null as drained,
    labels || operator_labels as labels,
    agent_version,
    enrolled_at,
    last_seen_at,
    published.bandwidth_gbps,
    published.fp32_tflops,
    published.peak_tflops,
    machine.imported,
    drained_at,
    drain_reason,
    approved_at is not null as approved
from fleet.machine
left join fleet.chip as published
    on published.chip = machine.chip
    and published.gpu_cores is not distinct from machine.gpu_cores;
comment on view report.machine is 'One row per enrolled machine, as its agent last described it, and per machine of imported results.';
comment on column report.machine.gpu_cores is 'GPU cores; NULL where the system does not say';
comment on column report.machine.gpu_max_mhz is 'highest clock of the GPU; NULL where the system does not say';
comment on column report.machine.cpu_cores is 'CPU cores of all tiers; 0 where an import does not say';
comment on column report.machine.cpu_tiers is 'CPU cores by tier, with the system''s own names of the tiers';
comment on column report.machine.memory_bytes is 'main memory; 0 where an import does not say';
comment on column report.machine.wired_limit_bytes is 'most memory the GPU may wire; NULL where there is no such limit';
comment on column report.machine.hardware_model is 'the maker''s model identifier';
comment on column report.machine.virtual_machine is 'it runs inside another machine, its timings are tainted';
comment on column report.machine.drained is 'it takes no new work';
comment on column report.machine.drained_at is 'since when; NULL where it takes work';
comment on column report.machine.drain_reason is 'why, in an operator''s words';
comment on column report.machine.approved is 'an operator let it in, or none was asked';
comment on column report.machine.labels is 'labels of its agent and its operator, which plans select by';
comment on column report.machine.peak_tflops is 'the same of its matrix units, where it has them';
comment on column report.machine.last_seen_at is 'last heartbeat';
