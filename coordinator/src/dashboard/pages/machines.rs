//! What operators do with machines.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;

use super::{done, failure, field};
use crate::dashboard::Desk;
use crate::dispatch::Error;
use crate::dispatch::tokens::Caller;
use crate::label_change::LabelChange;

pub async fn drain(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
    form: Bytes,
) -> Response {
    let reason = field(&form, "reason");
    let drained = desk
        .dispatch
        .drain_machine(&machine, reason.trim(), &caller.actor);
    done(drained.await, "/")
}

pub async fn resume(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
) -> Response {
    let resumed = desk.dispatch.resume_machine(&machine, &caller.actor);
    done(resumed.await, "/")
}

pub async fn approve(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
) -> Response {
    let approved = desk.dispatch.approve_machine(&machine, &caller.actor);
    done(approved.await, "/")
}

pub async fn revoke(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
) -> Response {
    let revoked = desk.dispatch.revoke_machine(&machine, &caller.actor);
    done(revoked.await, "/")
}

/// Labels as `mlx-fleet machine label` takes them, between spaces.
pub async fn label(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
    form: Bytes,
) -> Response {
    let changes = match LabelChange::all(&field(&form, "labels")) {
        Ok(changes) => changes,
        Err(why) => return failure(&Error::Invalid(why)),
    };
    let (set, remove) = LabelChange::sorted(changes);
    let labelled = desk
        .dispatch
        .label_machine(&machine, set, &remove, &caller.actor);
    done(labelled.await, "/")
}
