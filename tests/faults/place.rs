//! Where messages and results are during a fault, and what the suite asks there past all workers.

use std::{collections::HashMap, time::Instant};

use crate::{
    embedded::Embedded,
    proxy::Proxy,
    support::{Answer, Task, TestRedis},
};

/// A broker of the fault's own, which is the result backend too.
pub enum Place {
    Redis {
        server: TestRedis,
        /// Between the workers and Redis, if the network is to fail. The suite itself goes past it.
        proxy: Option<Proxy>,
    },
    /// One SQLite file.
    Embedded(Embedded),
}

/// When each task was first seen to have ended, and with which result.
pub type Endings = HashMap<String, (Instant, Answer)>;

/// Looks once for the results of some tasks.
pub type Look = Box<dyn FnMut(&[String], &mut Endings) + Send>;

impl Place {
    /// A Redis with these flags.
    pub fn redis(flags: &[&str]) -> Self {
        Self::Redis { server: TestRedis::start_with(flags), proxy: None }
    }

    /// A Redis to which workers come over a network that can fail.
    pub fn behind_proxy() -> Self {
        let server = TestRedis::start();
        let proxy = Some(Proxy::start(server.port()));
        Self::Redis { server, proxy }
    }

    /// The Redis, where a fault is about it.
    pub fn server(&mut self) -> &mut TestRedis {
        match self {
            Self::Redis { server, .. } => server,
            Self::Embedded(_) => panic!("this fault is one of Redis"),
        }
    }

    /// The network, where a fault is about it.
    pub fn network(&self) -> &Proxy {
        match self {
            Self::Redis { proxy: Some(proxy), .. } => proxy,
            _ => panic!("this fault needs a network that can fail"),
        }
    }

    /// Where the workers find it.
    pub fn url(&self) -> String {
        match self {
            Self::Redis { proxy: Some(proxy), .. } => proxy.url(),
            Self::Redis { server, .. } => server.url(),
            Self::Embedded(embedded) => embedded.url(),
        }
    }

    /// Sends tasks and returns their ids.
    pub fn send(&self, tasks: &[Task]) -> Vec<String> {
        match self {
            Self::Redis { server, .. } => {
                server.send_all(tasks);
                tasks.iter().map(|task| task.id().to_owned()).collect()
            }
            Self::Embedded(embedded) => {
                tasks.iter().map(|task| embedded.call(task.name(), task.args())).collect()
            }
        }
    }

    /// What looks for results, for a thread of its own; it finds nothing while the server is away.
    pub fn look(&self) -> Look {
        match self {
            Self::Redis { server, .. } => look_in_redis(server.url()),
            Self::Embedded(embedded) => embedded.look(),
        }
    }

    /// What is stored for these tasks now.
    pub fn results(&self, ids: &[String]) -> Endings {
        let mut endings = Endings::new();
        match self {
            Self::Redis { .. } => (self.look())(ids, &mut endings),
            Self::Embedded(embedded) => embedded.look_for_all(ids, &mut endings),
        }
        endings
    }

    /// All messages that there are now, wherever they are.
    pub fn messages(&self) -> Messages {
        match self {
            Self::Redis { server, .. } => Messages::Text(all_messages(server)),
            Self::Embedded(embedded) => Messages::Count(embedded.messages()),
        }
    }
}

/// The messages that were somewhere at one time.
pub enum Messages {
    /// All of them, as they are.
    Text(String),
    /// Only their number, where more is not told.
    Count(usize),
}

impl Messages {
    /// How many of these tasks have a message among them.
    pub fn of(&self, ids: &[&str]) -> usize {
        match self {
            Self::Text(text) => ids.iter().filter(|id| text.contains(**id)).count(),
            Self::Count(count) => ids.len().min(*count),
        }
    }
}

fn look_in_redis(url: String) -> Look {
    let mut connection = None;
    Box::new(move |pending, endings| {
        let client = redis::Client::open(url.as_str()).expect("the URL is one");
        for some in pending.chunks(500) {
            let keys: Vec<_> = some.iter().map(|id| format!("celery-task-meta-{id}")).collect();
            let look = || {
                let open = match &mut connection {
                    Some(open) => open,
                    empty => empty.insert(client.get_connection()?),
                };
                redis::cmd("MGET").arg(keys).query::<Vec<Option<String>>>(open)
            };
            let Ok(texts) = look() else {
                connection = None;
                return;
            };
            let now = Instant::now();
            for (id, text) in some.iter().zip(texts) {
                if let Some(answer) = text.map(|text| Answer::parse(&text)).filter(Answer::is_ready) {
                    endings.insert(id.clone(), (now, answer));
                }
            }
        }
    })
}

/// All that is stored but for results: a message that is anywhere is in it. Read in one step, because a message may be on
/// its way from one place to another. Nothing that holds messages is of a kind that is not read here; were it so, they would
/// count as lost, not be overlooked.
fn all_messages(server: &TestRedis) -> String {
    const READ: &str = r"
        local read = {
            list = {'LRANGE', 0, -1}, hash = {'HVALS'}, set = {'SMEMBERS'}, zset = {'ZRANGE', 0, -1}, string = {'MGET'},
        }
        local all = {}
        for _, key in ipairs(redis.call('KEYS', '*')) do
            local command = read[redis.call('TYPE', key).ok]
            if command and string.sub(key, 1, 17) ~= 'celery-task-meta-' then
                for _, value in ipairs(redis.call(command[1], key, unpack(command, 2))) do
                    all[#all + 1] = value
                end
            end
        end
        return table.concat(all, '\n')";
    String::from_utf8_lossy(&server.ask::<Vec<u8>>(&["EVAL", READ, "0"])).into_owned()
}
