select
    machine as "machine!",
    chip as "chip!",
    gpu_cores,
    cpu_cores as "cpu_cores!",
    memory_bytes as "memory_bytes!",
    hardware_model as "hardware_model!",
    os as "os!",
    os_version as "os_version!",
    virtual_machine as "virtual_machine!",
    simulated as "simulated!",
    imported as "imported!"
from report.machine
where machine_id in (select machine_id from report.job where run_id = $1)
order by machine
