insert into fleet.machine (
    machine_id, identity, name, hostname, os, os_version, os_build, arch, hardware_model, chip,
    gpu_cores, gpu_max_mhz, cpu_cores, cpu_tiers, memory_bytes, wired_limit_bytes, boot_id,
    virtual_machine, simulated, agent_version, labels, last_seen_at
) values (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
    now()
)
on conflict (machine_id) do update set
    hostname = excluded.hostname,
    os = excluded.os,
    os_version = excluded.os_version,
    os_build = excluded.os_build,
    arch = excluded.arch,
    hardware_model = excluded.hardware_model,
    chip = excluded.chip,
    gpu_cores = excluded.gpu_cores,
    gpu_max_mhz = excluded.gpu_max_mhz,
    cpu_cores = excluded.cpu_cores,
    cpu_tiers = excluded.cpu_tiers,
    memory_bytes = excluded.memory_bytes,
    wired_limit_bytes = excluded.wired_limit_bytes,
    boot_id = excluded.boot_id,
    virtual_machine = excluded.virtual_machine,
    simulated = excluded.simulated,
    agent_version = excluded.agent_version,
    labels = excluded.labels,
    last_seen_at = excluded.last_seen_at,
    refused_protocol = null
where machine.identity = excluded.identity
