-- A list of machines says what each measured last.
create index lease_of_machine on fleet.lease (machine_id, granted_at desc);
