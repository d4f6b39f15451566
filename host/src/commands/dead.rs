//! `host dead`: the messages that were given up.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Exit, print};
use crate::{
    client::Client,
    config::StoreArgs,
    protocol::{
        message::{self, MessageLimits},
        repr,
    },
    store::{self, DeadLetter, Store},
    task::OwnedTask,
};

/// Look at the dead letters: messages that were given up, with the reason
#[derive(Debug, Args)]
pub struct Dead {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Show(Show),
    Replay(Replay),
    Drop(Drop),
}

/// List them, the newest first
#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    store: StoreArgs,

    /// How many to list
    #[arg(short = 'n', long, value_name = "N", default_value = "50")]
    limit: usize,

    /// Leave out this many of the newest
    #[arg(long, value_name = "N", default_value = "0")]
    skip: usize,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show one of them whole: arguments, traceback, message
#[derive(Debug, Args)]
struct Show {
    /// Its id, as `host dead list` prints it
    id: String,

    #[command(flatten)]
    store: StoreArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Send them to their queues again, as if they had never been tried
#[derive(Debug, Args)]
struct Replay {
    #[command(flatten)]
    which: Which,
}

/// Throw them away. There is no way back
#[derive(Debug, Args)]
struct Drop {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// Their ids, as `host dead list` prints them
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,

    #[command(flatten)]
    store: StoreArgs,

    /// All of them
    #[arg(long)]
    all: bool,

    /// With --all: only those of this task; acme/app.divide is that of a tenant
    #[arg(long, value_name = "NAME", requires = "all", value_parser = OwnedTask::named)]
    task: Option<OwnedTask>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Dead {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::List(list) => list.execute().await,
            Verb::Show(show) => show.execute().await,
            Verb::Replay(replay) => replay.execute().await,
            Verb::Drop(drop) => drop.execute().await,
        }
    }
}

impl List {
    async fn execute(self) -> anyhow::Result<Exit> {
        let store = self.store.open(store::Options::default()).await?;
        let letters = store.dead_letters.dead_letters(self.skip, self.limit).await?;
        if self.json {
            print::json(&letters.iter().map(as_json).collect::<Vec<_>>());
            return Ok(Exit::Success);
        }
        let mut rows = vec![["id", "since", "queue", "task", "attempts", "reason"].map(str::to_owned)];
        rows.extend(letters.iter().map(|letter| {
            let DeadLetter { id, cause, queue, since, .. } = letter;
            let task = task(letter).map_or("?".to_owned(), |task| task.to_string());
            let since = since.strftime("%Y-%m-%d %H:%M:%S").to_string();
            [id.clone(), since, queue.to_string(), task, cause.attempts.to_string(), brief(&cause.reason)]
        }));
        print::table(&rows);
        Ok(Exit::Success)
    }
}

impl Show {
    async fn execute(self) -> anyhow::Result<Exit> {
        let store = self.store.open(store::Options::default()).await?;
        let Some(letter) = store.dead_letters.dead_letter(&self.id).await? else {
            print::aside(format!("there is no dead letter {}", self.id));
            return Ok(Exit::Unavailable);
        };
        if self.json {
            let mut shown = as_json(&letter);
            shown["message"] = String::from_utf8_lossy(&letter.message).into();
            print::json(&shown);
            return Ok(Exit::Success);
        }
        let DeadLetter { id, cause, queue, since, expires, message } = &letter;
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "?".to_owned());
        let mut rows = vec![
            ["id".to_owned(), id.clone()],
            ["task".to_owned(), or_unknown(task(&letter).map(|task| task.to_string()))],
            ["task id".to_owned(), or_unknown(cause.task_id.as_ref().map(ToString::to_string))],
            ["queue".to_owned(), queue.to_string()],
            ["since".to_owned(), since.to_string()],
            ["kept until".to_owned(), expires.to_string()],
            ["attempts".to_owned(), cause.attempts.to_string()],
            ["reason".to_owned(), cause.reason.clone()],
        ];
        if let Ok(request) = message::decode(message, queue.owner().0, &MessageLimits::default()) {
            rows.push(["args".to_owned(), repr::args(&request.args)]);
            rows.push(["kwargs".to_owned(), repr::value(&request.kwargs)]);
        }
        print::table(&rows);
        if let Some(traceback) = &cause.traceback {
            print::line(format!("\n{}", traceback.trim_end()));
        }
        Ok(Exit::Success)
    }
}

impl Replay {
    async fn execute(self) -> anyhow::Result<Exit> {
        let store = self.which.store.open(store::Options::default()).await?;
        let client = Client::new(store.clone());
        let mut replayed = 0;
        for id in self.which.ids(&store).await? {
            if client.replay(&id).await? {
                replayed += 1;
            } else {
                print::aside(format!("there is no dead letter {id}"));
            }
        }
        self.which.tell("replayed", replayed)
    }
}

impl Drop {
    async fn execute(self) -> anyhow::Result<Exit> {
        let store = self.which.store.open(store::Options::default()).await?;
        let ids = self.which.ids(&store).await?;
        let dropped = store.dead_letters.drop_dead_letters(&ids).await?;
        self.which.tell("dropped", dropped)
    }
}

impl Which {
    /// The ids that were named, or those of all that are there now.
    async fn ids(&self, store: &Store) -> anyhow::Result<Vec<String>> {
        /// Letters can be large.
        const PAGE: usize = 100;
        if !self.all {
            return Ok(self.ids.clone());
        }
        let (mut ids, mut skip) = (Vec::new(), 0);
        loop {
            let page = store.dead_letters.dead_letters(skip, PAGE).await?;
            if page.is_empty() {
                return Ok(ids);
            }
            skip += page.len();
            let wanted = page.into_iter().filter(|letter| self.task.is_none() || task(letter) == self.task);
            ids.extend(wanted.map(|letter| letter.id));
        }
    }

    fn tell(&self, what: &str, count: u64) -> anyhow::Result<Exit> {
        match self.json {
            true => print::json(&json!({what: count})),
            false => print::line(format!("{what} {count}")),
        }
        let found_none = count == 0 && !self.all;
        Ok(if found_none { Exit::Unavailable } else { Exit::Success })
    }
}

/// What the letter is of, as operators see it.
fn task(letter: &DeadLetter) -> Option<OwnedTask> {
    Some(OwnedTask { tenant: letter.queue.owner().0, task: letter.cause.task.clone()? })
}

fn as_json(letter: &DeadLetter) -> Value {
    let DeadLetter { id, cause, queue, since, expires, .. } = letter;
    json!({
        "id": id,
        "task": task(letter).map(|task| task.to_string()),
        "task_id": cause.task_id,
        "queue": queue,
        "since": since,
        "expires": expires,
        "attempts": cause.attempts,
        "reason": cause.reason,
        "traceback": cause.traceback,
    })
}

/// The beginning of a reason, on one line.
fn brief(reason: &str) -> String {
    const LONGEST: usize = 80;
    let line: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if reason.chars().nth(LONGEST).is_some() { line + "…" } else { line }
}
