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
    /// Ends a delivery.
    SETTLE = "result.lua", "settle.lua";
    /// Puts a held message back.
    PUT_BACK = "result.lua", "put_back.lua";
    /// Lays a held message aside until it is due.
    DELAY = "delay.lua";
    /// Puts delayed messages that are due back into their lists.
    DUE = "due.lua";
    /// Stores a result.
    STORE = "result.lua", "store.lua";
    /// Tells that an owner lives.
    BEAT = "beat.lua";
    /// Gives up a lock.
    UNLOCK = "unlock.lua";
    /// Empties lists.
    PURGE = "purge.lua";
}

/// A script that can be called.
pub struct Script {
    text: &'static str,
    hash: String,
}

/// A call of a script: first its keys, then its other arguments.
pub struct Call {
    script: &'static Script,
    keys: Vec<Vec<u8>>,
    args: Vec<Vec<u8>>,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// A call without keys and arguments yet.
    pub fn call(&'static self) -> Call {
        Call { script: self, keys: Vec::new(), args: Vec::new() }
    }
}

impl Call {
    /// Adds a key.
    pub fn key(mut self, key: impl ToRedisArgs) -> Self {
        key.write_redis_args(&mut self.keys);
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        arg.write_redis_args(&mut self.args);
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
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.args);
        command
    }
}
