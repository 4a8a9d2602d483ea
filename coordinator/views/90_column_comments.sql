-- A column of one name means the same in every view: said once here, for every view that has no
-- comment of its own on it.
do $$
declare
    missing record;
begin
    for missing in
        select column_of.attrelid::regclass::text as view_name, column_of.attname, meaning.text
        from (values
            ('agent_version', 'version of the agent'),
            ('arch', 'CPU architecture'),
            ('at', 'when'),
            ('baseline', 'the machine that it is judged against'),
            ('baseline_chip', 'the baseline''s chip'),
            ('baseline_estimate', 'the baseline''s estimate, in unit'),
            ('baseline_id', 'the baseline''s machine_id'),
            ('baseline_launches', 'launches of the baseline'),
            ('baseline_model_digest', 'SHA-256 of the baseline''s weights'),
            ('baseline_quantisation', 'the baseline''s quantisation'),
            ('bandwidth_gbps', 'memory bandwidth that is published for the chip, in GB/s; NULL where it is not known'),
            ('boot_id', 'identity of the machine''s boot: it changes with a restart'),
            ('case_key', 'the case''s parameters as text, equal on every machine and in every run'),
            ('chip', 'the machine''s chip'),
            ('counted', 'finished under its live lease; others are evidence and stay out of every summary'),
            ('cv', 'coefficient of variation between launches: standard deviation over mean of their medians'),
            ('decode_bytes', 'bytes that one decoded token reads'),
            ('description', 'what it means, in one line'),
            ('df', 'Welch''s degrees of freedom'),
            ('differences', 'what must be equal and is not (or a side''s invalid numbers): with any, there is no ratio'),
            ('direction', 'which way is better: higher, lower or neutral'),
            ('dtype', 'precision of the weights: bf16, f16 or f32'),
            ('ended_at', 'when it ended; NULL while it has not'),
            ('enrolled_at', 'when the machine joined the fleet'),
            ('environment_id', 'hash of all conditions of a launch; joins report.environment'),
            ('event_id', 'key, in the order of events'),
            ('finished_at', 'when it ended; NULL while it has not'),
            ('exit_code', 'the process''s exit code; NULL if a signal ended it'),
            ('fp32_tflops', 'f32 operations per second of the chip''s GPU without matrix units, in 10^12: published, or by cores and clock'),
            ('hostname', 'the machine''s own name of itself'),
            ('invalid_launches', 'launches with a doubt that makes the number mean something else'),
            ('imported', 'it stands for somebody else''s machine, as a file tells of it: it takes no work'),
            ('iteration', 'number of the pass within its launch'),
            ('iteration_id', 'key of the iteration'),
            ('iterations', 'measured iterations behind the number'),
            ('job_id', 'key; joins report.job'),
            ('jobs', 'jobs of the run'),
            ('jobs_succeeded', 'jobs that succeeded'),
            ('jobs_unfinished', 'jobs that wait or run'),
            ('label', 'measured, simulated or imported: never mix them unasked'),
            ('launch', 'number of the launch within its case'),
            ('launch_id', 'key; joins report.launch'),
            ('launches', 'counted launches behind the number'),
            ('launches_counted', 'launches that succeeded and count'),
            ('launches_failed', 'launches that ended in any other way'),
            ('launches_total', 'launches that the plan asks for'),
            ('lease_id', 'key of the lease'),
            ('low_power_mode', 'low-power mode was on'),
            ('machine', 'the machine''s name'),
            ('machine_id', 'key; joins report.machine'),
            ('max', 'largest value of a measured iteration, in unit'),
            ('metric', 'what was measured; joins report.metric'),
            ('min', 'smallest value of a measured iteration, in unit'),
            ('mode', 'how the suite ran the pass: cold, warm, prefill, pipelined, per_token'),
            ('model', 'the model''s name'),
            ('model_digest', 'SHA-256 of the weights: the model''s identity'),
            ('model_id', 'key; joins report.model'),
            ('model_source', 'where the plan takes the model from'),
            ('os', 'operating system'),
            ('os_build', 'the operating system''s build'),
            ('os_version', 'the operating system''s version'),
            ('phase', 'warmup or measured; summaries use measured'),
            ('plan', 'name of the plan'),
            ('plan_file', 'the plan''s file as it was submitted'),
            ('plan_sha256', 'identity of the plan''s text'),
            ('plan_toml', 'the plan''s text'),
            ('quantisation', 'how the weights are quantised; none if they are not'),
            ('reason', 'why, in words; empty where there is nothing to explain'),
            ('reasons', 'doubts about the number, as codes; joins report.reason'),
            ('run_id', 'key; joins report.run'),
            ('severity', 'invalid (the number does not mean what its name says) or tainted (the conditions were doubtful)'),
            ('signal', 'the signal that ended the process'),
            ('simulated', 'its numbers come from a simulation'),
            ('source', 'who measured, with what, where it was not this fleet; NULL of what was measured here'),
            ('started_at', 'when it began'),
            ('submitted_at', 'when the run was submitted'),
            ('suite', 'what was measured: load, prefill, decode, ...'),
            ('tainted', 'measured under doubtful conditions, see reasons'),
            ('tainted_launches', 'launches measured under doubtful conditions'),
            ('token_ids_sha256', 'identity of the tokens that came out'),
            ('unit', 'unit of the values'),
            ('valid', 'no doubt that makes the number mean something else'),
            ('warmup_iterations', 'iterations before the measured ones')
        ) as meaning (name, text)
        join pg_attribute as column_of on column_of.attname = meaning.name
        join pg_class as relation on relation.oid = column_of.attrelid
        where relation.relnamespace = 'report'::regnamespace
            and relation.relkind = 'v'
            and column_of.attnum > 0
            and col_description(column_of.attrelid, column_of.attnum) is null
    loop
        execute format(
            'comment on column %s.%I is %L', missing.view_name, missing.attname, missing.text
        );
    end loop;
end
$$;
