//! Several processes share one file, and some of them are killed.
//!
//! A process is this very test binary, told to run [`plays_a_part`] alone. It prints what it has done after it was answered.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use super::{File, Sqlite};
use crate::{
    store::{
        Backend, Broker, Delivery, Fate, Options, Settled, Settlement,
        conformance::{
            Engine, drain, in_time, lost, message, publication, publish_all, queue, report, result,
            settlement, take, take_when_told,
        },
    },
    task::{State, TaskId, Tenant},
};

/// The variables that tell a process its part and the file.
const PART: (&str, &str) = ("HOST_TEST_SQLITE_PART", "HOST_TEST_SQLITE_URL");

/// What stands before each number that a process prints.
const DID: &str = "did ";

/// How long the lease of a process is that is to be killed.
const LEASE: Duration = Duration::from_secs(1);

struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    fn start(part: &str, file: &File) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::sqlite::tests::processes::plays_a_part", "--nocapture"])
            .envs([(PART.0, part), (PART.1, &file.url())])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// What it did next; `None` when it has ended.
    fn did(&mut self) -> Option<usize> {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            // The harness begins a line of its own and does not end it.
            if let Some((_, number)) = line.trim_end().split_once(DID) {
                return Some(number.parse().unwrap());
            }
            line.clear();
        }
        None
    }

    /// Kills it after it has done so much; what it did in all.
    fn kill_after(mut self, count: usize) -> BTreeSet<usize> {
        let mut done: BTreeSet<_> = (0..count).map(|_| self.did().expect("it goes on")).collect();
        self.child.kill().unwrap();
        while let Some(more) = self.did() {
            done.insert(more);
        }
        self.child.wait().unwrap();
        done
    }
}

fn did(number: usize) {
    println!("{DID}{number}");
}

/// The number in a message, whatever marks it has got.
fn number(message: &[u8]) -> usize {
    let envelope: serde_json::Value = serde_json::from_slice(message).unwrap();
    envelope["body"].as_str().unwrap().parse().unwrap()
}

fn numbers(deliveries: &[Delivery]) -> Vec<usize> {
    deliveries.iter().map(|delivery| number(&delivery.message)).collect()
}

/// No test, but the part that another test gives this process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plays_a_part() {
    let (Ok(part), Ok(url)) = (std::env::var(PART.0), std::env::var(PART.1)) else { return };
    let store = Sqlite::open(&url, None, Options::default()).await.unwrap();
    match &*part {
        "publishes" => publishes(&store).await,
        "works" => works(&store).await,
        part => panic!("there is no part {part}"),
    }
}

/// Sends without end.
async fn publishes(store: &Sqlite) {
    for number in 0.. {
        publish_all(store, &queue("q"), number..number + 1).await;
        did(number);
    }
}

/// Does what comes, without end: stores a result, and sends the message on.
async fn works(store: &Sqlite) {
    let q = queue("q");
    loop {
        assert_eq!(store.beat(LEASE, &report()).await.unwrap(), []);
        let taken = take(store, &q, 7).await.unwrap();
        if taken.is_empty() {
            store.arrival().await;
        }
        for taken in taken {
            let number = number(&taken.message);
            let success = result(&TaskId::new(&number.to_string()).unwrap(), State::Success, "");
            let end = Settlement {
                sends: vec![publication(&queue("out"), 0, &message(number))],
                ..settlement(&taken.tag, Fate::Acknowledge, Some(success))
            };
            assert_eq!(store.settle(&[end]).await.unwrap(), [Settled::Done]);
            did(number);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_hears_what_another_one_does() {
    let file = File::start().await;
    let (store, id) = (file.connect().await, TaskId::new("0").unwrap());
    let worker = Process::start("works", &file);
    in_time(async { while store.workers().await.unwrap() != [report()] {} }).await;
    let end = |text: &str| text.contains("SUCCESS");
    let (q, out) = (queue("q"), queue("out"));
    let ((), ended, sent_on) = tokio::join!(
        publish_all(&store, &q, 0..1),
        in_time(store.wait(&Tenant::DEFAULT, &id, &end)),
        take_when_told(&store, &out, 1),
    );
    assert_eq!(ended.unwrap(), result(&id, State::Success, "").meta);
    assert_eq!(numbers(&sent_on), [0]);
    assert_eq!(worker.kill_after(1), BTreeSet::from([0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sender_has_sent_what_was_answered() {
    for round in 1..6 {
        let file = File::start().await;
        let sent = Process::start("publishes", &file).kill_after(round * 13);
        let store = file.connect().await;
        let found = numbers(&drain(&store, &queue("q")).await);
        // It may have been killed between the commit and the answer.
        assert!(found.len() == sent.len() || found.len() == sent.len() + 1, "{found:?} of {sent:?}");
        assert_eq!(found, (0..found.len()).collect::<Vec<_>>(), "each once, in order");
        assert!(found.len() >= round * 13);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_killed_worker_each_message_is_done_or_comes_back() {
    const COUNT: usize = 150;
    let file = File::start().await;
    let (store, q) = (file.connect().await, queue("q"));
    let all: Vec<_> = (0..COUNT).map(|number| publication(&q, 0, &message(number))).collect();
    store.publish(&all).await.unwrap();
    // Two work at once; both are killed, one after the other.
    let workers = [(); 2].map(|()| Process::start("works", &file));
    let mut told = BTreeSet::new();
    for (worker, count) in workers.into_iter().zip([10, 25]) {
        told.append(&mut worker.kill_after(count));
    }
    let held = usize::try_from(store.held().await.unwrap()).unwrap();
    let mut restored = 0;
    in_time(async {
        while store.held().await.unwrap() > 0 {
            restored += store.restore().await.unwrap();
        }
    })
    .await;
    assert_eq!(restored, held);
    let (left, done) = (drain(&store, &q).await, numbers(&drain(&store, &queue("out")).await));
    let done: BTreeSet<_> = {
        let once: BTreeSet<_> = done.iter().copied().collect();
        assert_eq!(once.len(), done.len(), "done twice: {done:?}");
        once
    };
    assert!(told.is_subset(&done), "{told:?} were answered, {done:?} are done");
    let marks = left.iter().filter(|left| left.message == lost(&message(number(&left.message)))).count();
    assert_eq!(marks, held, "those that were held are marked, and no others");
    let left: BTreeSet<_> = numbers(&left).into_iter().collect();
    assert!(left.is_disjoint(&done));
    assert_eq!(left.len() + done.len(), COUNT, "none is lost");
    for number in 0..COUNT {
        let stored = store.get(&Tenant::DEFAULT, &TaskId::new(&number.to_string()).unwrap()).await.unwrap();
        assert_eq!(stored.is_some(), done.contains(&number), "the result of {number}");
    }
}
