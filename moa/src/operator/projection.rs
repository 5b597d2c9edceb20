//! `moa projection`: rebuilds, compares, switches, rolls back, pauses and drops read models.

use super::{Refusal, ask, job_view, print_projections};
use crate::output::{print_json, print_line};
use crate::settings::{AdminSettings, JobSettings, ListOutput, ProjectionCommand};
use crate::table::{rows, text};
use anyhow::{anyhow, bail};
use reqwest::Method;
use serde_json::Value;

/// `moa projection list|rebuild|switch|rollback|pause|resume|diff|drop`.
pub async fn projection(command: ProjectionCommand, admin: &AdminSettings) -> anyhow::Result<()> {
    match command {
        ProjectionCommand::List { output } => list(output, admin).await,
        ProjectionCommand::Rebuild {
            name,
            no_switch,
            accept_differences,
            detach,
            job,
        } => {
            let what = format!(
                "rebuild?switch={}&acceptDifferences={accept_differences}",
                !no_switch
            );
            let id = request_job(
                admin,
                Method::POST,
                &name,
                &format!("{what}{}", rate(&job, '&')),
            )
            .await?;
            match detach {
                true => print_line!(
                    "{}",
                    if job.json {
                        format!(r#"{{"jobId":{id}}}"#)
                    } else {
                        format!("Job {id}.")
                    }
                ),
                false => rebuilt(
                    &job_view::follow(admin, id, job.json).await?,
                    &name,
                    job.json,
                )?,
            }
            Ok(())
        }
        ProjectionCommand::Switch {
            name,
            accept_differences,
        } => {
            let what = format!("switch?acceptDifferences={accept_differences}");
            say_live(&post(admin, Method::POST, &name, &what).await?, &name);
            Ok(())
        }
        ProjectionCommand::Rollback { name } => {
            say_live(&post(admin, Method::POST, &name, "rollback").await?, &name);
            Ok(())
        }
        ProjectionCommand::Pause { name } => {
            post(admin, Method::POST, &name, "pause").await?;
            print_line!("{name} is paused until `moa projection resume {name}`.");
            Ok(())
        }
        ProjectionCommand::Resume { name } => {
            post(admin, Method::POST, &name, "resume").await?;
            print_line!("{name} is resumed.");
            Ok(())
        }
        ProjectionCommand::Diff { name, job } => {
            let id = request_job(
                admin,
                Method::GET,
                &name,
                &format!("diff{}", rate(&job, '?')),
            )
            .await?;
            compared(
                &job_view::follow(admin, id, job.json).await?,
                &name,
                job.json,
            )
        }
        ProjectionCommand::Drop { name } => drop(&name, admin).await,
    }
}

async fn list(output: ListOutput, admin: &AdminSettings) -> anyhow::Result<()> {
    let data = ask(admin, Method::GET, "/admin/projection", None).await?;
    if output.json {
        return print_json(&data);
    }
    print_projections(&data, output);
    let jobs = ask(admin, Method::GET, "/admin/job", None).await?;
    for job in rows(&jobs["list"])
        .iter()
        .filter(|job| job["state"] == "RUNNING")
    {
        let [id, kind, name, generation, stage, done, total] = [
            "jobId",
            "kind",
            "projection",
            "generation",
            "stage",
            "done",
            "total",
        ]
        .map(|key| text(&job[key]));
        print_line!(
            "Job {id}, {kind} of {name}, generation {generation}: {stage}, {done} of {total} events."
        );
    }
    Ok(())
}

async fn drop(name: &str, admin: &AdminSettings) -> anyhow::Result<()> {
    let known = ask(admin, Method::GET, "/admin/projection", None).await?;
    let data = post(admin, Method::POST, name, "drop").await?;
    let is_standby = |row: &&Value| {
        ["BUILDING", "READY", "DIFFERENT", "PREVIOUS"].contains(&text(&row["state"]).as_str())
    };
    let of_it = rows(&known["list"])
        .iter()
        .filter(|row| row["name"] == name)
        .filter(is_standby);
    let dropped: Vec<_> = of_it
        .map(|row| {
            format!(
                "generation {} ({})",
                text(&row["generation"]),
                text(&row["state"])
            )
        })
        .collect();
    match text(&data["dropped"]).as_str() {
        "0" => print_line!("There was no standby of {name}."),
        number => print_line!("Dropped {number} of {name}: {}.", dropped.join(", ")),
    }
    Ok(())
}

/// The job that the admin listener made of what was asked for.
async fn request_job(
    admin: &AdminSettings,
    method: Method,
    name: &str,
    what: &str,
) -> anyhow::Result<i64> {
    let data = post(admin, method, name, what).await?;
    data["jobId"].as_i64().ok_or_else(|| {
        anyhow!(
            "what answers at {} is another version of Moa",
            admin.admin_url
        )
    })
}

async fn post(
    admin: &AdminSettings,
    method: Method,
    name: &str,
    what: &str,
) -> anyhow::Result<Value> {
    let answer = ask(
        admin,
        method,
        &format!("/admin/projection/{name}/{what}"),
        None,
    )
    .await;
    answer.map_err(|error| match error.downcast_ref::<Refusal>() {
        Some(refusal) if refusal.code == "404" => {
            anyhow!("there is no read model {name}: see `moa projection list`")
        }
        _ => error,
    })
}

fn rate(job: &JobSettings, before: char) -> String {
    job.max_rate
        .map(|rate| format!("{before}maxRate={rate}"))
        .unwrap_or_default()
}

fn say_live(data: &Value, name: &str) {
    print_line!(
        "Generation {} of {name} is live.",
        text(&data["generation"])
    );
}

/// Says what came of a rebuild; an error unless it is done.
fn rebuilt(job: &Value, name: &str, json: bool) -> anyhow::Result<()> {
    let differs = job["outcome"]["equal"] == false;
    if !json {
        print_comparison(&job["outcome"]);
    }
    match (text(&job["state"]).as_str(), differs) {
        ("DONE", _) if json => {}
        ("DONE", _) if job["switches"] == true => say_live(job, name),
        ("DONE", _) => {
            print_line!(
                "Generation {} of {name} is ready: `moa projection switch {name}`.",
                text(&job["generation"])
            )
        }
        (_, true) if job["acceptDifferences"] == false => bail!(
            "it differs from the live one, which stays; `moa projection switch {name} --accept-differences` switches \
             to it all the same, `moa projection drop {name}` drops it"
        ),
        _ => return Err(failed(job)),
    }
    Ok(())
}

/// Says what a dry run found; an error unless the two are equal.
fn compared(job: &Value, name: &str, json: bool) -> anyhow::Result<()> {
    if job["state"] != "DONE" {
        return Err(failed(job));
    }
    if !json {
        print_comparison(&job["outcome"]);
    }
    anyhow::ensure!(
        job["outcome"]["equal"] == true,
        "today's code makes other rows than the live ones of {name}; `moa projection rebuild {name}` rebuilds it"
    );
    Ok(())
}

fn failed(job: &Value) -> anyhow::Error {
    let [id, stage, problem] = ["jobId", "stage", "problem"].map(|key| text(&job[key]));
    anyhow!("job {id} has failed, {stage}: {problem}")
}

/// Rows and digests, or why there are none; where the two differ also sums, and the first keys that do with both rows.
fn print_comparison(outcome: &Value) {
    if outcome["equal"].is_null() {
        return outcome["skipped"]
            .as_str()
            .into_iter()
            .for_each(|why| print_line!("{why}"));
    }
    let digest = &outcome["digest"];
    match outcome["equal"] == true {
        true => print_line!(
            "Equal at positions {}, digest {}",
            text(&outcome["positions"]),
            text(&digest["live"])
        ),
        false => print_line!(
            "Different at positions {}, digest {}",
            text(&outcome["positions"]),
            sides(digest)
        ),
    }
    for table in rows(&outcome["tables"]) {
        print_table(table);
    }
    print_only("table", &outcome["only"]);
}

fn print_table(table: &Value) {
    print_line!(
        "  {}: {} rows",
        text(&table["table"]),
        sides(&table["rows"])
    );
    for (column, sum) in table["sums"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, sum)| sum["live"] != sum["new"])
    {
        print_line!("    sum of {column}: {}", sides(sum));
    }
    for difference in rows(&table["differences"]) {
        print_line!("    {}", difference["key"]);
        print_line!("      live  {}", row(&difference["live"]));
        print_line!("      new   {}", row(&difference["new"]));
    }
    print_only("column", &table["only"]);
}

/// What only one of the two has was not compared.
fn print_only(what: &str, only: &Value) {
    for side in ["live", "new"] {
        for name in rows(&only[side]) {
            print_line!(
                "    {what} {}: only in the {side} one, not compared",
                text(name)
            );
        }
    }
}

/// Both, or the one that both are.
fn sides(both: &Value) -> String {
    match both["live"] == both["new"] {
        true => text(&both["live"]),
        false => format!("{} live, {} new", text(&both["live"]), text(&both["new"])),
    }
}

fn row(values: &Value) -> String {
    if values.is_null() {
        "none".into()
    } else {
        values.to_string()
    }
}
