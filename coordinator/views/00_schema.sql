-- The views are a contract with users and with report-gen; the tables under them are not. They are
-- rebuilt whole after every migration, so that no view is ever of another version than its tables.
drop schema if exists report cascade;
create schema report;
comment on schema report is
    'Stable views of everything that was measured. Start with report.run, report.case_summary and report.sample.';
