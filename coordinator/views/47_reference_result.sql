-- What others have published of chips, beside which ours may be shown: another engine, another model, other
-- conditions, so it is never compared by a verdict. Metrics are named as an import of them would name them.
create view report.reference_result as
select
    reference.chip,
    reference.gpu_cores,
    reference.engine,
    reference.source,
    reference.model,
    reference.parameters,
    reference.quantisation,
    reference.weight_bytes,
    reference.suite,
    reference.case_key,
    reference.metric,
    metric.unit,
    reference.value
from fleet.reference_result as reference
join fleet.metric using (metric);
comment on view report.reference_result is
    'One row per chip, model, case and metric that others have published, with its source. To show beside, not to compare.';
comment on column report.reference_result.chip is 'as the system names it; joins report.machine with gpu_cores';
comment on column report.reference_result.gpu_cores is 'GPU cores of the chip that was measured';
comment on column report.reference_result.parameters is 'number of weights';
comment on column report.reference_result.engine is 'what they measured with';
comment on column report.reference_result.source is 'where it is published';
comment on column report.reference_result.quantisation is 'their name of how the weights are stored';
comment on column report.reference_result.weight_bytes is 'bytes of the model''s file: about what each new token reads';
comment on column report.reference_result.value is 'as it is published, in unit';
