//! A plan as large as one may be: submitted and expanded, against `\copy` of the same jobs.

use std::time::Instant;

use anyhow::{Result, ensure};
use futures_util::TryStreamExt;
use sqlx::Executor;

use super::Bench;

/// Jobs of each machine: 25 models and precisions, four suites.
const JOBS_OF_A_MACHINE: u32 = 100;

impl Bench<'_> {
    pub(super) async fn plan(&mut self) -> Result<()> {
        let began = Instant::now();
        let (run, jobs) = self.operator.submit(&large()).await?;
        let submitted = began.elapsed().as_secs_f64() * 1e3;
        ensure!(jobs == self.agents * JOBS_OF_A_MACHINE, "{jobs} jobs");
        let copied = self.copy_jobs(&run).await?;
        let what = format!("{jobs} jobs submitted (\\copy of them)");
        self.told(&what, submitted, "ms", copied);
        let began = Instant::now();
        self.operator.cancel(&run).await?;
        let cancelled = began.elapsed().as_secs_f64() * 1e3;
        self.told(
            &format!("{jobs} jobs cancelled (\\copy of them)"),
            cancelled,
            "ms",
            copied,
        );
        Ok(())
    }

    async fn copy_jobs(&self, run: &str) -> Result<f64> {
        let mut database = self.world.database().await?;
        let table = "create schema copied; create table copied.job (like fleet.job including all);
                     alter table copied.job add foreign key (run_id) references fleet.run,
                         add foreign key (machine_id) references fleet.machine";
        sqlx::raw_sql(table).execute(&mut database).await?;
        let out = format!("copy (select * from fleet.job where run_id = '{run}') to stdout");
        let lines: Vec<_> = database.copy_out_raw(&out).await?.try_collect().await?;
        let began = Instant::now();
        let mut sink = database.copy_in_raw("copy copied.job from stdin").await?;
        for line in lines {
            sink.send(line).await?;
        }
        sink.finish().await?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        database.execute("drop schema copied cascade").await?;
        Ok(took)
    }
}

fn large() -> String {
    let three = [
        "nano-llama",
        "nano-qwen2",
        "nano-qwen3",
        "nano-phi3",
        "mini-llama",
        "qwen2.5-0.5b",
        "qwen3-0.6b",
        "tinyllama-1.1b",
    ];
    let model = |name: &str, dtypes: &str| {
        format!("[[model]]\nsource = \"synthetic:{name}\"\ndtypes = [{dtypes}]\n")
    };
    let mut text = "name = \"large\"\n[machines]\nsimulated = true\n".to_owned();
    for name in three {
        text += &model(name, "\"bf16\", \"f16\", \"f32\"");
    }
    text += &model("llama-3.2-1b", "\"bf16\"");
    text + "[suite.load]\nregimes = [\"warm\"]\n[suite.prefill]\nprompt_tokens = [64]\n\
            [suite.decode]\nnew_tokens = [16]\n[suite.generate]\n"
}
