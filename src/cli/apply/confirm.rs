//! The question before an apply.

use super::interrupted;
use crate::cli::{CliError, ErrorKind, Ui};
use crate::plan::model::{Action, Operation, Plan};
use crate::report::clean;

/// What has to be typed before something is deleted: the topic's name with its cluster, or the link's.
fn names_to_type(plan: &Plan) -> Vec<String> {
    let mut names = Vec::new();
    for entry in &plan.entries {
        match &entry.operation {
            Operation::DeleteTopic(topic) => {
                names.push(format!("{}/{}", entry.cluster, topic.name));
            }
            Operation::DeleteMirror(mirror) if mirror.topics.is_empty() => {
                names.push(entry.address.to_string());
            }
            Operation::DeleteMirror(mirror) => {
                let topics = mirror.topics.iter();
                names.extend(topics.map(|topic| format!("{}/{}", entry.cluster, topic.name)));
            }
            Operation::DeleteLink { .. } => names.push(entry.address.to_string()),
            Operation::BrokerLink(_) if entry.action == Action::Delete => {
                names.push(entry.address.to_string());
            }
            Operation::BrokerMirror(mirror) => {
                let topics = mirror.delete.iter();
                names.extend(topics.map(|topic| format!("{}/{}", entry.cluster, topic.name)));
            }
            Operation::None
            | Operation::ControlTopics
            | Operation::CreateTopic(_)
            | Operation::AlterTopic(_)
            | Operation::Link(_)
            | Operation::BrokerLink(_)
            | Operation::Mirror(_) => {}
        }
    }
    names
}

/// Goes on only for what somebody typed: the name of each thing that is deleted, then `yes`.
pub(super) async fn confirm(ui: &Ui, plan: &Plan) -> Result<(), CliError> {
    let nobody = |problem: &str| {
        CliError::new(
            ErrorKind::Usage,
            format!("nothing was done: {problem}, so nobody can confirm the plan"),
        )
        .with_hint("to apply without a question, say --yes")
    };
    if !ui.is_interactive() {
        return Err(nobody("stdin is not a terminal"));
    }
    for name in names_to_type(plan) {
        let name = clean(&name);
        let question = format!("\nTo delete {name} for good, type its name:");
        if ask(ui, question, nobody).await? != name {
            return Err(CliError::new(
                ErrorKind::Usage,
                format!("nothing was done: the answer was not `{name}`"),
            ));
        }
    }
    let question = "\nApply this plan? Only `yes` is taken for an answer:".to_owned();
    if ask(ui, question, nobody).await? == "yes" {
        Ok(())
    } else {
        Err(CliError::new(
            ErrorKind::Usage,
            "nothing was done: the answer was not `yes`",
        ))
    }
}

/// What somebody typed, without the spaces around it.
pub(in crate::cli) async fn ask(
    ui: &Ui,
    question: String,
    nobody: impl Fn(&str) -> CliError,
) -> Result<String, CliError> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let asking = ui.clone();
    // A thread of its own: the runtime would wait for a blocked read when an interrupt ends the command.
    std::thread::spawn(move || {
        let said = asking.ask(&question);
        // If the command has ended meanwhile, nobody waits for the answer.
        let _ = answer.send(said);
    });
    let said = tokio::select! {
        said = answered => said,
        () = interrupted() => {
            ui.say("");
            return Err(CliError::new(ErrorKind::Interrupted, "nothing was done"));
        }
    };
    match said {
        Ok(Ok(Some(text))) => Ok(text.trim().to_owned()),
        Ok(Ok(None)) | Err(_) => Err(nobody("stdin was closed")),
        Ok(Err(error)) => Err(error),
    }
}
