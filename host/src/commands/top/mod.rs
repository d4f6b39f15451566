//! `host top`: workers, queues, tasks and what runs, on one screen that follows.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use crossterm::event::{Event, EventStream, KeyCode, KeyModifiers};
use futures_util::StreamExt;
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::MissedTickBehavior,
};

use self::{
    fleet::{Elsewhere, Fleet, QueueRow, Rates, Replies},
    view::Screen,
};
use super::{Exit, print};
use crate::{
    client::{Control, Patience, Question},
    config::{self, StoreArgs},
    protocol::{event, message::MessageLimits},
    store::{self, Listener, Store, StoreError, Topic},
    task::QueueName,
};

mod fleet;
mod view;

/// Show workers, queues and running tasks, and follow them; q quits
#[derive(Debug, Args)]
pub struct Top {
    #[command(flatten)]
    store: StoreArgs,

    /// How many seconds pass from one look to the next; workers have as long to reply
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "1", value_parser = config::seconds)]
    interval: Duration,

    /// Print it once, without a screen; exit code 69 if no worker replies
    #[arg(long)]
    once: bool,

    /// With --once: print JSON
    #[arg(short, long, requires = "once")]
    json: bool,
}

/// How often workers are told to tell of tasks: some may have started since. As often as Flower does.
const REMIND: Duration = Duration::from_secs(5);

/// How often it is drawn anew while nothing but times and rates change.
const DRAW: Duration = Duration::from_millis(250);

impl Top {
    pub(super) async fn execute(self) -> anyhow::Result<Exit> {
        let store = self.store.open(store::Options::default()).await?;
        if self.once {
            return self.print(&store).await;
        }
        // What keeps it from listening is told before the screen is taken.
        let listener = store.bus.listen(Topic::Events).await?;
        let mut terminal = ratatui::try_init().context("cannot use this terminal; `--once` needs none")?;
        let shown = self.follow(&store, listener, &mut terminal).await;
        ratatui::restore();
        shown.map(|()| Exit::Success)
    }

    async fn print(&self, store: &Store) -> anyhow::Result<Exit> {
        let fleet = look(store, self.interval, None).await?;
        let exit = if fleet.workers.is_empty() { Exit::Unavailable } else { Exit::Success };
        if self.json {
            print::json(&fleet.as_json());
            return Ok(exit);
        }
        print::line(&fleet.broker);
        print::line(view::elsewhere(fleet.elsewhere));
        for section in view::sections(&fleet) {
            print::line(format!("\n{}", section.title));
            let header = section.header.iter().map(|&cell| cell.to_owned()).collect();
            let rows: Vec<Vec<String>> = std::iter::once(header).chain(section.rows).collect();
            print::rows(&rows);
        }
        Ok(exit)
    }

    /// Draws until it is told to end.
    async fn follow(
        &self,
        store: &Store,
        mut listener: Listener,
        terminal: &mut ratatui::DefaultTerminal,
    ) -> anyhow::Result<()> {
        let control = Control::new(store.clone());
        let mut keys = EventStream::new();
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut remind = tokio::time::interval(REMIND);
        remind.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut draw = tokio::time::interval(DRAW);
        draw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut fleet, mut looked) = (None::<Fleet>, Instant::now());
        let (mut rates, mut trouble) = (Rates::default(), None::<String>);
        let mut next = Box::pin(look(store, self.interval, None));
        loop {
            tokio::select! {
                _ = draw.tick() => {
                    let screen = Screen { fleet: fleet.as_ref(), rates: &rates, trouble: trouble.as_deref() };
                    terminal.draw(|frame| screen.draw(frame))?;
                }
                key = keys.next() => match key {
                    Some(Ok(key)) if ends(&key) => return Ok(()),
                    // It was drawn for another size.
                    Some(Ok(_)) => draw.reset_immediately(),
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                },
                _ = term.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                found = &mut next => {
                    match found {
                        Ok(found) => {
                            fleet = Some(found);
                            trouble = None;
                        }
                        Err(error) => trouble = Some(told(&error)),
                    }
                    let (ago, begin) = (looked, Instant::now());
                    looked = begin;
                    let before = fleet.clone().map(|fleet| (fleet, begin.duration_since(ago)));
                    next = Box::pin(look(store, self.interval, before));
                }
                heard = listener.next() => {
                    let store::Heard::Message(message) = heard else { continue };
                    let now = Instant::now();
                    // What is no event is none of ours.
                    let events = event::decode(&message, &MessageLimits::default()).unwrap_or_default();
                    events.iter().for_each(|event| rates.hear(event, now));
                }
                _ = remind.tick() => {
                    if let Err(error) = control.tell(Question::new("enable_events")).await {
                        trouble = Some(told(&error));
                    }
                }
            }
        }
    }
}

fn ends(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

fn told(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Asks the workers and the broker; takes as long as workers have to reply. `before` is what was found the last time, and how long
/// ago that was.
async fn look(store: &Store, time: Duration, before: Option<(Fleet, Duration)>) -> Result<Fleet, StoreError> {
    let control = Control::new(store.clone());
    let ask = |method: &'static str, arguments| {
        control.ask(Question { arguments, ..Question::new(method) }, Patience { time, ..Patience::default() })
    };
    let replies = async {
        tokio::try_join!(
            ask("stats", json!({})),
            ask("active", json!({"safe": true})),
            ask("active_queues", json!({}))
        )
    };
    let waiting = async { tokio::try_join!(lengths(store), elsewhere(store)) };
    let (replies, waiting) = tokio::try_join!(replies, waiting)?;
    let (stats, active, queues): (Replies, Replies, Replies) = replies;
    let (lengths, elsewhere) = waiting;
    let before = before.as_ref().map(|(fleet, ago)| (fleet, *ago));
    let mut fleet = Fleet::of(&stats, &active, &queues, before);
    let row = |(name, messages): (QueueName, u64)| {
        let consumers = fleet.consumers(name.as_str());
        QueueRow { name: name.to_string(), messages, consumers }
    };
    fleet.queues = lengths.into_iter().map(row).collect();
    fleet.elsewhere = elsewhere;
    fleet.broker = store.broker_address.clone();
    Ok(fleet)
}

async fn lengths(store: &Store) -> Result<Vec<(QueueName, u64)>, StoreError> {
    let mut lengths = Vec::new();
    for queue in store.broker.queues().await? {
        let length = store.broker.length(&queue).await?;
        lengths.push((queue, length));
    }
    lengths.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    Ok(lengths)
}

async fn elsewhere(store: &Store) -> Result<Elsewhere, StoreError> {
    let sum = |counts: Vec<(crate::task::OwnedTask, u64)>| counts.iter().map(|(_, count)| count).sum();
    Ok(Elsewhere {
        held: store.broker.held().await?,
        delayed: store.broker.delayed().await?,
        set_aside: sum(store.rate_limits.set_aside().await?),
        parked: sum(store.broker.parked().await?),
        dead: store.dead_letters.dead_count().await?,
    })
}
