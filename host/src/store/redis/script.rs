//! The Lua scripts. Each is one step that Redis does wholly or not at all, as long as nothing in it fails; the scripts
//! say how they are ordered for the case that something does.

use std::sync::LazyLock;

use redis::{Cmd, ToRedisArgs};

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $($file:literal),+;)+) => {
        $($(#[$doc])*
        pub static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!($(include_str!(concat!("scripts/", $file))),+))
        });)+
    };
}

scripts! {
    /// Takes messages.
    TAKE = "take.lua";
    /// Acknowledges deliveries: what almost all of them come to, so many are ended at once.
    ACK = "result.lua", "ack.lua";
    /// Ends a delivery in any way.
    SETTLE = "dead.lua", "bury.lua", "result.lua", "groups.lua", "settle.lua";
    /// Sends messages once.
    ONCE = "once.lua";
    /// Tells of complete chords.
    COMPLETE = "complete.lua";
    /// Replaces the message of a delivery.
    REPLACE = "replace.lua";
    /// Puts delayed messages that are due back into their lists.
    DUE = "waiting.lua", "due.lua";
    /// Puts parked messages whose time has come back into their lists.
    UNPARK = "waiting.lua", "parked.lua", "unpark.lua";
    /// Puts the parked messages of one task back into their lists.
    RELEASE = "waiting.lua", "parked.lua", "release.lua";
    /// Lets a message of a limited task run, or sets it aside.
    ADMIT = "bucket.lua", "admit.lua";
    /// Puts messages that were set aside back into their lists.
    RELEASE_ASIDE = "bucket.lua", "release_aside.lua";
    /// Throws away what was set aside.
    PURGE_ASIDE = "purge_aside.lua";
    /// Counts dead letters.
    DEAD_COUNT = "dead.lua", "dead_count.lua";
    /// Reads dead letters.
    DEAD_LIST = "dead.lua", "dead_list.lua";
    /// Drops dead letters.
    DEAD_DROP = "dead.lua", "dead_drop.lua";
    /// Sends a dead letter again.
    DEAD_REPLAY = "dead.lua", "dead_replay.lua";
    /// Revokes.
    REVOKE = "revoke.lua";
    /// Tells what was revoked.
    REVOKED_SINCE = "revoked_since.lua";
    /// Stores a result.
    STORE = "result.lua", "store.lua";
    /// Tells that an owner lives.
    BEAT = "beat.lua";
    /// Gives up a lock.
    UNLOCK = "unlock.lua";
    /// Reads messages without taking them.
    PEEK = "peek.lua";
    /// Reads delayed messages.
    SCHEDULED = "scheduled.lua";
    /// Puts a reply into an inbox.
    REPLY = "reply.lua";
    /// Changes records.
    RECORDS_CHANGE = "records_change.lua";
    /// Tells which records have changed.
    RECORDS_SINCE = "records_since.lua";
    /// Keeps a blob.
    BLOB_PUT = "blob_put.lua";
    /// Tells of all blobs.
    BLOB_LIST = "blob_list.lua";
    /// Drops blobs.
    BLOB_DROP = "blob_drop.lua";
    /// Adds to counts.
    COUNT = "count.lua";
    /// Changes entries that guests keep.
    KEYVALUE = "keyvalue.lua";
    /// Empties lists.
    PURGE = "purge.lua";
}

/// A script that can be called.
pub struct Script {
    text: &'static str,
    hash: String,
}

/// A call of a script: first its keys, then its other arguments. Lists that only the arguments name are used as well: a
/// cluster, where that is not allowed, cannot be used anyway, for the keys of Kombu lie on different nodes.
pub struct Call {
    script: &'static Script,
    keys: Cmd,
    args: Cmd,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// A call without keys and arguments yet.
    pub fn call(&'static self) -> Call {
        Call { script: self, keys: Cmd::new(), args: Cmd::new() }
    }
}

impl Call {
    /// Adds a key.
    pub fn key(mut self, key: impl ToRedisArgs) -> Self {
        self.keys.arg(key);
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.args.arg(arg);
        self
    }

    /// The short form, for a server that knows the script.
    pub fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.hash)
    }

    /// The form that also teaches the server.
    pub fn by_text(&self) -> Cmd {
        self.command("EVAL", self.script.text)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.args_iter().count());
        for arg in self.keys.args_iter().chain(self.args.args_iter()) {
            if let redis::Arg::Simple(bytes) = arg {
                command.arg(bytes);
            }
        }
        command
    }
}
