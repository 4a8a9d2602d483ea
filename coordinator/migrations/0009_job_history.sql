-- How long a job takes is guessed from the newest of its kind.
create index job_of_kind on fleet.job (suite, model_label, ended_at desc) where state = 'succeeded';
